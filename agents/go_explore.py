"""Go-Explore (Ecoffet et al. 2021, "First return, then explore"): the exploration phase.

The agent keeps an archive of cells, which are the discretized keys of a representation. Again and
again it chooses a cell, returns to the snapshot of the best visit to it, and explores from there
by random actions. What it has learned is the best trajectory from the start, which it repeats.
"""

from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from ..envs import prng
from ..envs.checks import above, at_least, check, within
from ..envs.interface import Carry, EnvSpec, Metrics, TimeStep, Transition
from ..world_models.interface import Representation, RepresentationConfig
from ..world_models.precision import FLOAT32, Precision
from ..world_models.representation.downscaled import DownscaledConfig
from ..world_models.state import HasState
from .cells import START, Array, CellArchive, Node, Visit
from .interface import ActOutput, AgentConfig


@dataclass(frozen=True)
class GoExploreConfig(AgentConfig):
    """Exploration from the cells of an archive, to which it returns by snapshots of the env."""

    representation: RepresentationConfig = DownscaledConfig()
    """The encoder of observations as keys, whose discretization makes the cells."""
    resolution: float = 255.0
    """Cells per unit of each number of a key; 255 tells the bytes of the true state apart."""
    explore_steps: int = 100
    """Steps of an exploration, if the episode does not end before."""
    repeat_prob: float = 0.95
    """Probability of taking the action of the step before again."""
    capacity: int = 100_000
    """Maximum number of cells."""

    def __post_init__(self) -> None:
        check(self, "agent", above(0), "resolution")
        check(self, "agent", at_least(1), "explore_steps", "capacity")
        check(self, "agent", within(0, 1), "repeat_prob")

    @property
    def no_bonus_reason(self) -> str:
        return "it explores from the cells that it has seen least, and learns from no reward"

    @property
    def untrained_reason(self) -> str:
        if not self.representation.trainable:
            return ""
        return (
            "agent.representation is learned, and Go-Explore does not train it (choose another, "
            "such as agent.representation:downscaled)"
        )

    @property
    def return_after(self) -> int:
        return self.explore_steps

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "GoExplore":
        representation, columns = self.representation.build_for(
            spec, seed=seed, device=device, precision=precision
        )
        return GoExplore(self, spec, representation, columns, seed=seed, device=device)


