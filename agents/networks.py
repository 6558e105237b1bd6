"""Feature extractors of agents, and the initialization and normalization of their layers.

Layers have torch's default initialization (uniform in +-1/sqrt(fan-in)), which is that of the Lua
Torch in which the published DQN was written, or ``orthogonal_``. Both draw from torch's global
generator, so networks are built inside ``prng.seeded``.
"""

import math
from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ..envs.errors import UsageError
from ..world_models.precision import FLOAT32, Precision, to_channels_last


class Network(nn.Module):
    """A feature extractor: uint8 images are scaled to 0..1 and mapped to float32 features."""

    def __init__(self, layers: nn.Module, features: int, precision: Precision = FLOAT32) -> None:
        super().__init__()
        self.layers, self.features, self.precision = layers, features, precision

    def forward(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "*heads B D"]:
        """Return features of uint8 observations, float32 whatever the precision of the layers."""
        # Convolutions are faster in channels-last format, and uint8 is cheap to reorder.
        pixels = to_channels_last(obs).to(self.precision.dtype).div_(255)
        with self.precision.autocast(obs.device):
            features: Tensor = self.layers(pixels)
        return features.float()


@dataclass(frozen=True)
class NetworkConfig:
    """Base of every network's config."""

    def build(self, obs_shape: tuple[int, int, int], precision: Precision = FLOAT32) -> Network:
        """Return a feature extractor for observations of shape (K, H, W)."""
        raise NotImplementedError


@dataclass(frozen=True)
class NatureConfig(NetworkConfig):
    """Three convolutions and a hidden layer (Mnih et al. 2015, Methods).

    Raises UsageError for frames smaller than 36 x 36 pixels.
    """

    hidden: int = 512
    """Units of the hidden layer, which are the features."""

    def build(self, obs_shape: tuple[int, int, int], precision: Precision = FLOAT32) -> Network:
        channels, height, width = obs_shape
        if min(height, width) < 36:
            raise UsageError(
                f"agent.network:nature needs frames of at least 36 x 36 pixels, but this env's are "
                f"{height} x {width}; choose agent.network:mlp or agent.network:impala."
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
        return Network(layers, self.hidden, precision)


@dataclass(frozen=True)
class ImpalaConfig(NetworkConfig):
    """Fifteen convolutions in three residual sections (Espeholt et al. 2018, figure 3, right)."""

    channels: tuple[int, ...] = (16, 32, 32)
    """Channels of each residual section, which halves rows and columns."""
    hidden: int = 256
    """Units of the hidden layer, which are the features."""

    def build(self, obs_shape: tuple[int, int, int], precision: Precision = FLOAT32) -> Network:
        in_channels, rows, columns = obs_shape
        layers: list[nn.Module] = []
        for channels in self.channels:
            layers += [
                nn.Conv2d(in_channels, channels, 3, padding=1),
                nn.MaxPool2d(3, stride=2, padding=1),
                _ResidualBlock(channels),
                _ResidualBlock(channels),
            ]
            in_channels, rows, columns = channels, (rows + 1) // 2, (columns + 1) // 2
        flat = in_channels * rows * columns
        head = [nn.ReLU(), nn.Flatten(), nn.Linear(flat, self.hidden), nn.ReLU()]
        return Network(nn.Sequential(*layers, *head), self.hidden, precision)


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        residual: Tensor = self.layers(x)
        return x + residual


@dataclass(frozen=True)
class SmallConvConfig(NetworkConfig):
    """One 3 x 3 convolution and a hidden layer, for grids of planes (Young & Tian 2019).

    Raises UsageError for frames smaller than 3 x 3 pixels.
    """

    channels: int = 16
    """Filters of the convolution."""
    hidden: int = 128
    """Units of the hidden layer, which are the features."""

    def build(self, obs_shape: tuple[int, int, int], precision: Precision = FLOAT32) -> Network:
        in_channels, height, width = obs_shape
        if min(height, width) < 3:
            raise UsageError(
                f"agent.network:small-conv needs frames of at least 3 x 3 pixels, but this env's "
                f"are {height} x {width}; choose agent.network:mlp."
            )
        layers = nn.Sequential(
            nn.Conv2d(in_channels, self.channels, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(self.channels * (height - 2) * (width - 2), self.hidden),
            nn.ReLU(),
        )
        return Network(layers, self.hidden, precision)


@dataclass(frozen=True)
class MLPConfig(NetworkConfig):
    """Hidden layers over the flattened pixels, for frames too small for convolutions."""

    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer; the last one holds the features."""

    def build(self, obs_shape: tuple[int, int, int], precision: Precision = FLOAT32) -> Network:
        layers: list[nn.Module] = [nn.Flatten()]
        in_features = math.prod(obs_shape)
        for width in self.hidden:
            layers += [nn.Linear(in_features, width), nn.ReLU()]
            in_features = width
        return Network(nn.Sequential(*layers), in_features, precision)


@dataclass(frozen=True)
class AutoConfig(NetworkConfig):
    """``nature`` for frames of at least 36 x 36 pixels, ``mlp`` for smaller ones."""

    def build(self, obs_shape: tuple[int, int, int], precision: Precision = FLOAT32) -> Network:
        config = NatureConfig() if min(obs_shape[1:]) >= 36 else MLPConfig()
        return config.build(obs_shape, precision)


NETWORKS: dict[str, type[NetworkConfig]] = {
    "auto": AutoConfig,
    "nature": NatureConfig,
    "impala": ImpalaConfig,
    "small-conv": SmallConvConfig,
    "mlp": MLPConfig,
}


def orthogonal_(module: nn.Module, gain: float = math.sqrt(2)) -> None:
    """Initialize weights as orthogonal matrices and biases as 0 (Saxe et al. 2014), as in PPO."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def insert_layer_norm_(module: nn.Module) -> None:
    """Insert a LayerNorm after every linear layer and convolution in a module (Ba et al. 2016).

    The outputs of a layer for one example are scaled to mean 0 and variance 1, then by learned
    weights; of a convolution these are the channels of one pixel.
    """
    for name, layer in module.named_children():
        if isinstance(layer, nn.Linear):
            setattr(module, name, nn.Sequential(layer, nn.LayerNorm(layer.out_features)))
        elif isinstance(layer, nn.Conv2d):
            setattr(module, name, nn.Sequential(layer, _ChannelNorm(layer.out_channels)))
        else:
            insert_layer_norm_(layer)


class _ChannelNorm(nn.LayerNorm):
    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        # Images in channels-last format are contiguous here, and are so again afterwards.
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)
