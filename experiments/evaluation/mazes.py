"""Evaluation in mazes: returns relative to the shortest path, and where plans are made."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...agents.interface import Policy
from ...agents.loop import interact
from ...envs.batched_env import BatchedEnv
from ...envs.maze import MazeConfig

Counts = NDArray[np.float64]


def evaluate_mazes(policy: Policy, config: MazeConfig, *, episodes: int = 1024) -> dict[str, Any]:
    """Evaluate in held-out mazes of the trained size, and in larger ones with the same view.

    The larger mazes have one more room a side and twice the episode length.
    """
    held_out = replace(config, split="held-out")
    larger = replace(
        held_out, rooms=config.rooms + 1, max_episode_steps=2 * config.max_episode_steps
    )
    return {
        "held_out": rollout_mazes(policy, held_out, episodes=episodes).summary(),
        "larger": rollout_mazes(policy, larger, episodes=episodes).summary(),
    }


@dataclass(frozen=True)
class MazeRollouts:
    """One episode in each of many mazes, with actions sampled from the policy."""

    protocol: str
    returns: list[float]
    best_returns: list[float]
    """Returns of the shortest paths."""
    plan_lengths: list[int]
    """Number of plans of each length in timesteps, from 0 on; an episode's last plan, which is cut
    short, is not counted."""
    timesteps: list[list[int]]
    """For each episode, after its first timestep: the numbers of timesteps, of those at junctions,
    of those at which the policy replanned, and of those with both."""

    def summary(self) -> dict[str, Any]:
        """Return the raw numbers, preceded by their statistics."""
        lengths = np.array(self.plan_lengths)
        num_plans = max(int(lengths.sum()), 1)
        return {
            "protocol": self.protocol,
            "episodes": len(self.returns),
            "share_of_best_return": sum(self.returns) / sum(self.best_returns),
            "mean_plan_length": float(lengths @ np.arange(len(lengths))) / num_plans,
            "junctions": junction_test(np.array(self.timesteps, np.float64)),
            "returns": [round(x, 4) for x in self.returns],
            "best_returns": [round(x, 4) for x in self.best_returns],
            "plan_lengths": self.plan_lengths,
            "timesteps": self.timesteps,
        }


@torch.no_grad()
def rollout_mazes(
    policy: Policy, config: MazeConfig, *, episodes: int = 1024, seed: int = 0
) -> MazeRollouts:
    """Play one episode in each of ``episodes`` envs, acting as in training."""
    env = config.build(episodes)
    envs = BatchedEnv(env, seed=seed, purpose="eval")
    step, carry = envs.reset(), policy.initial(episodes)
    best_returns = env.best_return
    returns, running = np.zeros(episodes), np.ones(episodes, np.bool_)
    lengths = np.zeros(config.max_episode_steps + 2, np.int64)
    timesteps = np.zeros((episodes, 4), np.int64)
    at_junction = env.num_exits >= 3
    for t in interact(envs, policy, start=(step, carry)):
        replanned = np.zeros(episodes, np.bool_)
        counted = running & ~t.step.first.numpy()
        if "age" in t.next_carry:
            replanned = counted & (t.next_carry["age"] == 0).numpy()
            np.add.at(lengths, t.carry["age"].numpy()[replanned] + 1, 1)
        timesteps += np.stack(
            [counted, counted & at_junction, replanned, replanned & at_junction], 1
        )
        returns += running * t.next_step.reward.numpy()
        running &= ~t.next_step.last.numpy()
        at_junction = env.num_exits >= 3
        if not running.any():
            break
    envs.close()
    return MazeRollouts(
        protocol=config.protocol_label,
        returns=returns.tolist(),
        best_returns=best_returns.tolist(),
        plan_lengths=np.trim_zeros(lengths, "b").tolist(),
        timesteps=timesteps.tolist(),
    )


def junction_test(timesteps: Counts) -> dict[str, float]:
    """Test whether the policy replans at junctions more often than elsewhere in an episode.

    ``timesteps`` [N, 4] is as in ``MazeRollouts``. The one-sided Mantel-Haenszel test, with an
    episode per stratum: if the timesteps of replanning were drawn at random from an episode's, the
    number of those at junctions would be hypergeometric.
    """
    total, junctions, replanned, both = timesteps[timesteps[:, 0] > 1].T
    expected = replanned * junctions / total
    variance = expected * (1 - junctions / total) * (total - replanned) / (total - 1)
    num_plans = max(float(replanned.sum()), 1.0)
    z = float((both - expected).sum()) / math.sqrt(max(float(variance.sum()), 1e-12))
    return {
        "share_of_plans": float(both.sum()) / num_plans,
        "share_by_chance": float(expected.sum()) / num_plans,
        "z": z,
        "p": 0.5 * math.erfc(z / math.sqrt(2)),
    }
