"""Densities that are networks, trained by gradient descent on the negative log-likelihood.

They learn online: by default one RMSProp update per frame at a constant learning rate, as Ostrovski
et al. 2017 train the density of a count-based bonus. Without momentum one update seldom overshoots.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...envs.checks import above, at_least, below, check
from ...envs.interface import Metrics
from ...envs.prng import seeded
from ..interface import DensityConfig
from ..precision import FLOAT32, Precision
from ..state import HasState
from .ancestral import ancestral_sample
from .frames import check_frames, check_state
from .pixel_bias import PixelBias


@dataclass(frozen=True)
class NeuralDensityConfig(DensityConfig):
    """Base of the configs of densities that are networks: their optimizer.

    A subclass adds the ``density_class`` and ``build_network``.
    """

    update_per_frame: bool = True
    """One update per frame, as in the paper; else one per batch: faster, with other gains."""
    learning_rate: float = 1e-3
    """Of RMSProp, constant (Ostrovski et al. 2017)."""
    rmsprop_alpha: float = 0.95
    """Decay of RMSProp's mean square; the papers give the learning rate only."""
    rmsprop_eps: float = 1e-4
    """RMSProp's epsilon, for gradients in nats per pixel; below it, late gains become noise."""

    def __post_init__(self) -> None:
        check(self, "density", above(0), "learning_rate", "rmsprop_eps")
        check(self, "density", at_least(0), "rmsprop_alpha")
        check(self, "density", below(1), "rmsprop_alpha")

    @property
    def density_class(self) -> type["NeuralDensity"]:
        """The density whose network it builds."""
        raise NotImplementedError

    def build_network(self, shape: tuple[int, int], levels: int) -> nn.Module:
        """Return the network, with weights drawn from torch's global generator."""
        raise NotImplementedError

    def build(
        self,
        *,
        shape: tuple[int, int],
        levels: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "NeuralDensity":
        return self.density_class(
            self, shape, levels, seed=seed, device=device, precision=precision
        )


class NeuralDensity(HasState, ABC):
    """Base of the densities that are networks; a subclass defines ``_objective``.

    Log-probabilities are in nats. Raises UsageError for frames or states of another shape or
    number of levels.
    """

    STATE: ClassVar[tuple[str, ...]] = (
        "shape", "levels", "net", "optimizer", "generator", "num_updates"
    )  # fmt: skip

    chunk: ClassVar[int] = 16
    """Frames per forward pass: the activations of more do not fit in the CPU's cache."""

    def __init__(
        self,
        config: NeuralDensityConfig,
        shape: tuple[int, int],
        levels: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.shape, self.levels, self.seed = config, shape, levels, seed
        self.device = torch.device(device)
        self.precision = precision.for_small_kernels(self.device)
        with seeded(seed):
            net = config.build_network(shape, levels)
        # Small kernels are fastest in channels-last memory format.
        self.net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.RMSprop(
            self.net.parameters(),
            lr=config.learning_rate,
            alpha=config.rmsprop_alpha,
            eps=config.rmsprop_eps,
            foreach=True,
        )
        self.generator = torch.Generator().manual_seed(seed)  # the same on every device
        self.num_updates = 0

    def log_prob(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        check_frames(x, self.shape, self.levels)
        return self._score(x.to(self.device))

    def observe(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        check_frames(x, self.shape, self.levels)
        before, after = [], []
        for batch in torch.split(x.to(self.device), 1 if self.config.update_per_frame else len(x)):
            before.append(self._learn(batch))
            after.append(self._score(batch))
        return torch.cat(before), torch.cat(after)

    def update(self, x: UInt8[Tensor, "B H W"]) -> Metrics:
        check_frames(x, self.shape, self.levels)
        objective = self._step(x.to(self.device))
        return {"density/nats_per_pixel": -objective.mean() / x[0].numel()}

    @abstractmethod
    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_state(state, self.shape, self.levels)
        super().load_state_dict(state | {"shape": self.shape})

    @abstractmethod
    def _objective(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        """Return log p(x) of each frame in nats, with its gradient.

        Conditionals are summed in float64, because a prediction gain is a small difference of
        large sums; the terms of a bound are sums in float32.
        """

    def _initialize_from(self, x: UInt8[Tensor, "B H W"]) -> None:
        """Initialize from the frames of the first update, which follows."""
        for part in self.net.modules():
            if isinstance(part, PixelBias):
                part.initialize_from(x)

    @torch.no_grad()
    def _score(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        """Return log p(x) of each frame in nats."""
        return torch.cat([self._objective(part) for part in torch.split(x, self.chunk)])

    def _learn(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        """Take one gradient step on the batch; return log p(x) before it."""
        if self.num_updates == 0:  # before the initialization
            before = self._score(x)
            self._step(x)
            return before
        return self._step(x)

    @torch.enable_grad()
    def _step(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        """Take one gradient step on the batch; return the objective before it."""
        if self.num_updates == 0:
            with torch.no_grad():
                self._initialize_from(x)
        self.num_updates += 1
        self.optimizer.zero_grad()
        values = []
        for part in torch.split(x, self.chunk):
            value = self._objective(part)
            (-value.sum() / x.numel()).backward()
            values.append(value.detach())
        self.optimizer.step()
        return torch.cat(values)


class AutoregressiveDensity(NeuralDensity):
    """Base of the networks that return the logits of each pixel given earlier ones.

    p(x) = product over pixels i, in raster order, of softmax(logits_i(x_1, ..., x_{i-1}))
    """

    @abstractmethod
    def conditional(self, x: UInt8[Tensor, "B H W"], i: int, j: int) -> Float[Tensor, "B levels"]:
        """Return the probabilities of pixel (i, j) given those before it, and read no others."""

    def _logits(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B levels H W"]:
        """Return the logits of each pixel, float32."""
        with self.precision.autocast(self.device):
            logits: Tensor = self.net(x)
        return logits.float()

    @torch.no_grad()
    def pixel_log_probs(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        check_frames(x, self.shape, self.levels)
        return self._pixel_log_probs(x.to(self.device))

    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        return ancestral_sample(self, n, self.generator, self.device)

    def _pixel_log_probs(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        return -cross_entropy(self._logits(x), x.long(), reduction="none")

    def _objective(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        return self._pixel_log_probs(x).sum((1, 2), dtype=torch.float64)
