"""Results of finished runs: the config, the scores and the training episodes of a run folder."""

import math
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ...envs.atari.protocol import PRESENTATION_FIELDS
from ...envs.errors import UsageError
from ..config.serialization import with_defaults
from ..runs.files import read_json, to_json
from ..runs.run import Run, find_runs
from ..runs.scores import Scores, read_scores, scores_file
from ..text.terminal_text import message, plain, printable
from ..verdicts.intervals import Array, trailing_mean
from ..verdicts.verdict_rule import Score
from .constant_actions import scoring_rules

NON_VARIANT_FIELDS = ("imports", "env", "seed", "total_timesteps")
"""Fields of an experiment in which runs of one variant may differ."""
WINDOW = 100
"""Training episodes that each point of a learning curve averages."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """One finished run: its config, and the scores of its final checkpoint."""

    folder: Path
    config: dict[str, Any]
    scores: Scores
    """The scores under the run's own protocol."""
    other_scores: list[Scores]
    """Scores of the same checkpoint under other conditions."""
    episodes: Float[NDArray[np.float64], "2 episodes"]
    """Agent step and score of each training episode, in order."""
    frames: int
    provenance: dict[str, Any]
    env_name: str
    """The name of the env, which differs from that of every other env in a comparison."""

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def length(self) -> tuple[int, int]:
        """Agent steps of the evaluated checkpoint, and of the whole run as it was planned."""
        return self.scores.steps, int(self.config["total_timesteps"])

    @property
    def variant_config(self) -> dict[str, Any]:
        """The fields of the config that define a variant.

        They are all parts, and the protocol's fields of presentation.
        """
        chosen = {name: x for name, x in self.config.items() if name not in NON_VARIANT_FIELDS}
        protocol = self.config["env"].get("protocol", {})
        presentation = {name: x for name, x in protocol.items() if name in PRESENTATION_FIELDS}
        return chosen | ({"protocol": presentation} if presentation else {})

    @property
    def scoring_rules(self) -> str:
        """The protocol without its presentation; runs are compared if these are equal."""
        label = self.scores.protocol
        return scoring_rules(label) if self.scores.game else label

    @cached_property
    def curve(self) -> tuple[Array, Array]:
        """Agent steps, and the mean of the last ``WINDOW`` training scores (fewer at first)."""
        steps, scores = self.episodes
        return steps, trailing_mean(scores, WINDOW)

    def score(self, kind: Score) -> float:
        """Return the run's score of this kind; nan if no training episode has ended.

        The last episodes of training are ``WINDOW``, or all if there are fewer.
        """
        if kind == "evaluation":
            return self.scores.mean
        if not self.episodes.size:
            return math.nan
        episodes = self.episodes[1]
        return statistics.fmean(episodes[-WINDOW:] if kind == "training-end" else episodes)


def read_results(
    folders: Sequence[Path], *, stochastic: bool = False
) -> tuple[list[RunResult], list[str]]:
    """Return the results of all runs in these folders or below, and warnings about them.

    A warning is a sentence about a run that is left out, that ended early or was trained further
    after its evaluation, that repeats another one, or about scores of another checkpoint. With
    ``stochastic`` the scores are those of agents that acted as in training. Raises UsageError if no
    run has scores, or a score is not a finite number.
    """
    run_folders: dict[Path, None] = {}
    for folder in folders:
        run_folders |= dict.fromkeys(run.resolve() for run in find_runs(folder))
    warnings: list[str] = []
    read = [_read_if_whole(folder, stochastic, warnings) for folder in run_folders]
    results = [result for result in read if result]
    if not results:
        raise UsageError(f"{warnings[0]} No other run is left to report.")
    results = _without_repetitions(results, warnings)
    return results, warnings


def _without_repetitions(results: list[RunResult], warnings: list[str]) -> list[RunResult]:
    """Return the longest run of each experiment and seed, and name the others in the warnings."""
    longest: dict[str, RunResult] = {}
    for result in sorted(results, key=lambda x: x.length, reverse=True):
        ignored = ("imports", "total_timesteps")
        config = {name: x for name, x in result.config.items() if name not in ignored}
        counted = longest.setdefault(to_json(config, sort_keys=True), result)
        if counted is not result:
            warnings.append(
                f"{result.folder} (evaluated at step {result.scores.steps:,}) is left out: it is "
                f"the same experiment with the same seed as {counted.folder} (at step "
                f"{counted.scores.steps:,})."
            )
    return [result for result in results if result in longest.values()]