class GoExplore(HasState):
    """An agent that explores from the cells of its archive, and repeats the best trajectory.

    In envs that do not return to snapshots it explores from the start alone. Its trajectories lead
    to their cells again if chance has no part in the env. A trajectory is repeated only if its
    score is above 0, the score of the start; so with negative rewards alone it acts at random.
    """

    STATE = (
        "representation", "archive", "explorations", "nodes", "score", "length", "visited",
        "best_score", "best_actions",
    )  # fmt: skip
    BUFFERS = ("archive",)

    def __init__(
        self,
        config: GoExploreConfig,
        spec: EnvSpec,
        representation: Representation,
        columns: list[int] | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.spec, self.seed = config, spec, seed
        self.device = torch.device(device)
        self.representation, self.columns = representation, columns
        self.archive = CellArchive(config.capacity)
        n = spec.num_envs
        self.explorations = [-1] * n
        """The present exploration of each env; -1 before its first action."""
        self.nodes: list[Node] = [START] * n
        """Where the present exploration of each env began."""
        self.score, self.length = [0.0] * n, [0] * n
        """Of the present trajectory of each env, from the start."""
        self.visited: list[list[int]] = [[] for _ in range(n)]
        """Cells that the present exploration of each env came to."""
        self.best_score = 0.0
        self.best_actions = torch.zeros(0, dtype=torch.int64)
        """The shortest of the trajectories with the highest score, with ends of episodes. The empty
        one has score 0, so it stays the best where all other scores are negative."""

    def initial(self, n: int) -> Carry:
        rng = prng.initial_rng(self.seed, prng.Purpose.TRAIN, n).to(self.device)
        return {"rng": rng, "action": torch.zeros_like(rng), "time": torch.zeros_like(rng)}

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        """Act at random, with repetitions, and choose the cells that ended episodes return to.

        Without ``explore`` the actions are those of the best trajectory, then random ones. The
        extras name the cell that an env returns to, -1 for none.
        """
        rng, num_actions = carry["rng"], self.spec.num_actions
        time = torch.where(step.first, 0, carry["time"])
        repeats = prng.uniform(rng, 1, prng.Purpose.EXPLORE)[:, 0] < self.config.repeat_prob
        action = prng.randint(rng, num_actions, prng.Purpose.ACTION)
        action = torch.where(repeats & ~step.first, carry["action"], action)
        cell, returns = torch.full_like(rng, -1), None
        if not explore and len(self.best_actions):
            best = self.best_actions.to(self.device)
            known = best[time.clamp(max=len(best) - 1)]
            action = torch.where(time < len(best), known, action)
        if explore and step.snapshot is not None and len(self.archive) and step.last.any():
            env = step.last.nonzero()[:, 0]
            uniforms = prng.uniform(rng[env], 1, prng.Purpose.RETURN)[:, 0]
            chosen = self.archive.choose(uniforms)
            cell[env] = torch.tensor(chosen, device=self.device)
            snapshots = np.stack([self.archive.snapshot(x) for x in chosen])
            returns = env, torch.from_numpy(snapshots)
        next_carry = {"rng": prng.next_rng(rng), "action": action, "time": time + 1}
        return ActOutput(action, next_carry, {"cell": cell}, returns)

    def learn(self, t: Transition) -> Metrics:
        """Add what the envs came to by their actions to the archive, then follow their returns."""
        starts, steps = (t.step.first & t.valid).tolist(), t.valid.tolist()
        for i, cell in compress(enumerate(t.extras["cell"].tolist()), (~t.valid).tolist()):
            self._return(i, cell, t.next_step)
        if any(starts):
            for i, key in compress(enumerate(self.keys(t.step)), starts):
                if key not in self.archive.index:  # the start itself
                    self._visit(i, key, t.step)
        keys, last = self.keys(t.next_step), t.next_step.last.tolist()
        rewards, actions = t.next_step.reward.tolist(), t.action.tolist()
        for i in compress(range(len(steps)), steps):
            if self.explorations[i] < 0:
                self.explorations[i] = self.archive.begin(self.nodes[i])
            self.archive.actions[self.explorations[i]].append(actions[i])
            self.score[i] += rewards[i]
            self.length[i] += 1
            if not last[i]:
                self._visit(i, keys[i], t.next_step)
            better = (self.score[i], -self.length[i]) > (self.best_score, -len(self.best_actions))
            if better:
                self.best_score = self.score[i]
                self.best_actions = torch.tensor(self.archive.trajectory(self._visit_of(i).node))
        return {
            "go_explore/cells": float(len(self.archive)),
            "go_explore/snapshot_mb": self.archive.snapshot_bytes / 1e6,
            "go_explore/best_score": self.best_score,
            "go_explore/best_length": float(len(self.best_actions)),
        }

    def keys(self, step: TimeStep) -> list[bytes]:
        """Return the key of each env's cell: round(resolution x code)."""
        obs = step.obs if self.columns is None else step.state_image(self.columns)
        code = self.representation.encode(obs) * self.config.resolution
        return [row.tobytes() for row in code.round().int().cpu().numpy()]

    def _visit_of(self, i: int) -> Visit:
        """Return the present visit of an env."""
        exploration = self.explorations[i]
        node = self.nodes[i]
        if exploration >= 0:
            node = exploration, len(self.archive.actions[exploration])
        return Visit(self.score[i], self.length[i], node)

    def _visit(self, i: int, key: bytes, step: TimeStep) -> None:
        """Add the present visit of an env to the archive, and count it once per exploration."""
        cell, stored = self.archive.add(key, self._visit_of(i), _snapshot(i, step))
        if cell in self.visited[i] or cell < 0:
            return
        self.visited[i].append(cell)
        if not stored:
            self.archive.see(cell)

    def _return(self, i: int, cell: int, step: TimeStep) -> None:
        """Begin an exploration at the cell that an env returned to, or at the start."""
        origin = Visit(0.0, 0, START)
        self.visited[i] = []
        if cell >= 0 and (_snapshot(i, step) == self.archive.snapshot(cell)).all():
            origin = self.archive.visits[cell]
            self.visited[i] = [cell]
            self.archive.see(cell)
        self.explorations[i], self.nodes[i] = -1, origin.node
        self.score[i], self.length[i] = origin.score, origin.length

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state; without its archive, the agent explores anew from the start."""
        super().load_state_dict(state)
        self.nodes = [(x, y) for x, y in self.nodes]
        if "archive" not in state:  # the envs are at the start, before an exploration
            n = self.spec.num_envs
            self.explorations, self.nodes = [-1] * n, [START] * n
            self.score, self.length, self.visited = [0.0] * n, [0] * n, [[] for _ in range(n)]

    def load_pretrained(self, role: str, state: dict[str, Any]) -> None:
        """Start from a pretrained representation."""
        self.representation.load_state_dict(state)


def _snapshot(i: int, step: TimeStep) -> UInt8[Array, " S"]:
    """Return the snapshot of an env; an empty one where there are none."""
    if step.snapshot is None:
        return np.zeros(0, np.uint8)
    return step.snapshot[i].cpu().numpy()
