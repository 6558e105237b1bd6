"""DRAW: a recurrent network that writes a frame glimpse by glimpse (Gregor et al. 2015).

At each glimpse an encoder reads the frame and the error of the canvas, a code is sampled, and a
decoder adds to the canvas, which at the end holds the parameters of the pixels:

    e_t = LSTM(e_t-1, [read(x, x - mean(c_t-1); d_t-1), d_t-1]),    z_t ~ q(z_t | e_t)
    d_t = LSTM(d_t-1, z_t),    c_t = c_t-1 + write(d_t)

Not from the paper: the canvas begins at the distribution of each pixel by itself instead of at 0;
``mean`` is the mean image of any likelihood; both images are standardized by a first batch; the
windows of an untrained model cover the frame without gaps, and their strides may differ by axis.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal

from ...envs.checks import at_least, check, refuse
from ..attention import AttentionWindow
from ..likelihoods import Likelihood
from .glimpses import Whole, Windowed, box_of
from .interface import LatentConfig
from .stepwise import Choose, Step, StepwiseModel

LEAST_FRAMES = 4
"""Of a stack along which a window moves."""
RATE = 10
"""Of learning the background, in learning rates, because windows hardly fit single pixels."""


@dataclass(frozen=True)
class DRAWConfig(LatentConfig):
    """A Gaussian code for each of several glimpses; a key holds the means of all of them."""

    glimpses: int = 8
    """Times that the frame is read and the canvas is written."""
    hidden: int = 128
    """Units of the encoder's LSTM, and of the decoder's."""
    size: int = 16
    """Length of the code of one glimpse."""
    attention: bool = True
    """Read and write through windows; otherwise all pixels at every glimpse."""
    read: int = 5
    """Rows and columns that a window reads."""
    write: int = 5
    """Rows and columns that a window writes."""
    depth: int = 0
    """Frames that a window reads and writes, by its place along time in a stack of 4 or more
    (volumetric DRAW); 0 for all frames of a stack alike."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "latent", at_least(1), "glimpses", "hidden", "size", "read", "write")
        check(self, "latent", at_least(0), "depth")
        if self.depth and not self.attention:
            refuse(self, "latent", "depth", "0 without attention")

    def example(self) -> "DRAWConfig":
        return replace(self, glimpses=2, hidden=16, size=2, read=1, write=1)

    def build(self, shape: tuple[int, ...], levels: int = 256) -> "DRAW":
        frames, height, width = (1, *shape)[-3:]
        if self.depth and frames < max(LEAST_FRAMES, self.depth):
            least = f"{max(LEAST_FRAMES, self.depth)} frames or more"
            refuse(self, "latent", "depth", f"0 for a stack of {frames}: it needs {least}")
        for name in ("read", "write") if self.attention else ():
            if getattr(self, name) > min(height, width):
                allowed = f"{min(height, width)} or less for frames of {height} x {width}"
                refuse(self, "latent", name, f"{allowed}, unless attention is off")
        return self.model_class(self, self.pixels(shape, levels))

    @property
    def model_class(self) -> type["DRAW"]:
        """The class of the model."""
        return DRAW

    def access(self, shape: tuple[int, int, int, int]) -> Whole | Windowed:
        """Return what reads frames and writes a canvas of ``shape``, (maps, K, H, W)."""
        if not self.attention:
            return Whole(self.hidden, shape)
        return Windowed(self.hidden, shape, read=self.read, write=self.write, depth=self.depth)


class Glimpse(NamedTuple):
    """The state of R frames after a step of the recurrence."""

    features: Float[Tensor, "R hidden"]
    """The encoder's output."""
    canvas: Float[Tensor, "R maps *frame"]
    """After the write."""
    windows: tuple[AttentionWindow, ...]
    """Through which the frame was written, rows and columns last; none without attention."""


