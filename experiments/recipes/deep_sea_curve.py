"""Which sizes of DeepSea an agent solves, and after how many episodes, by bsuite's rule.

A size is solved at the first episode, of those that bsuite logs, until which fewer than 90% of the
episodes were bad, within 10,000 (Osband et al. 2020, Behaviour Suite for Reinforcement Learning).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import torch

from ...agents.loop import interact
from ...envs.deep_sea import DeepSeaConfig
from ..config.experiment import Experiment
from ..runs.provenance import code_version
from ..training.envs import make_batched_env
from .recipe import Recipe, kept

SIZES = tuple(range(10, 51, 2))
"""Those of bsuite."""
NUM_EPISODES = 10_000
SOLVED_RATE = 0.9
"""Rate of bad episodes below which a size is solved."""
LOGGED = {
    round(x * 10**exponent)
    for exponent in range(5)
    for x in (1, 1.2, 1.4, 1.7, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
}
"""Episodes after which bsuite logs the number of bad ones."""


def solved_episode(bad: Iterable[bool]) -> int | None:
    """Return the episode at which a size is solved, or None if it is not.

    ``bad`` is whether each episode left the diagonal before its end, that is missed the treasure.
    """
    num_bad = 0
    for episode, is_bad in enumerate(bad, 1):
        if episode > NUM_EPISODES:
            break
        num_bad += is_bad
        if episode in LOGGED and num_bad / episode < SOLVED_RATE:
            return episode
    return None


def bsuite_score(rows: Sequence[Mapping[str, Any]], agent: str) -> float | None:
    """Return bsuite's score of an agent: the share of its runs that solve their size.

    It is None for an agent without a run.
    """
    solved = [row["solved"] is not None for row in rows if row["agent"] == agent]
    return sum(solved) / len(solved) if solved else None


@dataclass(frozen=True)
class DeepSeaCurve(Recipe):
    """Agents in DeepSea of growing size, each until it solves the size or after 10,000 episodes."""

    experiments: dict[str, Experiment]
    """By the name of the agent; the env's size is that of the curve."""
    sizes: tuple[int, ...] = SIZES
    seeds: tuple[int, ...] = (0,)

    kind: ClassVar[str] = "deep-sea"

    @property
    def cost(self) -> str:
        runs = len(self.experiments) * len(self.seeds)
        return f"{runs} x {len(self.sizes)} sizes x up to {NUM_EPISODES:,} episodes"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the result after each agent, size and seed; finished ones are kept."""
        rows = []
        for size, name, seed in product(self.sizes, self.experiments, self.seeds):
            path = folder / self.kind / f"{name}-{size}-{seed}.json"
            experiment = replace(self.experiments[name], env=DeepSeaConfig(size), seed=seed)
            rows.append(kept(path, experiment, partial(self._row, name, experiment)))
            scores = {agent: bsuite_score(rows, agent) for agent in self.experiments}
            yield {"bsuite_scores": scores, "rows": rows}

    def _row(self, name: str, experiment: Experiment) -> dict[str, Any]:
        bad: list[bool] = []
        for is_bad in training_episodes(experiment):
            bad.append(is_bad)
            solved = solved_episode(bad) if len(bad) in LOGGED else None
            if solved or len(bad) == NUM_EPISODES:
                break
        assert isinstance(experiment.env, DeepSeaConfig)
        return {
            "agent": name,
            "size": experiment.env.size,
            "seed": experiment.seed,
            "solved": solved,
            "episodes": len(bad),
            "bad_episodes": sum(bad),
            "provenance": code_version(),
        }


def training_episodes(experiment: Experiment) -> Iterator[bool]:
    """Train without end; yield whether each episode was bad, those of a timestep by env."""
    envs = make_batched_env(experiment, torch.device("cpu"), threads=1)
    agent = experiment.agent.build(envs.spec, seed=experiment.seed)
    bonus = experiment.bonus.build(envs.spec, seed=experiment.seed)
    try:
        for t in interact(envs, agent):
            agent.learn(t.with_bonus(bonus(t)))
            # The treasure is in the last row, so the last reward tells whether it was found.
            yield from (t.next_step.reward[t.next_step.last] < 0.5).tolist()
    finally:
        envs.close()
