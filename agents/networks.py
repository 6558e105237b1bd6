"""Networks of agents: feature extractors, the Q-network, and the policy and value network.

Layers have torch's default initialization (uniform in +-1/sqrt(fan-in)), which is that of the Lua
Torch in which the published DQN was written, or ``orthogonal_``. Both draw from torch's global
generator, so networks are built inside ``prng.seeded``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from ..envs import prng
from ..envs.errors import UsageError
from ..envs.interface import Carry
from ..world_models.interface import Planner, PlannerOutput
from ..world_models.precision import FLOAT32, InferenceCopy, Precision, to_channels_last

M = TypeVar("M", "QNetwork", "PolicyNetwork")


class Network(nn.Module):
    """A feature extractor: uint8 images are scaled to 0..1 and mapped to float32 features."""

    def __init__(self, layers: nn.Module, features: int, precision: Precision = FLOAT32) -> None:
        super().__init__()
        self.layers, self.features, self.precision = layers, features, precision

    def forward(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
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


class QNetwork(nn.Module):
    """Action values, linear in the features of a trunk; optionally dueling (Wang et al. 2016)."""

    def __init__(self, trunk: Network, num_actions: int, dueling: bool) -> None:
        super().__init__()
        self.trunk, self.dueling = trunk, dueling
        self.head = nn.Linear(trunk.features, num_actions + dueling)

    def forward(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B A"]:
        """Return Q(s, a) of every action.

            Q(s, a) = V(s) + A(s, a) - mean_b A(s, b)

        This is the dueling form (Wang et al. 2016, eq. 9); otherwise Q is linear in the features.
        """
        values: Tensor = self.head(self.trunk(obs))
        if not self.dueling:
            return values
        value, advantage = values[:, :1], values[:, 1:]
        return value + advantage - advantage.mean(1, keepdim=True)  # Wang et al. 2016, eq. 9


class PolicyNetwork(nn.Module):
    """The policy and the value function of PPO: a planner's logits and a critic.

    Both read the features of a trunk or, with ``lstm`` units, of an LSTM on top of it. The critic
    also reads the plan that a timestep begins with, from which no gradient flows back.
    """

    def __init__(self, trunk: Network, lstm: int, planner: Planner) -> None:
        super().__init__()
        self.trunk, self.planner = trunk, planner
        self.lstm = nn.LSTMCell(trunk.features, lstm) if lstm else None
        self.critic = nn.Linear(lstm or trunk.features, 1)
        orthogonal_(self.trunk)
        orthogonal_(self.critic, 1.0)
        if self.lstm:
            for name, weights in self.lstm.named_parameters():
                nn.init.orthogonal_(weights) if "weight" in name else nn.init.zeros_(weights)
        self.plan_critic: nn.Linear | None = None
        """What the value depends on the plan, 0 at first; None for a planner without one."""
        if planner.context_size:
            self.plan_critic = nn.Linear(planner.context_size, 1, bias=False)
            nn.init.zeros_(self.plan_critic.weight)
        self.recurrent = bool(self.initial(1))
        """Whether the outputs depend on earlier timesteps."""

    def initial(self, n: int) -> Carry:
        """Return the carry of the LSTM and of the planner for n environments."""
        width = self.lstm.hidden_size if self.lstm else 0
        carry = {name: torch.zeros(n, width) for name in ("hidden", "cell") if width}
        return carry | self.planner.initial(n)

    def forward(
        self,
        obs: UInt8[Tensor, "B T K H W"],
        first: Bool[Tensor, "B T"],
        carry: Carry,
        action: Int64[Tensor, "B T1"] | None = None,
        decision: Int64[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T A"], Float[Tensor, "B T"], PlannerOutput, Carry]:
        """Return logits, values and planner outputs [B T] of a segment, and the carry after it.

        ``carry`` is that before the segment. Its ``rng`` advances once per timestep, and its
        ``action`` is set to the action taken. With ``decision`` the planner repeats earlier
        decisions instead of drawing new ones.
        """
        features = self.trunk(obs.flatten(0, 1)).unflatten(0, first.shape)
        outputs = []
        for t, (x, first_t) in enumerate(zip(features.unbind(1), first.unbind(1), strict=True)):
            x, carry = self._lstm_step(x, carry, first_t)
            value = self._value(x, carry, first_t)
            decision_t = None if decision is None else decision[:, t]
            logits, carry, plan = self.planner.advance(x, carry, first_t, decision_t)
            outputs.append((logits, value, plan))
            if "rng" in carry:
                carry = carry | {"rng": prng.next_rng(carry["rng"])}
            if "action" in carry and action is not None and t < action.shape[1]:
                carry = carry | {"action": action[:, t]}
        logits_of, values, plans = zip(*outputs, strict=True)
        plan = stack_planner_outputs(plans)
        return torch.stack(logits_of, 1), torch.stack(values, 1), plan, carry

    def _value(
        self, features: Float[Tensor, "B D"], carry: Carry, first: Bool[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        value: Tensor = self.critic(features)
        if self.plan_critic is not None:
            value = value + self.plan_critic(self.planner.context(carry, first).detach())
        return value[:, 0]

    def _lstm_step(
        self, features: Float[Tensor, "B D"], carry: Carry, first: Bool[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B D2"], Carry]:
        if self.lstm is None:
            return features, carry
        hidden, cell = (carry[name] * ~first[:, None] for name in ("hidden", "cell"))
        hidden, cell = self.lstm(features, (hidden, cell))
        return hidden, carry | {"hidden": hidden, "cell": cell}


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


def stack_planner_outputs(outputs: Sequence[PlannerOutput]) -> PlannerOutput:
    """Return the outputs of successive timesteps, [B], as one [B, T]."""
    names = [x.name for x in fields(outputs[0]) if getattr(outputs[0], x.name) is not None]
    return PlannerOutput(
        **{name: torch.stack([getattr(x, name) for x in outputs], 1) for name in names}
    )


def inference_copy(network: M, precision: Precision) -> InferenceCopy[M]:
    """Return a copy for inference, whose feature extractor alone is in low precision."""
    return InferenceCopy(network, precision, lambda copied: copied.trunk.layers)
