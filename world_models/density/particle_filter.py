"""Particle filters over the pixels of a frame, for densities that predict one pixel at a time.

A particle is a frame that is known up to a pixel. The next pixel is sampled from its conditional
times its evidence, the best proposal there is, and the particle's weight is multiplied by the sum
of that product over the levels: the filter sees one pixel ahead (Pitt & Shephard 1999, "Filtering
via Simulation: Auxiliary Particle Filters"). Weights differ only where evidence comes after a pixel
that it depends on, so a frame whose unknown pixels come last is completed exactly.
"""

import math
import time
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from .capabilities import LocalDensity, OrderlessDensity, SequentialDensity

TINY = 1e-30
"""Least conditional probability, so that a softmax rounded to 0 rules out no evidence."""


D = TypeVar("D")


class ParticleFilter(ABC, Generic[D]):
    """Frames given evidence, by ``particles`` particles a sample.

    ``table`` holds the evidence exp(log p(y_i | x_i)) of B frames of D pixels, scaled so that the
    largest of a pixel is 1. After ``seconds``, if given, a method raises TimeoutError.
    """

    def __init__(
        self,
        density: D,
        table: Float[Tensor, "B H W L"],
        particles: int,
        seed: int,
        seconds: float | None = None,
    ) -> None:
        self.density = density
        self.shape = table.shape[1:3]
        self.table = table.flatten(1, 2)
        self.particles = particles
        self.generator = torch.Generator().manual_seed(seed)
        self.deadline = math.inf if seconds is None else time.monotonic() + seconds
        self.known = (self.table > 0).sum(2) == 1
        self.noisy = ~self.known & (self.table < 1).any(2)
        self.order, self.settled = self._plan()

    @abstractmethod
    def _plan(self) -> tuple[Int64[Tensor, "B D"], Bool[Tensor, "B D"]]:
        """Return the pixels in the order of sampling, and which of these steps are settled.

        A settled pixel is known, and its conditional depends on known pixels alone.
        """

    @abstractmethod
    def _settled_log_prob(self, x: UInt8[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return the log-probability of the settled pixels in nats."""

    @abstractmethod
    def _conditional(
        self, x: UInt8[Tensor, "G P D"], known: Bool[Tensor, "G D"], pixel: Int64[Tensor, " G"]
    ) -> Float[Tensor, "G P L"]:
        """Return the probabilities of a group's pixel in each of its frames, given the known."""

    def sample(self, n: int) -> UInt8[Tensor, "{n} B H W"]:
        """Sample ``n`` frames for each frame of the evidence, each by particles of its own."""
        x, _ = self._run(n, last=self.order.shape[1] - 1)
        return x.view(n, -1, *self.shape)

    def log_evidence(self) -> Float[Tensor, " B"]:
        """Return log sum_x p(x) table(x) in nats; its exponential is an unbiased estimate."""
        _, log_evidence = self._run(1, last=self._last_evidence)
        return self._settled_log_prob(self.table.argmax(2).to(torch.uint8)) + log_evidence

    @property
    def _last_evidence(self) -> int:
        """The last step whose evidence weighs particles; -1 if there is none."""
        informative = (self.known | self.noisy).gather(1, self.order) & ~self.settled
        steps = informative.any(0).nonzero()
        return int(steps[-1]) if len(steps) else -1

    def _run(self, n: int, last: int) -> tuple[UInt8[Tensor, "G D"], Float[Tensor, " G"]]:
        """Filter up to step ``last``; return a frame of each group, and its log-evidence.

        There is one group of particles for each of ``n`` samples of each of B frames.
        """
        last_evidence, levels = self._last_evidence, self.table.shape[2]
        count = self.particles if last_evidence >= 0 else 1
        groups = n * len(self.table)
        x = self.table.argmax(2).to(torch.uint8).repeat(n, 1)[:, None].repeat(1, count, 1)
        known = torch.zeros_like(self.settled).scatter(1, self.order, self.settled).repeat(n, 1)
        log_weights = torch.zeros(groups, count, dtype=torch.float64)
        log_evidence = torch.zeros(groups, dtype=torch.float64)
        for step in (~self.settled).any(0).nonzero()[:, 0].tolist():
            if step > last:
                break
            if time.monotonic() > self.deadline:
                raise TimeoutError("the completion took longer than its seconds")
            if step > last_evidence and count > 1:  # later pixels do not weigh particles
                x, count = self._chosen(x, log_weights), 1
                log_weights = log_weights[:, :1]
            pixel = self.order[:, step].repeat(n)
            frame = torch.arange(len(self.table)).repeat(n)
            probs = self._conditional(x, known, pixel).cpu().double().clamp(min=TINY)
            weighted = probs * self.table[frame, pixel][:, None]
            if step <= last_evidence:
                settled = self.settled[:, step].repeat(n)[:, None]
                log_weights += torch.where(settled, 0.0, weighted.sum(2).log())
                uneven = effective_size(log_weights) < count / 2
                log_evidence += torch.where(uneven, log_mean(log_weights), 0.0)
                index = systematic(log_weights[uneven].softmax(1), self.generator)[..., None]
                x[uneven] = x[uneven].gather(1, index.expand(-1, -1, x.shape[2]))
                weighted[uneven] = weighted[uneven].gather(1, index.expand(-1, -1, levels))
                log_weights[uneven] = 0.0
            symbol = weighted.flatten(0, 1).multinomial(1, generator=self.generator)
            index = pixel[:, None, None].expand(-1, count, 1)
            x.scatter_(2, index, symbol.view(groups, count, 1).to(torch.uint8))
            known[torch.arange(groups), pixel] = True
        log_evidence += log_mean(log_weights)
        return self._chosen(x, log_weights)[:, 0], log_evidence

    def _chosen(
        self, x: UInt8[Tensor, "G P D"], log_weights: Float[Tensor, "G P"]
    ) -> UInt8[Tensor, "G 1 D"]:
        """Return one particle of each group, drawn by its weight."""
        index = log_weights.softmax(1).multinomial(1, generator=self.generator)
        return x.gather(1, index[..., None].expand(-1, -1, x.shape[2]))


class RasterFilter(ParticleFilter[SequentialDensity]):
    """The filter of a sequential density: in raster order, without the pixels that are settled."""

    def _plan(self) -> tuple[Int64[Tensor, "B D"], Bool[Tensor, "B D"]]:
        unknown = (~self.known).view(-1, 1, *self.shape).float()
        if isinstance(self.density, LocalDensity):
            r = self.density.radius
            affected = max_pool2d(pad(unknown, (r, r, r, 0)), (r + 1, 2 * r + 1), stride=1)
        else:
            affected = unknown.flatten(1).cumsum(1)
        order = torch.arange(self.known.shape[1]).expand(len(self.known), -1)
        return order, self.known & (affected.flatten(1) == 0)

    def _settled_log_prob(self, x: UInt8[Tensor, "B D"]) -> Float[Tensor, " B"]:
        log_probs = self.density.pixel_log_probs(x.view(-1, *self.shape)).cpu().double()
        return torch.where(self.settled, log_probs.flatten(1), 0.0).sum(1)

    def _conditional(
        self, x: UInt8[Tensor, "G P D"], known: Bool[Tensor, "G D"], pixel: Int64[Tensor, " G"]
    ) -> Float[Tensor, "G P L"]:
        i, j = divmod(int(pixel[0]), self.shape[1])  # the same of every frame
        probs = self.density.conditional(x.view(-1, *self.shape), i, j)
        return probs.view(*x.shape[:2], -1)


class OrderlessFilter(ParticleFilter[OrderlessDensity]):
    """The filter of an orderless density: first the known pixels, then those with evidence.

    Unknown pixels come last, in a random order.
    """

    def _plan(self) -> tuple[Int64[Tensor, "B D"], Bool[Tensor, "B D"]]:
        shuffled = torch.randperm(self.known.shape[1], generator=self.generator)
        kind = torch.where(self.known, 0, torch.where(self.noisy, 1, 2))[:, shuffled]
        order = shuffled[kind.argsort(dim=1, stable=True)]
        return order, self.known.gather(1, order)

    def _settled_log_prob(self, x: UInt8[Tensor, "B D"]) -> Float[Tensor, " B"]:
        known, rows = torch.zeros_like(self.known), torch.arange(len(x))
        log_prob = torch.zeros(len(x), dtype=torch.float64)
        for step in self.settled.any(0).nonzero()[:, 0].tolist():
            pixel = self.order[:, step]
            probs = self._conditional(x[:, None], known, pixel).cpu().double().clamp(min=TINY)
            found = probs[rows, 0, x[rows, pixel].long()].log()
            log_prob += torch.where(self.settled[:, step], found, 0.0)
            known[rows, pixel] = True
        return log_prob

    def _conditional(
        self, x: UInt8[Tensor, "G P D"], known: Bool[Tensor, "G D"], pixel: Int64[Tensor, " G"]
    ) -> Float[Tensor, "G P L"]:
        groups, count, _ = x.shape
        known = known.repeat_interleave(count, 0).view(-1, *self.shape)
        probs = self.density.conditional_given(x.view(-1, *self.shape), known)
        index = pixel.repeat_interleave(count).to(probs.device)
        rows = torch.arange(len(index), device=probs.device)
        return probs.flatten(1, 2)[rows, index].view(groups, count, -1)


def effective_size(log_weights: Float[Tensor, "G P"]) -> Float[Tensor, " G"]:
    """Return the effective number of particles, (sum w)^2 / sum w^2."""
    return 1 / log_weights.softmax(1).square().sum(1)


def log_mean(log_weights: Float[Tensor, "G P"]) -> Float[Tensor, " G"]:
    """Return the logarithm of the mean weight."""
    return log_weights.logsumexp(1) - math.log(log_weights.shape[1])


def systematic(weights: Float[Tensor, "G P"], generator: torch.Generator) -> Int64[Tensor, "G P"]:
    """Sample P particles of each group by their weights, with one random number a group."""
    groups, count = weights.shape
    start = torch.rand(groups, 1, dtype=torch.float64, generator=generator)
    positions = (start + torch.arange(count)) / count
    return torch.searchsorted(weights.cumsum(1), positions).clamp(max=count - 1)
