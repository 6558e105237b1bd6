"""Likelihoods of pixels: a decoder's parameter maps as a distribution of frames.

Frames are symbols 0..levels-1, and pixels are independent given the maps. A likelihood also gives
the encoder its input and the decoder its initial bias, so that a latent-variable model is the same
for every kind of pixel.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    Normal,
    constraints,
)
from torch.nn.functional import logsigmoid, one_hot

LikelihoodName = Literal["gaussian", "bernoulli", "categorical", "logistic"]


@dataclass(frozen=True)
class Likelihood(ABC):
    """Distribution of frames of ``shape``, (H, W) or (K, H, W), with ``levels`` symbols.

    Its parameters are ``maps`` of the frame's shape, with axes (maps, *shape) last. One event is
    one frame.
    """

    continuous: ClassVar[bool] = False
    """Whether values are real numbers with a density in place of a probability."""

    shape: tuple[int, ...]
    levels: int

    @property
    @abstractmethod
    def maps(self) -> int:
        """Number of parameter maps per channel."""

    @property
    def of_symbols(self) -> bool:
        """Whether it is a distribution of the symbols themselves."""
        return not self.continuous

    @property
    def bin_width(self) -> float:
        """Difference of two levels in the units of the values; 1 if they are discrete."""
        return 1 / self.top if self.continuous else 1.0

    @property
    def top(self) -> int:
        """The largest symbol, or 1 if there is a single one."""
        return max(self.levels - 1, 1)

    def values(self, frames: UInt8[Tensor, "B *K H W"]) -> Tensor:
        """Convert frames to values of the distribution."""
        return frames.long()

    def inputs(self, values: Tensor) -> Float[Tensor, "B *K H W"]:
        """Convert values to an encoder's input, in 0..1."""
        return values.float() / self.top

    @abstractmethod
    def distribution(self, params: Tensor) -> Distribution:
        """Return p(x) for parameters [*S, maps, *shape]."""

    @abstractmethod
    def initial(self, values: Tensor) -> Float[Tensor, "maps *K H W"]:
        """Return the parameters of each pixel by itself, from a first batch of values.

        A decoder's bias starts there (Salimans & Kingma 2016, section 3).
        """

    @abstractmethod
    def image(self, params: Tensor) -> Tensor:
        """Return the mean of each pixel, in 0..1."""

    @property
    def _axis(self) -> int:
        """The axis of the parameter maps."""
        return -1 - len(self.shape)


@dataclass(frozen=True)
class GaussianPixels(Likelihood):
    """Pixels in 0..1 with a mean and a standard deviation of at least ``min_std``."""

    continuous = True
    maps = 2

    min_std: float = 0.05

    def values(self, frames: UInt8[Tensor, "B *K H W"]) -> Float[Tensor, "B *K H W"]:
        return frames.float() / self.top

    def inputs(self, values: Float[Tensor, "B *K H W"]) -> Float[Tensor, "B *K H W"]:
        return values

    def distribution(self, params: Tensor) -> Distribution:
        mean, log_std = params.unbind(self._axis)
        # A soft minimum keeps the gradient, and the clamp prevents an overflow.
        std = (self.min_std**2 + (2 * log_std.clamp(max=2)).exp()).sqrt()
        return Independent(Normal(mean, std, validate_args=False), len(self.shape))

    def initial(self, values: Float[Tensor, "B *K H W"]) -> Float[Tensor, "maps *K H W"]:
        # A constant pixel starts near the smallest standard deviation.
        std = values.std(0, correction=0).clamp(min=self.min_std / 32)
        return torch.stack([values.mean(0), std.log()])

    def image(self, params: Tensor) -> Tensor:
        return params.select(self._axis, 0)


@dataclass(frozen=True)
class BernoulliPixels(Likelihood):
    """Bits: the symbols where there are two, else 1 for each pixel above the mean of its frame."""

    maps = 1

    @property
    def of_symbols(self) -> bool:
        return self.levels == 2

    def values(self, frames: UInt8[Tensor, "B *K H W"]) -> Float[Tensor, "B *K H W"]:
        pixels = frames.float()
        return pixels if self.of_symbols else (pixels > pixels.mean((-2, -1), keepdim=True)).float()

    def inputs(self, values: Tensor) -> Float[Tensor, "B *K H W"]:
        return values.float()

    def distribution(self, params: Tensor) -> Distribution:
        logits = params.squeeze(self._axis)
        return Independent(Bits(logits=logits, validate_args=False), len(self.shape))

    def initial(self, values: Float[Tensor, "B *K H W"]) -> Float[Tensor, "maps *K H W"]:
        # Laplace smoothing: one more observation of each value.
        return ((values.sum(0) + 1) / (len(values) + 2)).logit()[None]

    def image(self, params: Tensor) -> Tensor:
        return params.squeeze(self._axis).sigmoid()