class DRAW(StepwiseModel):
    """DRAW with z_t ~ N(0, I), a step for each glimpse."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: DRAWConfig, pixels: Likelihood, *, given: int = 0) -> None:
        super().__init__(pixels)
        self.num_given = given
        self.code_shape = config.glimpses, config.size, 1, 1
        self.size = self.dim = math.prod(self.code_shape)
        self.num_features = config.hidden
        frames, height, width = (1, *pixels.shape)[-3:]
        self.access = config.access((pixels.maps, frames, height, width))
        self.encoder = nn.LSTMCell(self.access.num_read + config.hidden, config.hidden)
        self.posterior_params = nn.Linear(config.hidden, 2 * config.size)
        self.decoder = nn.LSTMCell(config.size + given, config.hidden)
        with torch.no_grad():  # for codes of variance 1
            self.decoder.weight_ih[:, : config.size].normal_(std=config.size**-0.5)
        self.background = nn.Parameter(torch.zeros(pixels.maps, math.prod(pixels.shape)))
        self.register_buffer("mean", torch.zeros(pixels.shape))
        self.register_buffer("std", torch.ones(()))

    @torch.no_grad()
    def initialize_from(self, x: Tensor) -> None:
        """Set the first canvas to each pixel's distribution; one frame has no deviation."""
        self.background.copy_(self.pixels.initial(x).view_as(self.background) / RATE)
        if len(x) > 1:
            inputs = self.pixels.inputs(x)
            self.mean.copy_(inputs.mean(0))
            self.std.copy_((inputs - self.mean).square().mean().sqrt().clamp(min=0.05))

    @torch.no_grad()
    def start_at_prior(self) -> None:
        nn.init.zeros_(self.posterior_params.weight)
        nn.init.zeros_(self.posterior_params.bias)
        self.posterior_params.bias[self.code_shape[1] :] = 8 * math.atanh(1 / 8)

    def decode(self, z: Float[Tensor, "*S D"]) -> Tensor:
        rows = z.flatten(0, -2)
        canvas, state = self._begin(len(rows))
        for code in rows.chunk(self.code_shape[0], 1):
            canvas, state, _ = self._write(canvas, state, code)
        return canvas.view(*z.shape[:-1], *canvas.shape[1:])

    def features(self, x: Tensor) -> Float[Tensor, "B D"]:
        *_, last = self.follow(x, 1, lambda _, q: q.mean)
        features: Tensor = last.state.features
        return features

    def follow(self, x: Tensor, samples: int, choose: Choose) -> Iterator[Step]:
        x = x.expand(samples, *x.shape).flatten(0, 1)
        canvas, state = self._begin(len(x))
        encoder = torch.zeros_like(state[0]), torch.zeros_like(state[0])
        inputs = self.pixels.inputs(x)
        centered = (inputs - self.mean) / self.std
        for t in range(self.code_shape[0]):
            error = (inputs - self.pixels.image(canvas)) / self.std
            seen = self.access.read(torch.stack([centered, error], 1), state[0])
            encoder = self.encoder(torch.cat([seen, state[0]], 1), encoder)
            mean, log_std = self.posterior_params(encoder[0]).float().chunk(2, 1)
            std = (8 * (log_std / 8).tanh() - 1).exp()  # as the Gaussian VAE's
            posterior = Normal(mean, std, validate_args=False)
            code = choose(t, posterior)
            canvas, state, windows = self._write(canvas, state, code)
            yield Step(posterior, code, Glimpse(encoder[0], canvas, windows))

    def params(self, state: Glimpse) -> Float[Tensor, "R maps *frame"]:
        return state.canvas

    def boxes(self, states: Sequence[Glimpse]) -> Float[Tensor, "T R 4"] | None:
        if not states[0].windows:
            return None
        return torch.stack([box_of(state.windows) for state in states])

    def _given(self, count: int) -> Float[Tensor, "R given"]:
        """Return what the decoder of each row is given beside codes: here zeros."""
        return self.background.new_zeros(count, self.num_given)

    def _begin(self, count: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the canvas before the first glimpse, and the decoder's state."""
        canvas = (RATE * self.background).expand(count, -1, -1).unflatten(2, self.pixels.shape)
        zeros = canvas.new_zeros(count, self.num_features)
        return canvas, (zeros, zeros)

    def _write(
        self, canvas: Tensor, state: tuple[Tensor, Tensor], code: Float[Tensor, "R D"]
    ) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[AttentionWindow, ...]]:
        """Return the canvas and the decoder's state after a code, and the windows of the write."""
        state = self.decoder(torch.cat([code, self._given(len(code))], 1), state)
        written, windows = self.access.write(state[0])
        return canvas + written.view_as(canvas), state, windows
