"""The interface of recipes: measurements behind the committed results, as values."""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ...agents.dqn import DQNConfig
from ...agents.networks import MLPConfig
from ...envs.interface import EnvConfig
from ..config.experiment import Experiment
from ..datasets.collect import collect
from ..evaluation.evaluate import random_policy
from ..runs.files import read_json, write_json
from ..runs.run import Run
from ..sessions.options import PretrainOptions
from ..training.pretrain import Pretraining, pretrain

S = TypeVar("S", bound="SeedsRecipe")
T = TypeVar("T")

SMALL_DQN = DQNConfig(
    network=MLPConfig(),
    end_epsilon=0.01,
    exploration_steps=10_000,
    learning_starts=500,
    buffer_size=100_000,
    learning_rate=1e-3,
    target_network_frequency=400,
)
"""A DQN for envs with frames of a few pixels."""


@dataclass(frozen=True)
class Recipe:
    """A measurement that can be repeated."""

    kind: ClassVar[str]
    """What is measured; the tables of the documents choose results by it."""

    @property
    def cost(self) -> str:
        """What is computed, in a few words."""
        raise NotImplementedError

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the result, first of a part if it has several, without repeating finished runs.

        The runs are in ``folder``. Raises KeyboardInterrupt if one is interrupted; the same call
        continues.
        """
        raise NotImplementedError

    def video(self, folder: Path) -> Path | None:
        """Return a video that belongs to the result, if there is one."""
        return None


@dataclass(frozen=True)
class SeedsRecipe(Recipe):
    """An experiment that is repeated with several seeds, each of which is a part of the result."""

    preset: str
    """The preset that the experiment is a variation of."""
    experiment: Experiment
    seeds: tuple[int, ...] = field(default=(0, 1, 2), kw_only=True)
    known: tuple[dict[str, Any], ...] = field(default=(), kw_only=True)
    """The parts of the first seeds in an earlier result, which are kept."""

    @property
    def cost(self) -> str:
        return f"{len(self.seeds)} x {self.experiment.total_timesteps:,} steps"

    def continued(self: S, result: dict[str, Any], at_most: int) -> S:
        """Return the recipe that adds seeds to a result that lacks some: all, or ``at_most``.

        The result is empty if there is none yet.
        """
        known, steps = result.get("runs", []), self.experiment.total_timesteps
        if len(known) >= len(self.seeds) or result.get("steps", steps) != steps:
            return self
        seeds = self.seeds[: len(known) + (at_most or len(self.seeds))]
        return replace(self, known=tuple(known), seeds=seeds)


def kept(path: Path, settings: object, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return a part of a result from its file, or measure and write it.

    A part that was measured with other ``settings`` is measured anew; they are configs and plain
    values, which are compared by their ``repr``.
    """
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()
    if not path.exists() or read_json(path).get("settings") != digest:
        write_json(path, {"settings": digest, "part": measure()})
    part: dict[str, Any] = read_json(path)["part"]
    return part


def record_random_play(
    env: EnvConfig, data: Path, *, frames: int, seed: int = 0, **settings: Any
) -> None:
    """Record random play in an env, unless the folder holds this recording.

    ``settings`` are those of ``collect``.
    """

    def record() -> dict[str, Any]:
        shutil.rmtree(data, ignore_errors=True)
        collect(random_policy(env, seed), env, data, frames=frames, seed=seed, **settings)
        return {}

    kept(data.with_name(f"{data.name}.json"), (env, frames, seed, settings), record)


def pretrain_to_the_end(
    job: Pretraining,
    folder: Path,
    options: PretrainOptions = PretrainOptions(),  # noqa: B008  # frozen
) -> Run:
    """Pretrain a model unless it is finished; raises KeyboardInterrupt if interrupted."""
    run = pretrain(job, folder, options)
    run.raise_interrupted()
    if not run.finished:
        raise KeyboardInterrupt
    return run


def for_minutes(items: Iterable[T], minutes: float) -> Iterator[T]:
    """Yield items, at least one, until this process has worked for so many minutes."""
    begin = time.process_time()
    for item in items:
        yield item
        if time.process_time() - begin >= 60 * minutes:
            return