@dataclass(frozen=True)
class CategoricalPixels(Likelihood):
    """A probability for each symbol, without an order among symbols."""

    @property
    def maps(self) -> int:
        return self.levels

    def distribution(self, params: Tensor) -> Distribution:
        logits = params.movedim(self._axis, -1)
        return Independent(Categorical(logits=logits, validate_args=False), len(self.shape))

    def initial(self, values: Int64[Tensor, "B *K H W"]) -> Float[Tensor, "maps *K H W"]:
        # As the histogram's: one more observation, shared by all symbols.
        counts = one_hot(values, self.levels).sum(0).movedim(-1, 0)
        return ((counts + 1 / self.levels) / (len(values) + 1)).log()

    def image(self, params: Tensor) -> Tensor:
        symbols = torch.arange(self.levels, dtype=params.dtype, device=params.device) / self.top
        probs = params.softmax(self._axis).flatten(self._axis + 1)  # [*S, maps, pixels]
        mean: Tensor = (symbols @ probs).unflatten(-1, self.shape)
        return mean


@dataclass(frozen=True)
class LogisticPixels(Likelihood):
    """Symbols with an order: a mixture of logistics, rounded to the nearest symbol.

    As in PixelCNN++ (Salimans et al. 2017, section 2.1), with channels independent.
    """

    components: int = 5

    @property
    def maps(self) -> int:
        return 3 * self.components

    def distribution(self, params: Tensor) -> Distribution:
        mixtures = DiscretizedLogistics(params.movedim(self._axis, -1), self.levels)
        return Independent(mixtures, len(self.shape), validate_args=False)

    def initial(self, values: Int64[Tensor, "B *K H W"]) -> Float[Tensor, "maps *K H W"]:
        x, count = self.inputs(values), self.components
        order = torch.arange(count, device=x.device)
        means = x.sort(0).values[((order + 0.5) / count * len(x)).long()]  # quantiles
        # Scales are a factor 2 apart, since equal components would have equal gradients.
        scale = x.std(0, correction=0).clamp(min=1 / (16 * self.top)).log()
        spread = math.log(2) * (order - count // 2).view(-1, *[1] * len(self.shape))
        return torch.cat([torch.zeros_like(means), means, scale + spread])

    def image(self, params: Tensor) -> Tensor:
        mean: Tensor = self.distribution(params).mean / self.top
        return mean


class Bits(Bernoulli):
    """Bernoulli distribution whose values may also be integers."""

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.to(self.logits.dtype)
        log_prob: Tensor = super().log_prob(value)  # type: ignore[no-untyped-call]
        return log_prob


class DiscretizedLogistics(Distribution):
    """Symbols s = round((levels - 1) y) of y ~ a mixture of logistics; the ends take the tails.

    The last axis of ``params`` holds the components' logits, means and log scales.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, params: Float[Tensor, "*S thrice"], levels: int) -> None:
        self.levels, self.top = levels, max(levels - 1, 1)
        logits, self.means, log_scales = params.chunk(3, -1)
        self.log_weights = logits.log_softmax(-1)
        # The narrowest scale is far below a bin, the widest far above all of them.
        self.scales = log_scales.clamp(-math.log(self.top) - 5, 2).exp()
        super().__init__(params.shape[:-1], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        interval = constraints.integer_interval
        support: constraints.Constraint = interval(0, self.levels - 1)  # type: ignore[no-untyped-call]
        return support

    @property
    def mean(self) -> Float[Tensor, "*S"]:
        """The exact mean of the symbols, the sum over s of P(symbol > s)."""
        mean = torch.zeros_like(self.means[..., 0])
        for s in range(self.levels - 1):
            above = (self.means - (s + 0.5) / self.top) / self.scales
            mean = mean + (self.log_weights.exp() * above.sigmoid()).sum(-1)
        return mean

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of symbols.

        With a and b the standardized ends of a bin, sigmoid(a) - sigmoid(b) equals sigmoid(a)
        sigmoid(-b) (1 - exp(b - a)), whose logarithm cancels nowhere.
        """
        x = value[..., None].to(self.means.dtype)
        first, last = x == 0, x == self.levels - 1
        a = ((x + 0.5) / self.top - self.means) / self.scales
        b = ((x - 0.5) / self.top - self.means) / self.scales
        inside = (-torch.expm1(-1 / (self.top * self.scales))).log()
        log_probs = logsigmoid(a).masked_fill(last, 0) + logsigmoid(-b).masked_fill(first, 0)
        log_probs = log_probs + torch.where(first | last, 0.0, inside)
        return (self.log_weights + log_probs).logsumexp(-1)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        shape = (*sample_shape, *self.means.shape)
        logits = self.log_weights.expand(shape)
        component: Distribution = Categorical(logits=logits, validate_args=False)
        chosen = component.sample()[..., None]
        mean, scale = (x.expand(shape).gather(-1, chosen) for x in (self.means, self.scales))
        y = mean + scale * torch.rand_like(mean).logit(1e-7)
        return (self.top * y).round().clamp(0, self.levels - 1).long()[..., 0]


LIKELIHOODS: dict[LikelihoodName, type[Likelihood]] = {
    "gaussian": GaussianPixels,
    "bernoulli": BernoulliPixels,
    "categorical": CategoricalPixels,
    "logistic": LogisticPixels,
}
"""Every likelihood by name."""
