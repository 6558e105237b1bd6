"""Convolutional DRAW: a frame in steps, by two convolutional LSTMs on a grid coarser than it.

After Gregor et al. 2016, "Towards Conceptual Compression" (sections 2.1 and 2.2):

    encoder_t = LSTM(x, canvas_{t-1}, decoder_{t-1}, encoder_{t-1})
    z_t ~ q(z_t | encoder_t), whose prior is p(z_t | decoder_{t-1})
    decoder_t = LSTM(z_t, canvas_{t-1}, decoder_{t-1})
    canvas_t = canvas_{t-1} + decoder_t

Not from the paper: the canvas is on the grid, and convolutions make pixels of the last one; the
first canvas and state of the decoder are learned at each place; and a code holds u_t of
z_t = mean + std u_t, with the mean and standard deviation of the prior. So the learned prior of z,
autoregressive over steps, is a standard normal one of u, whose mean is 0 in every step. The
posterior of u is then relative to the prior (Vahdat & Kautz 2020, "NVAE", section 3.2).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from ...envs.checks import at_least, check
from ..inference.bounds import Weights
from ..likelihoods import Likelihood
from .composition import Composition
from .grid_networks import ConvLSTM, GaussianHead, reading, writing
from .interface import LatentConfig
from .stepwise import StepwiseModel


@dataclass(frozen=True)
class ConvDRAWConfig(LatentConfig):
    """Convolutional DRAW, which composes a frame in steps, from its gist to its details."""

    usual_likelihood = "logistic"

    steps: int = 4
    """Steps of the composition, with the same weights."""
    size: int = 2
    """Maps of latents in each step. A code, and a key, has steps x size numbers for each place."""
    maps: int = 16
    """Feature maps of each LSTM."""
    stride: Literal[2, 4, 8] = 4
    """Pixels from one place of the grid to the next."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "latent", at_least(1), "steps", "size", "maps")

    def example(self) -> "ConvDRAWConfig":
        return replace(self, steps=2, size=1, maps=8, stride=2)

    def build(self, shape: tuple[int, ...], levels: int = 256) -> "ConvDRAW":
        return ConvDRAW(self, self.pixels(shape, levels))


class Drawing(NamedTuple):
    """State of the decoder of N frames."""

    hidden: Float[Tensor, "N maps h w"]
    cell: Float[Tensor, "N maps h w"]
    canvas: Float[Tensor, "N maps h w"]


class Path(NamedTuple):
    """Codes of N frames step by step, their posteriors given the earlier ones, and drawings."""

    codes: list[Float[Tensor, "N size h w"]]
    posteriors: list[Normal]
    drawings: list[Drawing]

    def log_prob(self) -> Float[Tensor, " N"]:
        """Return the log-probability of the codes."""
        each = zip(self.posteriors, self.codes, strict=True)
        return torch.stack([_log_prob(q, code) for q, code in each]).sum(0)


