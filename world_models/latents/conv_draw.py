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
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...envs.checks import at_least, check
from ..likelihoods import Likelihood
from .grid_networks import ConvLSTM, GaussianHead, reading, writing
from .interface import LatentConfig
from .stepwise import Choose, Step, StepwiseModel


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


class ConvDRAW(StepwiseModel):
    """Convolutional DRAW with u ~ N(0, I), whose codes are maps on the grid."""

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

    def decode(self, z: Float[Tensor, "*S D"]) -> Tensor:
        codes = z.reshape(-1, *self.code_shape)
        drawing = self._first(len(codes))
        for code in codes.unbind(1):
            drawing = self._draw(code, drawing)
        params = self.params(drawing)
        return params.view(*z.shape[:-1], *params.shape[1:])

    def features(self, x: Tensor) -> Float[Tensor, "B D"]:
        return self._read(x).mean((2, 3))

    def follow(self, x: Tensor, samples: int, choose: Choose) -> Iterator[Step]:
        read = self._read(x)
        read = read.expand(samples, *read.shape).flatten(0, 1)
        drawing = self._first(len(read))
        encoder = torch.zeros_like(drawing.hidden), torch.zeros_like(drawing.cell)
        for t in range(self.code_shape[0]):
            encoder = self.encoder((drawing.canvas, drawing.hidden), *encoder, read)
            posterior = self.to_posterior(encoder[0])
            code = choose(t, posterior)
            drawing = self._draw(code, drawing)
            yield Step(posterior, code, drawing)

    def params(self, state: Drawing) -> Float[Tensor, "R maps *frame"]:
        maps: Tensor = self.write(state.canvas)
        return (maps.float() + self.bias).view(len(maps), self.pixels.maps, *self.pixels.shape)

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
