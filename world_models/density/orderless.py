"""Orderless: a network that predicts unknown pixels from known ones (deep NADE, Uria et al. 2014).

A frame is generated in groups of pixels, in a random order. Each pixel has a time z_i ~ U(0, 1), at
which it becomes known. Sorted by time, the first pixels are group 1, the next ones group 2 and so
on; the pixels of a group are independent given the groups before it:

    p(x) = E_z p(x | z),    p(x | z) = product over g, over i in group g, of p(x_i | groups < g)

So the code of this latent-variable model is the order, its posterior is its prior, and a frame is
scored by ``passes`` forward passes per order: the likelihood of exactly what ``sample`` does. By
Jensen's inequality the mean of p(x | z) over sampled orders gives a lower bound on log p(x), as any
importance-weighted one. It is also a diffusion with an absorbing state (Hoogeboom et al. 2022,
"Autoregressive Diffusion Models"), where z_i is the time at which the pixel leaves that state.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Uniform
from torch.nn.functional import cross_entropy, one_hot, relu

from ...envs.checks import at_least, check
from ..inference.bounds import LatentVariableModel
from .bound import BoundDensity, BoundDensityConfig
from .frames import check_frames
from .pixel_bias import PixelBias


@dataclass(frozen=True)
class OrderlessConfig(BoundDensityConfig):
    """A convolutional network that predicts unknown pixels from known ones, in random orders."""

    rmsprop_eps: float = 1e-6
    """RMSProp's epsilon, for estimates from a part of the pixels."""
    samples: int = 1
    """Orders sampled per frame: more give a tighter bound, each for ``passes`` forward passes."""
    passes: int = 16
    """Groups of pixels, and forward passes to score or to sample a frame; with as many as pixels,
    each pixel is predicted given all earlier ones."""
    maps: int = 32
    """Feature maps."""
    blocks: int = 4
    """Residual blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "density", at_least(1), "passes", "maps", "blocks")

    def example(self) -> "OrderlessConfig":
        return replace(self, samples=16, passes=3, maps=8, blocks=1)

    @property
    def density_class(self) -> type["Orderless"]:
        return Orderless

    def build_network(self, shape: tuple[int, int], levels: int) -> nn.Module:
        return UnmaskingModel(shape, levels, self.passes, self.maps, self.blocks)


class Orderless(BoundDensity):
    """p(x) = the mean over orders of a product over groups of pixels, each given earlier ones.

    The log-probability is a bound by sampled orders, see ``BoundDensity``.
    """

    net: "UnmaskingModel"

    @torch.no_grad()
    def conditional_given(
        self, x: UInt8[Tensor, "B H W"], known: Bool[Tensor, "B H W"]
    ) -> Float[Tensor, "B H W levels"]:
        check_frames(x, self.shape, self.levels)
        symbols, known = x.to(self.device, torch.int64), known.to(self.device)
        with self.precision.autocast(self.device):
            logits = self.net(symbols, known)
        probs = logits.float().softmax(1).movedim(1, -1)
        return torch.where(known[..., None], one_hot(symbols, self.levels).to(probs), probs)

    def _objective(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        """Return an unbiased estimate of E_z log p(x | z) from one forward pass.

        The group of a random pixel and all later groups are unknown. Each unknown pixel is equally
        likely to be of that group, so the mean log-probability over the group is in expectation
        that over all unknown pixels (Uria et al. 2014, section 3).
        """
        group = self.net.groups(torch.rand(x.shape, device=self.device))
        pixel = torch.randint(group[0].numel(), (len(x), 1), device=self.device)
        drawn = group.flatten(1).gather(1, pixel)
        known = group < drawn[:, :, None]
        with self.precision.autocast(self.device):
            logits = self.net(x.long(), known)
        log_probs = -cross_entropy(logits.float(), x.long(), reduction="none").double()
        unknown = (~known).sum((1, 2))
        return log_probs.masked_fill(known, 0).sum((1, 2)) * (x[0].numel() / unknown)


class UnmaskingModel(nn.Module, LatentVariableModel):
    """A residual network of unknown pixels given known ones, in ``passes`` groups of pixels."""

    group_of_rank: Tensor

    def __init__(
        self, shape: tuple[int, int], levels: int, passes: int, maps: int, blocks: int
    ) -> None:
        super().__init__()
        self.levels = levels
        self.bias = PixelBias(shape, levels)  # the logits with nothing known
        self.inputs = nn.Conv2d(levels + 1, maps, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(maps, maps, 3, padding=1) for _ in range(blocks))
        self.outputs = nn.Conv2d(maps, levels, 1)
        for parameter in self.outputs.parameters():
            nn.init.zeros_(parameter)
        self.num_groups = min(passes, math.prod(shape))
        self.register_buffer("group_of_rank", group_of_rank(math.prod(shape), passes))

    def forward(
        self, x: Int64[Tensor, "B H W"], known: Bool[Tensor, "B H W"]
    ) -> Float[Tensor, "B levels H W"]:
        """Return the logits of every pixel given the known ones."""
        mask = known[:, None].float()
        h = self.inputs(torch.cat([self.bias.surprise(x) * mask, mask], 1))
        for block in self.blocks:
            h = h + block(relu(h))
        logits: Tensor = self.outputs(relu(h)) + self.bias()
        return logits

    def groups(self, times: Float[Tensor, "*B H W"]) -> Int64[Tensor, "*B H W"]:
        """Return the group of each pixel, by the times at which they become known."""
        ranks = times.flatten(-2).argsort(-1).argsort(-1)
        return self.group_of_rank[ranks].view_as(times)

    def prior(self) -> Distribution:
        times = torch.zeros_like(self.bias.weight[0])
        return Independent(Uniform(times, times + 1, validate_args=False), 2)

    def posterior(self, x: Int64[Tensor, "B H W"]) -> Distribution:
        posterior: Distribution = self.prior().expand(torch.Size([len(x)]))
        return posterior

    def likelihood(self, z: Float[Tensor, "*S H W"]) -> Distribution:
        return Unmasking(self, self.groups(z))


class Unmasking(Distribution):
    """p(x | z) = product over g, over pixels i in group g, of p(x_i | groups < g)."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, model: UnmaskingModel, group: Int64[Tensor, "*S H W"]) -> None:
        super().__init__(group.shape[:-2], group.shape[-2:], validate_args=False)
        self.model, self.group = model, group

    def log_prob(self, value: Int64[Tensor, "*B H W"]) -> Float[Tensor, "*S"]:
        """Return log p(x | z) in nats, summed in float64."""
        x, group = value.expand_as(self.group).flatten(0, -3), self.group.flatten(0, -3)
        log_prob = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for g in range(self.model.num_groups):
            logits = self.model(x, group < g).float()
            nats = cross_entropy(logits, x, reduction="none").masked_fill(group != g, 0)
            log_prob -= nats.sum((1, 2), dtype=torch.float64)
        return log_prob.view(self.batch_shape)

    def sample(self, sample_shape: Sequence[int] = ()) -> Int64[Tensor, "*S H W"]:
        """Sample frames of each z, group after group."""
        shape = *sample_shape, *self.group.shape
        group = self.group.expand(shape).flatten(0, -3)
        x = torch.zeros_like(group)
        for g in range(self.model.num_groups):
            logits = self.model(x, group < g).float().movedim(1, -1)
            symbols: Distribution = Categorical(logits=logits, validate_args=False)
            x = torch.where(group == g, symbols.sample(), x)
        return x.view(shape)


def group_of_rank(pixels: int, passes: int) -> Int64[Tensor, " {pixels}"]:
    """Return the group of each rank: the sizes of groups grow linearly.

    Pixels of a group are taken as independent, which costs the most while few pixels are known.
    """
    groups = min(passes, pixels)
    share = (torch.arange(groups) / groups).square()
    starts = torch.arange(groups) + ((pixels - groups) * share).long()
    return torch.searchsorted(starts, torch.arange(pixels), right=True) - 1
