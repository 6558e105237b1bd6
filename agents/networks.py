"""Networks: trunks from a stack of frames to features, and the head that values actions.

Initialisation is torch's own (uniform in +-1/sqrt(fan-in)), which is that of the Lua Torch in which
the published DQN was written, or ``orthogonal``; both are drawn from torch's generator, so build
inside ``seeded``.
"""

import copy
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from envs import dice
from envs.dice import seeded as seeded
from envs.errors import UsageError
from envs.interface import Memory
from world_models.arithmetic import arithmetic, channels_innermost
from world_models.interface import Planner, Thought


class Network(nn.Module):
    """Pixels stay bytes until they are here, and are 0..1 for the first layer.

    It multiplies in the precision of the ``arithmetic`` it is built in; its features are float32.
    """

    def __init__(self, layers: nn.Module, features: int) -> None:
        super().__init__()
        self.layers, self.features, self.dtype = layers, features, arithmetic().dtype

    def forward(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        # Bytes are cheap to reorder, and convolutions are faster with channels innermost.
        pixels = channels_innermost(obs).to(self.dtype).div_(255)
        reduced = self.dtype != torch.float32
        with torch.autocast(obs.device.type, self.dtype, enabled=reduced):
            features: Tensor = self.layers(pixels)
        return features.float()


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

    def __init__(self, trunk: Network, num_actions: int, dueling: bool) -> None:
        super().__init__()
        self.trunk, self.dueling = trunk, dueling
        self.head = nn.Linear(trunk.features, num_actions + dueling)

    def forward(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B A"]:
        values: Tensor = self.head(self.trunk(obs))
        if not self.dueling:
            return values
        value, advantage = values[:, :1], values[:, 1:]
        return value + advantage - advantage.mean(1, keepdim=True)  # Wang et al. 2016, eq. 9


class PolicyNetwork(nn.Module):
    """Logits of a planner and a value, both of a trunk's features or of an LSTM that reads them."""

    def __init__(self, trunk: Network, lstm: int, planner: Planner) -> None:
        super().__init__()
        self.trunk, self.planner = trunk, planner
        self.lstm = nn.LSTMCell(trunk.features, lstm) if lstm else None
        self.value = nn.Linear(lstm or trunk.features, 1)
        orthogonal(self.trunk)
        orthogonal(self.value, 1.0)
        if self.lstm:
            for name, weights in self.lstm.named_parameters():
                nn.init.orthogonal_(weights) if "weight" in name else nn.init.zeros_(weights)
        self.recurrent = bool(self.initial(1))
        """Whether a tick depends on those before it."""

    def initial(self, n: int) -> Memory:
        """What an LSTM and a planner remember before the first of n streams' steps."""
        width = self.lstm.hidden_size if self.lstm else 0
        state = {name: torch.zeros(n, width) for name in ("hidden", "cell") if width}
        return state | self.planner.initial(n)

    def forward(
        self,
        obs: UInt8[Tensor, "B T K H W"],
        first: Bool[Tensor, "B T"],
        memory: Memory,
        action: Int64[Tensor, "B T1"] | None = None,
        choice: Int64[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T A"], Float[Tensor, "B T"], Thought, Memory]:
        """Logits, values and thoughts [B T] of a segment that begins with ``memory``, and the next.

        The memory's dice are rolled once a tick, and its action is the one that was done. With
        ``choice`` the planner chooses as it did before.
        """
        features = self.trunk(obs.flatten(0, 1)).unflatten(0, first.shape)
        ticks = []
        for t, (x, begins) in enumerate(zip(features.unbind(1), first.unbind(1), strict=True)):
            x, memory = self._remember(x, memory, begins)
            chosen = None if choice is None else choice[:, t]
            logits, memory, thought = self.planner.advance(x, memory, begins, chosen)
            cost = thought.nats, thought.commitment, thought.choice, thought.log_prob
            ticks.append((logits, self.value(x)[:, 0], *cost))
            if "dice" in memory:
                memory = memory | {"dice": dice.roll(memory["dice"])}
            if "action" in memory and action is not None and t < action.shape[1]:
                memory = memory | {"action": action[:, t]}
        logits, value, *thoughts = (torch.stack(x, 1) for x in zip(*ticks, strict=True))
        return logits, value, Thought(*thoughts), memory

    def _remember(
        self, features: Float[Tensor, "B D"], memory: Memory, first: Bool[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B D2"], Memory]:
        if self.lstm is None:
            return features, memory
        before = [memory[name] * ~first[:, None] for name in ("hidden", "cell")]
        hidden, cell = self.lstm(features, (before[0], before[1]))
        return hidden, memory | {"hidden": hidden, "cell": cell}


def orthogonal(module: nn.Module, gain: float = math.sqrt(2)) -> None:
    """Draw a network's weights orthogonal, its biases 0 (Saxe et al. 2014), as PPO's are."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


class Rounded:
    """A network that only looks: where it multiplies in bfloat16, a copy with weights rounded once.

    The network itself rounds its float32 weights at every look, since they learn.
    """

    def __init__(self, network: nn.Module) -> None:
        self.learner = self.network = network
        if any(isinstance(x, Network) and x.dtype != torch.float32 for x in network.modules()):
            self.network = copy.deepcopy(network).requires_grad_(False)
            for x in self.network.modules():
                if isinstance(x, Network):
                    x.layers.to(x.dtype)

    def refresh(self) -> None:
        """Take over what the network has learned."""
        if self.network is not self.learner:
            self.network.load_state_dict(self.learner.state_dict())
