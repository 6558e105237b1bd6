"""Evaluation in mazes: returns relative to the shortest path, and where plans are made."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...agents.interface import Policy
from ...agents.loop import interact
from ...envs import prng
from ...envs.batched_env import BatchedEnv
from ...envs.maze import MazeConfig
from .plans import PlanLengths


def evaluate_mazes(policy: Policy, config: MazeConfig, *, episodes: int = 1024) -> dict[str, Any]:
    """Evaluate in held-out mazes of the trained size, and in larger ones with the same view.

    The larger mazes have one more room a side and twice the episode length.
    """
    held_out = replace(config, split="held-out")
    larger = replace(
        held_out, rooms=config.rooms + 1, max_episode_steps=2 * config.max_episode_steps
    )
    return {
        "held_out": rollout_mazes(policy, held_out, episodes=episodes),
        "larger": rollout_mazes(policy, larger, episodes=episodes),
    }


@torch.no_grad()
def rollout_mazes(policy: Policy, config: MazeConfig, *, episodes: int = 1024) -> dict[str, Any]:
    """Play one episode in each of ``episodes`` envs, acting as in training.

    Returns raw numbers, preceded by their statistics. ``best_returns`` are those of the shortest
    paths. ``plan_lengths`` are the numbers of plans of each length in timesteps, from 0 on, without
    an episode's last plan, which is cut short. ``timesteps`` holds for each episode, after its
    first timestep, the numbers of timesteps, of those at junctions, of those at which the policy
    replanned, and of those with both.
    """
    env = config.build(episodes)
    envs = BatchedEnv(env, purpose=prng.Purpose.EVAL)
    start = envs.reset(), policy.initial(episodes)
    best_returns = env.best_return.astype(np.float64)
    returns, running = np.zeros(episodes), np.ones(episodes, np.bool_)
    lengths, timesteps = PlanLengths(episodes), np.zeros((episodes, 4), np.int64)
    at_junction = env.num_exits >= 3
    for t in interact(envs, policy, start=start):
        lengths.update(t, torch.from_numpy(running))
        counted = running & ~t.step.first.numpy()
        replanned = counted & t.extras.get("replanned", torch.zeros(episodes)).bool().numpy()
        timesteps += np.stack(
            [counted, counted & at_junction, replanned, replanned & at_junction], 1
        )
        returns += running * t.next_step.reward.numpy()
        running &= ~t.next_step.last.numpy()
        at_junction = env.num_exits >= 3
        if not running.any():
            break
    envs.close()
    plan_lengths = lengths.pop()
    return {
        "protocol": config.protocol_label,
        "episodes": episodes,
        "share_of_best_return": float(returns.sum() / best_returns.sum()),
        "mean_plan_length": float(plan_lengths @ np.arange(len(plan_lengths)))
        / max(plan_lengths.sum(), 1),
        "junctions": junction_test(timesteps.astype(np.float64)),
        "returns": returns.round(4).tolist(),
        "best_returns": best_returns.round(4).tolist(),
        "plan_lengths": plan_lengths.astype(int).tolist(),
        "timesteps": timesteps.tolist(),
    }


def junction_test(timesteps: NDArray[np.float64]) -> dict[str, float]:
    """Test whether the policy replans at junctions more often than elsewhere in an episode.

    ``timesteps`` [N, 4] is as in ``rollout_mazes``. The one-sided Mantel-Haenszel test, with an
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
