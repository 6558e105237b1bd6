"""Linear probes of representations: ridge regression from frozen features to the player's position.

The position is part of the true state, which no representation observes; a probe is fitted on the
play of some envs and tested on that of others (Anand et al. 2019, section 4).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...envs import prng
from ...envs.atari.ram import RAM
from ...envs.batched_env import BatchedEnv
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig

POSITION = ("player_x", "player_y")
"""Bytes of the true state that are predicted."""

Encode = Callable[[UInt8[Tensor, "B K H W"]], Float[Tensor, "B D"]]


@dataclass(frozen=True, slots=True)
class PositionData:
    """Observations, the player's position in each, and the index of the env that each is of."""

    obs: UInt8[Tensor, "M K H W"]
    position: Float[Tensor, "M 2"]
    env_index: Int64[Tensor, " M"]


def record_positions(
    env: EnvConfig, num_timesteps: int, *, num_envs: int = 8, seed: int = 1
) -> PositionData:
    """Record random play with the player's positions; raises UsageError if they are unknown."""
    envs = BatchedEnv(
        env.build(num_envs, threads=1, privileged=True), seed=seed, purpose=prng.Purpose.COLLECT
    )
    names = envs.spec.privileged
    if not set(POSITION) <= set(names):
        envs.close()
        games = ", ".join(game for game, names in RAM.items() if set(POSITION) <= set(names))
        raise UsageError(
            f"The player's position is no part of the true state of {env.env_name}; choose a game "
            f"in which it is: {games}."
        )
    columns = [names.index(name) for name in POSITION]
    obs, positions = [], []
    for t in islice(interact(envs, RandomPolicy(envs.spec.num_actions, seed)), num_timesteps):
        obs.append(t.next_step.obs)
        positions.append(t.next_step.columns()["privileged"][:, columns].float())
    envs.close()
    env_index = torch.arange(num_envs).repeat(num_timesteps)
    return PositionData(torch.cat(obs), torch.cat(positions), env_index)


def linear_probe(encode: Encode, data: PositionData) -> dict[str, float]:
    """Return R^2 of the player's x and y, predicted from features, on the last quarter of envs."""
    features = torch.cat([encode(obs) for obs in torch.split(data.obs, 256)])
    is_test = data.env_index >= 3 * (int(data.env_index.max()) + 1) // 4
    predicted = ridge_predict(features[~is_test], data.position[~is_test], features[is_test])
    x, y = r_squared(predicted, data.position[is_test]).tolist()
    return {"x": x, "y": y, "mean": (x + y) / 2}


def r_squared(predicted: Float[Tensor, "M C"], truth: Float[Tensor, "M C"]) -> Float[Tensor, " C"]:
    """Return R^2, one minus the share of the variance that is not predicted, of each column."""
    unexplained = (truth - predicted).square().sum(0) / (truth - truth.mean(0)).square().sum(0)
    return 1 - unexplained


def ridge_predict(
    x: Float[Tensor, "B D"],
    y: Float[Tensor, "B C"],
    x_test: Float[Tensor, "M D"],
    penalty: float = 1e-3,
) -> Float[Tensor, "M C"]:
    """Fit ridge regression to standardized features and return its predictions at ``x_test``."""
    mean, scale = x.double().mean(0), x.double().std(0).clamp(min=1e-8)
    features, center = (x.double() - mean) / scale, y.double().mean(0)
    gram = features.T @ features / len(x) + penalty * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, features.T @ (y.double() - center) / len(x))
    predicted: Tensor = ((x_test.double() - mean) / scale) @ weights + center
    return predicted.to(y.dtype)


PENALTIES = tuple(10.0**k for k in range(-6, 2))
"""Among which ``chosen_ridge`` chooses, in units of a standardized feature's variance."""


def chosen_ridge(
    x: Float[Tensor, "B D"],
    y: Float[Tensor, "B C"],
    x_validation: Float[Tensor, "V D"],
    y_validation: Float[Tensor, "V C"],
    x_test: Float[Tensor, "M D"],
) -> tuple[Float[Tensor, "M C"], Float[Tensor, " C"]]:
    """Fit ridge regression, with the penalty of each column that a validation set prefers.

    Returns the predictions at ``x_test`` and the penalties. Features are standardized; one
    eigendecomposition of their covariance serves all penalties.
    """
    mean, scale = x.double().mean(0), x.double().std(0).clamp(min=1e-8)
    fit, validation, test = ((z.double() - mean) / scale for z in (x, x_validation, x_test))
    center, penalties = y.double().mean(0), torch.tensor(PENALTIES, dtype=torch.float64)
    variances, axes = torch.linalg.eigh(fit.T @ fit / len(x))
    covariances = axes.T @ (fit.T @ (y.double() - center) / len(x))  # [D C]
    shrunk = covariances / (variances.clamp(min=0)[:, None] + penalties[:, None, None])  # [K D C]
    errors = (y_validation.double() - center - validation @ axes @ shrunk).square().mean(1)
    best = errors.argmin(0)
    weights = axes @ shrunk[best, :, torch.arange(y.shape[1])].T
    return (test @ weights + center).to(y.dtype), penalties[best]


def entropy(x: Float[Tensor, " M"]) -> float:
    """Return the entropy of the empirical distribution of numbers, in nats."""
    counts = x.unique(return_counts=True)[1].double() / len(x)
    return math.fsum((-counts * counts.log()).tolist())