class ConvDRAW(StepwiseModel):
    """Convolutional DRAW with u ~ N(0, I); a key is the mean of the code along the path of means.

    The path of means takes in each step the most probable code given the earlier ones.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ConvDRAWConfig, pixels: Likelihood) -> None:
        super().__init__(pixels)
        maps, size = config.maps, config.size
        self.obs_shape = channels, *sides = (1, *pixels.shape)[-3:]
        sizes = [tuple(sides)]
        while 2 ** (len(sizes) - 1) < config.stride:
            sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
        rows, columns = sizes[-1]
        self.code_shape = (config.steps, size, rows, columns)
        """Steps, maps, rows and columns of a code."""
        self.size = self.dim = math.prod(self.code_shape)
        self.num_features = 4 * maps
        self.register_buffer("mean", torch.zeros(self.obs_shape))
        self.register_buffer("scale", torch.ones(()))
        self.read = reading(channels, maps, len(sizes) - 1)
        self.encoder = ConvLSTM(2 * maps, maps)
        self.to_posterior = GaussianHead(maps, size)
        self.to_prior = GaussianHead(maps, size)
        self.decoder = ConvLSTM(size + maps, maps)
        self.start = nn.Parameter(torch.randn(2, maps, rows, columns))  # hidden state and canvas
        self.write = writing(maps, pixels.maps * channels, sizes)
        self.bias = nn.Parameter(torch.zeros(pixels.maps * channels, *sides))
        self.to_prior.start_at_standard()
        nn.init.constant_(self.to_posterior.bias[size:], -1.0)  # informative from the first update

    @torch.no_grad()
    def initialize_from(self, x: Tensor) -> None:
        self.bias.copy_(self.pixels.initial(x).view_as(self.bias))
        if len(x) > 1:
            inputs = self.pixels.inputs(x).view(-1, *self.obs_shape)
            self.mean.copy_(inputs.mean(0))
            self.scale.copy_((inputs - self.mean).square().mean().sqrt().clamp(min=0.05))

    @torch.no_grad()
    def start_at_prior(self) -> None:
        self.to_posterior.start_at_standard()

    def prior(self) -> Distribution:
        return Independent(self._standard_normal(self.size), 1)

    def posterior(self, x: Tensor) -> "PathPosterior":
        return PathPosterior(self, x)

    def weigh(self, x: Tensor, samples: int, *, pathwise: bool = False) -> Weights:
        """Sample codes step by step and return their log-probabilities.

        Codes, likelihood and divergences come from one pass.
        """
        path = self.follow(x, samples, lambda q, _: _drawn(q, pathwise))
        standard, shape = self._standard_normal(), (samples, len(x), self.size)
        codes = torch.stack(path.codes, 1).reshape(shape)
        log_posterior = path.log_prob().view(samples, -1)
        params = self._params(path.drawings[-1].canvas, shape[:2])
        divergence = [kl_divergence(q, standard) for q in path.posteriors]
        return Weights(
            log_likelihood=self.pixels.distribution(params).log_prob(x),
            log_prior=self.prior().log_prob(codes),
            log_posterior=log_posterior,
            codes=codes,
            log_score=torch.zeros_like(log_posterior) if pathwise else log_posterior,
            divergence=torch.stack(divergence, 1).reshape(shape),
        )

    def decode(self, z: Float[Tensor, "*S D"]) -> Tensor:
        codes = z.reshape(-1, *self.code_shape)
        drawing = self._first(len(codes))
        for code in codes.unbind(1):
            drawing = self._draw(code, drawing)
        return self._params(drawing.canvas, z.shape[:-1])

    def next_posterior(self, x: Tensor, codes: Float[Tensor, "B t M R C"]) -> Normal:
        """Return the posterior of the next step's latents given those before it."""
        t = codes.shape[1]
        path = self.follow(x, 1, lambda q, step: codes[:, step] if step < t else q.mean, t + 1)
        return path.posteriors[-1]

    def key(self, x: Tensor) -> Float[Tensor, "B D"]:
        return torch.stack(self.follow(x, 1, lambda q, _: q.mean).codes, 1).flatten(1)

    def features(self, x: Tensor) -> Float[Tensor, "B D"]:
        return self._read(x).mean((2, 3))

    def compose(self, x: Tensor) -> Composition:
        """Reconstruct frames along the path of means, and show the canvas after each step."""
        drawings = self.follow(x, 1, lambda q, _: q.mean).drawings
        canvases = torch.cat([drawing.canvas for drawing in drawings])
        images = self.pixels.image(self._params(canvases, (len(drawings), len(x))))
        return Composition(images, None, images.new_ones(images.shape[:2]))

    def follow(
        self,
        x: Tensor,
        samples: int,
        choose: Callable[[Normal, int], Tensor],
        steps: int | None = None,
    ) -> Path:
        """Encode each frame ``samples`` times; ``choose`` returns a step's code of its posterior.

        The first ``steps`` are taken, by default all of them.
        """
        read = self._read(x)
        read = read.expand(samples, *read.shape).flatten(0, 1)
        drawing, path = self._first(len(read)), Path([], [], [])
        encoder = torch.zeros_like(drawing.hidden), torch.zeros_like(drawing.cell)
        for t in range(self.code_shape[0] if steps is None else steps):
            encoder = self.encoder((drawing.canvas, drawing.hidden), *encoder, read)
            posterior = self.to_posterior(encoder[0])
            code = choose(posterior, t)
            drawing = self._draw(code, drawing)
            path.codes.append(code)
            path.posteriors.append(posterior)
            path.drawings.append(drawing)
        return path

    def _read(self, x: Tensor) -> Float[Tensor, "B gates h w"]:
        """Return what the encoder's gates are given of each frame, the same in every step."""
        inputs = self.pixels.inputs(x).reshape(-1, *self.obs_shape)
        centered = ((inputs - self.mean) / self.scale).contiguous(memory_format=torch.channels_last)
        read: Tensor = self.read(centered)
        return read

    def _first(self, n: int) -> Drawing:
        """Return the decoder's state before the first step."""
        hidden, canvas = (
            x.expand(n, *x.shape).contiguous(memory_format=torch.channels_last) for x in self.start
        )
        return Drawing(hidden, torch.zeros_like(hidden), canvas)

    def _draw(self, code: Float[Tensor, "N size h w"], drawing: Drawing) -> Drawing:
        """Take a step of the decoder."""
        prior = self.to_prior(drawing.hidden)
        z = prior.mean + prior.stddev * code
        hidden, cell = self.decoder((z, drawing.canvas), drawing.hidden, drawing.cell)
        return Drawing(hidden, cell, drawing.canvas + hidden)

    def _params(self, canvas: Float[Tensor, "N maps h w"], batch: tuple[int, ...]) -> Tensor:
        """Return the parameters of the pixels, float32."""
        maps: Tensor = self.write(canvas)
        return (maps.float() + self.bias).reshape(*batch, self.pixels.maps, *self.pixels.shape)

    def _standard_normal(self, *shape: int) -> Normal:
        zero = self.bias.new_zeros(shape)
        return Normal(zero, zero + 1, validate_args=False)


class PathPosterior(Distribution):
    """q(u | x): each step's code is Gaussian given the earlier ones."""

    has_rsample = True

    def __init__(self, model: ConvDRAW, x: Tensor) -> None:
        self.model, self.x = model, x
        super().__init__(x.shape[:1], torch.Size([model.size]), validate_args=False)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        path = self.model.follow(self.x, math.prod(sample_shape), lambda q, _: q.rsample())
        return torch.stack(path.codes, 1).reshape(*sample_shape, *self.batch_shape, -1)

    def log_prob(self, value: Float[Tensor, "*S B D"]) -> Float[Tensor, "*S B"]:
        codes = value.reshape(-1, *self.model.code_shape).unbind(1)
        samples = value.numel() // (len(self.x) * self.model.size)
        path = self.model.follow(self.x, samples, lambda _, t: codes[t])
        return path.log_prob().view(value.shape[:-1])


def _drawn(q: Normal, pathwise: bool) -> Tensor:
    """Sample with a gradient or without one."""
    if pathwise:
        return q.rsample()
    drawn: Tensor = q.sample()
    return drawn


def _log_prob(q: Normal, code: Float[Tensor, "N size h w"]) -> Float[Tensor, " N"]:
    log_prob: Tensor = q.log_prob(code)
    return log_prob.sum((1, 2, 3))