def curves_at(
    results: Iterable[RunResult], grid: Array
) -> Float[NDArray[np.float64], "runs points"]:
    """Return learning curves at these agent steps; nan before a run's first episode."""
    curves = []
    for result in results:
        steps, means = result.curve
        index = np.searchsorted(steps, grid, side="right")
        curves.append(np.concatenate([[np.nan], means])[index])
    return np.stack(curves)


def _read_if_whole(folder: Path, stochastic: bool, warnings: list[str]) -> RunResult | None:
    """Return a run's result, or None for one that cannot be read, which is named on stderr too."""
    try:
        return _read_result(folder, stochastic, warnings)
    except (UsageError, OSError) as error:
        warnings.append(warn(f"{folder.name} is left out: {printable(str(error)).rstrip('.')}."))
        return None


def warn(sentence: str) -> str:
    """Print a sentence about what a report leaves out on stderr, and return it."""
    print(message(plain(sentence), terminal=sys.stderr.isatty()), file=sys.stderr)
    return sentence


def _check_config(folder: Path, config: dict[str, Any]) -> None:
    """Raise UsageError, which names the field, for a config that no run has."""
    imports = config.get("imports", [])
    checks = {
        "env": isinstance(config.get("env"), dict),
        "seed": type(config.get("seed")) is int,
        "total_timesteps": type(config.get("total_timesteps")) is int,
        "imports": isinstance(imports, list) and all(isinstance(x, str) for x in imports),
    }
    if wrong := [name for name, right in checks.items() if not right]:
        raise UsageError(
            f"{folder / 'config.json'} is no config of a run: its {wrong[0]} is wrong."
        )


def _read_result(folder: Path, stochastic: bool, warnings: list[str]) -> RunResult | None:
    """Return a run's result, or None if it has none, and append the warnings about it."""
    run, main, name = Run(folder), folder / scores_file(stochastic=stochastic), folder.name
    config = with_defaults(run.config())
    if "data" not in config:
        _check_config(folder, config)
    flags = "".join(f" --import {module}" for module in config.get("imports", ()))
    command = f"`reverie evaluate{' --stochastic' * stochastic}{flags}`"
    if "data" in config:
        warnings.append(f"{name} is a pretraining, which has no scores; it is left out.")
        return None
    if not main.exists():
        kind = " as in training" * stochastic
        warnings.append(f"{name} has no scores{kind} and is left out; run {command} on it.")
        return None
    scores = read_scores(main)
    steps, planned = scores.steps, config["total_timesteps"]
    trained = max(run.checkpoints.steps(), default=steps)
    if steps < planned:
        warnings.append(f"{name} was evaluated at step {steps:,} of its {planned:,}.")
    if trained > steps:
        warnings.append(
            f"{name} was trained to step {trained:,} after its evaluation at step {steps:,}; "
            f"run {command} again."
        )
    if scores.resumes:
        warnings.append(
            f"The training of {name} was not continued exactly: {', '.join(scores.resumes)}."
        )
    other_scores = []
    for path in sorted({*folder.glob("scores*.json")} - {main}):
        try:
            other = read_scores(path)
        except UsageError as error:
            warnings.append(f"{path.name} of {name} is left out: {error}")
            continue
        if other.steps == steps:
            other_scores.append(other)
        else:
            warnings.append(
                f"{path.name} of {name} is of step {other.steps:,} instead of {steps:,} "
                "and is left out."
            )
    episodes, damaged = run.read_columns("episodes.jsonl", "step", "score")
    if damaged:
        warnings.append(
            f"{name}/episodes.jsonl has {damaged} damaged lines; "
            "the learning curve is without them."
        )
    last = run.last_line("metrics.jsonl")
    frame_skip = last["frames"] / last["step"] if last.get("step") else 1
    provenance = folder / "provenance.json"
    return RunResult(
        folder=folder,
        config=config,
        scores=scores,
        other_scores=other_scores,
        episodes=episodes[:, episodes[0] <= steps],
        frames=round(steps * frame_skip),
        provenance=read_json(provenance) if provenance.exists() else {},
        env_name=scores.env_name,
    )
