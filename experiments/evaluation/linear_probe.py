"""Linear probes of representations: ridge regression from frozen features to the player's position.

The position is read from the console's RAM, which no representation observes; a probe is fitted on
the play of some envs and tested on that of others (Anand et al. 2019, section 4).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...envs.atari.atari import AtariConfig
from ...envs.batched_env import BatchedEnv
from ...envs.errors import UsageError
from .synced_replica import SyncedReplica

PLAYER_ADDRESSES: dict[str, tuple[int, int]] = {
    "ms_pacman": (10, 16),
    "frostbite": (102, 100),
    "qbert": (43, 67),
}
"""RAM addresses of the player's x and y, as in the AtariARI annotations of Anand et al. 2019
("Unsupervised State Representation Learning in Atari"). Tests check them against real play."""

Encode = Callable[[UInt8[Tensor, "B K H W"]], Float[Tensor, "B D"]]


@dataclass(frozen=True, slots=True)
class PositionData:
    """Observations, the player's position in each, and the index of the env that each is of."""

    obs: UInt8[Tensor, "M K H W"]
    position: Float[Tensor, "M 2"]
    env_index: Int64[Tensor, " M"]


def record_positions(
    env: AtariConfig, num_timesteps: int, *, num_envs: int = 8, seed: int = 1
) -> PositionData:
    """Record random play with the player's positions; raises UsageError for an unknown game."""
    if env.game not in PLAYER_ADDRESSES:
        raise UsageError(
            f"The RAM addresses of the player's position are unknown for {env.game}; choose one of "
            f"{', '.join(PLAYER_ADDRESSES)}."
        )
    envs = BatchedEnv(env.build(num_envs, threads=1), seed=seed, purpose="collect")
    replicas = [SyncedReplica(envs, i) for i in range(num_envs)]
    addresses = PLAYER_ADDRESSES[env.game]
    obs, positions = [], []
    for t in islice(interact(envs, RandomPolicy(envs.spec.num_actions, seed)), num_timesteps):
        for replica in replicas:
            replica.step(t)
        obs.append(t.next_step.obs.clone())
        position = [[int(synced.replica.ram[i]) for i in addresses] for synced in replicas]
        positions.append(torch.tensor(position, dtype=torch.float32))
    envs.close()
    env_index = torch.arange(num_envs).repeat(num_timesteps)
    return PositionData(torch.cat(obs), torch.cat(positions), env_index)


def linear_probe(encode: Encode, data: PositionData) -> dict[str, float]:
    """Return R^2 of the player's x and y, predicted from features, on the last quarter of envs."""
    features = torch.cat([encode(obs) for obs in torch.split(data.obs, 256)])
    is_test = data.env_index >= 3 * (int(data.env_index.max()) + 1) // 4
    predicted = ridge_predict(features[~is_test], data.position[~is_test], features[is_test])
    truth = data.position[is_test]
    unexplained = (truth - predicted).square().sum(0) / (truth - truth.mean(0)).square().sum(0)
    x, y = (1 - unexplained).tolist()
    return {"x": x, "y": y, "mean": (x + y) / 2}


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
