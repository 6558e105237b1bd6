"""What a policy does in mazes: how near to the shortest path, and where it makes its plans."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.interface import Policy
from agents.loop import interact
from envs.maze import MazeConfig
from envs.stream import Stream

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Walks:
    """One episode in each of many mazes, by draws from the policy."""

    protocol: str
    returns: list[float]
    best: list[float]
    """What the shortest path would have returned."""
    plan_lengths: list[int]
    """Plans by length in ticks, from 0 on; without those that an episode's end cut short."""
    ticks: list[list[int]]
    """Of each episode after its first tick: ticks, those at junctions, those at which it planned
    anew, and those of both."""

    def summary(self) -> dict[str, Any]:
        """The raw numbers, and those that people read first."""
        lengths = np.array(self.plan_lengths)
        made = max(int(lengths.sum()), 1)
        return {
            "protocol": self.protocol,
            "episodes": len(self.returns),
            "share_of_best_return": sum(self.returns) / sum(self.best),
            "mean_commitment": float(lengths @ np.arange(len(lengths))) / made,
            "junctions": at_junctions(np.array(self.ticks, np.float64)),
            "returns": [round(x, 4) for x in self.returns],
            "best": [round(x, 4) for x in self.best],
            "plan_lengths": self.plan_lengths,
            "ticks": self.ticks,
        }


@torch.no_grad()
def walk(policy: Policy, config: MazeConfig, *, episodes: int = 1024, seed: int = 0) -> Walks:
    """Each of ``episodes`` streams plays its first episode, acting as in training."""
    env = config.build(episodes)
    stream = Stream(env, seed=seed, purpose="eval")
    step, memory = stream.reset(), policy.initial(episodes)
    best, score, walking = env.best_return, np.zeros(episodes), np.ones(episodes, np.bool_)
    lengths, ticks = np.zeros(config.limit + 2, np.int64), np.zeros((episodes, 4), np.int64)
    at_junction = env.ways >= 3
    for t in interact(stream, policy, start=(step, memory)):
        anew = np.zeros(episodes, np.bool_)
        later = walking & ~t.step.first.numpy()
        if "age" in t.next_memory:
            anew = later & (t.next_memory["age"] == 0).numpy()
            np.add.at(lengths, t.memory["age"].numpy()[anew] + 1, 1)
        ticks += np.stack([later, later & at_junction, anew, anew & at_junction], 1)
        score += walking * t.next_step.reward.numpy()
        walking &= ~t.next_step.last.numpy()
        at_junction = env.ways >= 3
        if not walking.any():
            break
    stream.close()
    return Walks(
        protocol=config.protocol_label,
        returns=score.tolist(),
        best=best.tolist(),
        plan_lengths=np.trim_zeros(lengths, "b").tolist(),
        ticks=ticks.tolist(),
    )


def maze_report(policy: Policy, config: MazeConfig, *, episodes: int = 1024) -> dict[str, Any]:
    """Held-out mazes of the size trained on, and of one more room a side with the same view."""
    held_out = replace(config, split="held-out")
    larger = replace(held_out, rooms=config.rooms + 1, limit=2 * config.limit)
    return {
        "held_out": walk(policy, held_out, episodes=episodes).summary(),
        "larger": walk(policy, larger, episodes=episodes).summary(),
    }


def at_junctions(ticks: Counts) -> dict[str, float]:
    """Whether plans are made at junctions more often than at other ticks of the same episodes.

    The Mantel-Haenszel test, an episode a stratum: were the ticks of planning drawn from an
    episode's ticks at random, those at junctions would be hypergeometric. One-sided.
    """
    total, junctions, anew, both = ticks[ticks[:, 0] > 1].T
    expected = anew * junctions / total
    variance = expected * (1 - junctions / total) * (total - anew) / (total - 1)
    planned = max(float(anew.sum()), 1.0)
    z = float((both - expected).sum()) / math.sqrt(max(float(variance.sum()), 1e-12))
    return {
        "share_of_plans": float(both.sum()) / planned,
        "share_by_chance": float(expected.sum()) / planned,
        "z": z,
        "p": 0.5 * math.erfc(z / math.sqrt(2)),
    }
