"""Normalizing flows of symbols: NICE, RealNVP and neural spline flows, dequantized.

A symbol x is the integer part of a continuous v = x + u, which an invertible map takes to
independent noise (Dinh et al. 2015, 2017; Durkan et al. 2019). The noise u is the code of a
latent-variable model, so a flow is scored by a bound on its evidence, as Hoogeboom et al. 2020 do:

    P(x) = integral of p(x + u) du = E[p(x + u) / q(u | x)], u ~ q

Its couplings form a pyramid (Dinh et al. 2017, section 3.6): each takes every second row or column
to noise, given the others, and the next goes on with the others. What they do to a pixel begins as
a map of its own, fitted to the histogram of the first batch.

With an affine map a pixel is Gaussian, which costs 0.25 bits beside uniform noise, even for a pixel
that never changes. A spline whose bins are symbols takes each symbol's noise to noise, for nothing.
"""

from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.distributions import (
    AffineTransform,
    Distribution,
    Independent,
    SigmoidTransform,
    TransformedDistribution,
    Uniform,
)
from torch.nn.functional import one_hot

from ...envs.checks import at_least, check
from ..inference.bounds import LatentVariableModel
from .bound import BoundDensityConfig
from .pixel_transforms import Affine, PixelTransform, Spline


@dataclass(frozen=True)
class FlowConfig(BoundDensityConfig):
    """A normalizing flow of dequantized symbols, scored by a bound."""

    learning_rate: float = 2e-3
    """Of RMSProp."""
    rmsprop_eps: float = 1e-6
    """RMSProp's epsilon: the gradients of one pixel's parameters are small in nats per pixel."""
    samples: int = 2
    """Noises sampled per frame: more give a tighter bound, at their cost."""
    transform: Literal["spline", "affine", "additive"] = "spline"
    """Map of a pixel: Durkan et al. 2019, Dinh et al. 2017 (RealNVP), or 2015 (NICE)."""
    layers: int = 6
    """Couplings, each of half of the pixels that are left."""
    maps: int = 16
    """Feature maps of a coupling's network."""
    bins: int = 16
    """Bins of a spline, at most one per symbol."""
    dequantize: Literal["uniform", "learned"] = "uniform"
    """Noise of a symbol: uniform, or of a shape and place given by the frame."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "density", at_least(1), "maps", "bins")
        check(self, "density", at_least(0), "layers")

    def example(self) -> "FlowConfig":
        return replace(self, samples=16, layers=2, maps=4)

    def build_network(self, shape: tuple[int, int], levels: int) -> nn.Module:
        return Flow(self, shape, levels)


Grid = tuple[slice, slice, slice] | EllipsisType
"""A regular grid of pixels, as an index of images [B H W]."""


class Flow(nn.Module, LatentVariableModel):
    """A frame is the integer part of a code v ~ p(v), a point of the box [0, levels]^(H x W)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: FlowConfig, shape: tuple[int, int], levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.transform: PixelTransform
        if config.transform == "spline":
            self.transform = Spline(levels, min(config.bins, levels))
        else:
            self.transform = Affine(levels, additive=config.transform == "additive")
        self.grids = pyramid(shape, config.layers)
        self.conditioners = nn.ModuleList(
            conditioner(config.maps, self.transform.conditioned) for _ in self.grids
        )
        self.noise = conditioner(config.maps, 2) if config.dequantize == "learned" else None
        self.params = nn.Parameter(torch.zeros(*shape, self.transform.size))
        self.register_buffer("mean", torch.full(shape, levels / 2))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def initialize_from(self, x: Int64[Tensor, "B H W"]) -> None:
        """Fit each pixel's own parameters to its histogram in some frames."""
        counts = one_hot(x, self.levels).sum(0) + 1 / self.levels
        histogram = counts.double() / (len(x) + 1)
        self.params.copy_(self.transform.initial(histogram))
        middles = torch.arange(self.levels, device=x.device) + 0.5
        self.mean.copy_((histogram * middles).sum(-1))
        self.scale.copy_((x + 0.5 - self.mean).square().mean().sqrt().clamp(min=0.5))

    def prior(self) -> Distribution:
        return FlowDistribution(self)

    def posterior(self, x: Int64[Tensor, "B H W"]) -> Distribution:
        transforms = []  # with caches, so that a sample is scored without an inversion
        if self.noise is not None:
            shift, log_scale = self.noise(self._features(x + 0.5)).float().unbind(1)
            scale = (3 * (log_scale / 3).tanh()).exp()
            transforms = [
                SigmoidTransform(cache_size=1).inv,
                AffineTransform(shift, scale, cache_size=1),
                SigmoidTransform(cache_size=1),
            ]
        transforms.append(AffineTransform(x + EDGE, 1 - 2 * EDGE, cache_size=1))
        zeros = torch.zeros_like(x, dtype=self.params.dtype)
        uniform = Uniform(zeros, zeros + 1, validate_args=False)
        noise = TransformedDistribution(uniform, transforms, validate_args=False)
        return Independent(noise, 2, validate_args=False)

    def likelihood(self, z: Float[Tensor, "*S H W"]) -> Distribution:
        return IntegerPart(z, self.levels)

    def forward(
        self, v: Float[Tensor, "B H W"]
    ) -> tuple[Float[Tensor, "B H W"], Float[Tensor, "B H W"]]:
        """Return the noise of points of the box, and the log-derivative of each pixel's map.

        The Jacobian is triangular: the log-derivatives sum to its log-determinant.
        """
        params = self.params.expand(len(v), -1, -1, -1).clone()
        for net, (kept, taken) in zip(self.conditioners, self.grids, strict=True):
            self._condition(params[taken], net, v, kept)
        return self.transform.forward(v, params)

    def inverse(self, z: Float[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        """Return the points of the box of some noise, from the top of the pyramid down."""
        params = self.params.expand(len(z), -1, -1, -1).clone()
        v = self.transform.inverse(z, params)  # final where no coupling takes the pixel
        for net, (kept, taken) in reversed([*zip(self.conditioners, self.grids, strict=True)]):
            self._condition(params[taken], net, v, kept)
            v[taken] = self.transform.inverse(z[taken], params[taken])
        return v

    def _condition(self, params: Tensor, net: nn.Module, v: Tensor, kept: Grid) -> None:
        """Add to a coupling's parameters what its network infers from the kept pixels."""
        given = net(self._features(v, kept)).to(params.dtype).movedim(1, -1)
        # The last row or column of an odd number of them has no successor.
        given = given[:, : params.shape[1], : params.shape[2]]
        params[..., : self.transform.conditioned] += given

    def _features(self, v: Float[Tensor, "B H W"], grid: Grid = ...) -> Float[Tensor, "B 2 h w"]:
        """Return pixels and their deviations from the mean as images of two channels."""
        v, mean = v[grid], self.mean.expand_as(v)[grid]
        features = torch.stack([(v - mean) / self.scale, 2 * v / self.levels - 1], 1)
        return features.contiguous(memory_format=torch.channels_last)


EDGE = 1e-5
"""Distance of noise from the borders of its symbol, across which float32 could round it."""


def pyramid(shape: tuple[int, int], layers: int) -> list[tuple[Grid, Grid]]:
    """Return the pixels that each layer keeps, and those that it takes, halving the longer side.

    It ends at ``layers``, or at a single pixel.
    """
    rows, columns = shape
    every = slice(None)
    down = across = 1  # steps between the pixels that are left
    grids: list[tuple[Grid, Grid]] = []
    while len(grids) < layers and max(rows, columns) > 1:
        if columns >= rows:
            first, second = slice(0, None, 2 * across), slice(across, None, 2 * across)
            line = slice(0, None, down)
            grids.append(((every, line, first), (every, line, second)))
            across, columns = 2 * across, (columns + 1) // 2
        else:
            first, second = slice(0, None, 2 * down), slice(down, None, 2 * down)
            line = slice(0, None, across)
            grids.append(((every, first, line), (every, second, line)))
            down, rows = 2 * down, (rows + 1) // 2
    return grids


def conditioner(maps: int, outputs: int) -> nn.Module:
    """Return a small convolutional network of two channels, whose outputs begin at zero."""
    last = nn.Conv2d(maps, outputs, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    first = nn.Conv2d(2, maps, 3, padding=1)
    second = nn.Conv2d(maps, maps, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(True), second, nn.ReLU(True), last)


class FlowDistribution(Distribution):
    """p(v) of a flow."""

    def __init__(self, flow: Flow) -> None:
        super().__init__(event_shape=flow.params.shape[:2], validate_args=False)
        self.flow = flow

    def log_prob(self, value: Float[Tensor, "*S H W"]) -> Float[Tensor, "*S"]:
        z, log_derivative = self.flow(value.flatten(0, -3))
        log_prob: Tensor = self.flow.transform.log_base(z) + log_derivative
        return log_prob.sum((1, 2), dtype=torch.float64).view(value.shape[:-2])

    def sample(self, sample_shape: Any = torch.Size()) -> Float[Tensor, "*S H W"]:  # noqa: B008
        shape = torch.Size(sample_shape)
        v = self.flow.params.new_empty(shape.numel(), *self.event_shape)
        v = self.flow.inverse(self.flow.transform.base_like(v))
        return v.view(*shape, *self.event_shape)


class IntegerPart(Distribution):
    """The frame of symbols 0..levels-1 that a point of the box lies in."""

    def __init__(self, v: Float[Tensor, "*S H W"], levels: int) -> None:
        super().__init__(v.shape[:-2], v.shape[-2:], validate_args=False)
        self.v, self.levels = v, levels

    def log_prob(self, value: Int64[Tensor, "*B H W"]) -> Float[Tensor, "*S"]:
        off = (self.v - value - 0.5).abs().amax((-2, -1)) > 0.5
        return torch.where(off, -torch.inf, 0.0)

    def sample(self, sample_shape: Any = torch.Size()) -> Float[Tensor, "*S H W"]:  # noqa: B008
        symbols: Tensor = self.v.floor().clamp(0, self.levels - 1)
        return symbols.expand(*sample_shape, *symbols.shape)
