"""Networks: trunks from a stack of frames to features, and the head that values actions.

Initialisation is torch's own (uniform in +-1/sqrt(fan-in)), which is that of the Lua Torch in which
the published DQN was written; it is drawn from torch's generator, so build inside ``seeded``.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from envs.dice import seeded as seeded
from envs.errors import UsageError


class Network(nn.Module):
    """Pixels stay bytes until they are here, and are 0..1 for the first layer."""

    def __init__(self, layers: nn.Module, features: int) -> None:
        super().__init__()
        self.layers, self.features = layers, features

    def forward(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        # Bytes are cheap to reorder, and convolutions are faster with channels innermost.
        pixels = obs.contiguous(memory_format=torch.channels_last).float().div_(255)
        features: Tensor = self.layers(pixels)
        return features


@dataclass(frozen=True)
class NetworkConfig:
    """Base of every network's config."""

    def build(self, obs_shape: tuple[int, int, int]) -> Network:
        """A trunk for looks of shape (K, H, W)."""
        raise NotImplementedError


@dataclass(frozen=True)
class NatureConfig(NetworkConfig):
    """Three convolutions and a hidden layer (Mnih et al. 2015, Methods)."""

    hidden: int = 512

    def build(self, obs_shape: tuple[int, int, int]) -> Network:
        channels, height, width = obs_shape
        if min(height, width) < 36:
            raise UsageError(
                f"agent.network:nature needs frames of 36 x 36 pixels or more, and this world's "
                f"are {height} x {width}; choose agent.network:mlp or agent.network:impala."
            )
        rows, columns = ((((x - 8) // 4 + 1) - 4) // 2 + 1 - 2 for x in (height, width))
        layers = nn.Sequential(
            nn.Conv2d(channels, 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * rows * columns, self.hidden),
            nn.ReLU(),
        )
        return Network(layers, self.hidden)


@dataclass(frozen=True)
class ImpalaConfig(NetworkConfig):
    """Fifteen convolutions in three residual sections (Espeholt et al. 2018, figure 3, right)."""

    channels: tuple[int, ...] = (16, 32, 32)
    hidden: int = 256

    def build(self, obs_shape: tuple[int, int, int]) -> Network:
        before, rows, columns = obs_shape
        layers: list[nn.Module] = []
        for channels in self.channels:
            layers += [
                nn.Conv2d(before, channels, 3, padding=1),
                nn.MaxPool2d(3, stride=2, padding=1),
                _Residual(channels),
                _Residual(channels),
            ]
            before, rows, columns = channels, (rows + 1) // 2, (columns + 1) // 2
        head = [nn.ReLU(), nn.Flatten(), nn.Linear(before * rows * columns, self.hidden), nn.ReLU()]
        return Network(nn.Sequential(*layers, *head), self.hidden)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        change: Tensor = self.layers(x)
        return x + change


@dataclass(frozen=True)
class MLPConfig(NetworkConfig):
    """Hidden layers over the flattened pixels, for worlds too small for convolutions."""

    hidden: tuple[int, ...] = (64, 64)

    def build(self, obs_shape: tuple[int, int, int]) -> Network:
        layers: list[nn.Module] = [nn.Flatten()]
        before = math.prod(obs_shape)
        for width in self.hidden:
            layers += [nn.Linear(before, width), nn.ReLU()]
            before = width
        return Network(nn.Sequential(*layers), before)


NETWORKS: dict[str, type[NetworkConfig]] = {
    "nature": NatureConfig,
    "impala": ImpalaConfig,
    "mlp": MLPConfig,
}


class QNetwork(nn.Module):
    """A value of each action, linear in a trunk's features."""

    def __init__(self, trunk: Network, num_actions: int, dueling: bool, bfloat16: bool) -> None:
        super().__init__()
        self.trunk, self.dueling, self.reduced = trunk, dueling, bfloat16
        self.head = nn.Linear(trunk.features, num_actions + dueling)

    def forward(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B A"]:
        with torch.autocast(obs.device.type, torch.bfloat16, enabled=self.reduced):
            values: Tensor = self.head(self.trunk(obs)).float()
        if not self.dueling:
            return values
        value, advantage = values[:, :1], values[:, 1:]
        return value + advantage - advantage.mean(1, keepdim=True)  # Wang et al. 2016, eq. 9
