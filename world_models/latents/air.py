"""Attend, infer, repeat: a frame as a background and a varying number of objects.

After Eslami et al. 2016. A recurrent network infers one object per step, given the frame and the
objects before: whether there is one, where it is, and, from a glimpse at that place, what it is.
The first absent object ends the frame. The decoder writes the patch of each object at its place.

Not from the paper: the background; patches that change all parameters of a pixel's likelihood;
places that are uniform over the frame a priori; and Gaussian windows (Gregor et al. 2015) in place
of a spatial transformer, because a filter's gradient by place and size is that of all pixels under
it, and not of the two nearest ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Normal, constraints
from torch.special import ndtr, ndtri

from ...envs.checks import at_least, check, within
from ...envs.errors import UsageError
from ..attention import AttentionWindow, gaussian_filters, read, write
from ..inference.bounds import Weights
from ..likelihoods import Likelihood
from .composition import Composition
from .interface import LatentConfig, LatentModel
from .objects import ObjectsPrior, log_prob_of_presence, presence_logits

POOLED = 8
PLACE = 3
"""Numbers of a place: log scale, row and column, each N(0, 1) a priori."""
SCALE = 0.25
"""Standard deviation of the logarithm of an object's size a priori."""
SPEED = 10.0
"""Factor of the learning rate of the background, in which a weight has one pixel's gradient."""


@dataclass(frozen=True)
class AIRConfig(LatentConfig):
    """Attend, infer, repeat: objects that are present or not, with a place and an appearance."""

    score_codes = True

    min_std: float = 0.1
    """Smallest standard deviation of a gaussian pixel, for pixels in 0..1. With a large one, 0.3 in
    the paper, no object may be worth its code; with a small one, an error of another object is."""
    steps: int = 3
    """Most objects in a frame."""
    size: int = 20
    """Length of the Gaussian code of an object's appearance; 50 in the paper."""
    glimpse: int = 12
    """Rows and columns of an object's patch, and of an object of the usual size in the frame."""
    hidden: int = 128
    """Units of each hidden layer; 256 in the paper."""
    continuation: float = 0.5
    """Ratio of the prior probabilities of n + 1 and n objects: a truncated geometric prior."""
    counts: tuple[float, ...] = ()
    """Prior probabilities of 0, 1, ... ``steps`` objects, in place of the geometric ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "latent", at_least(1), "steps", "size", "glimpse", "hidden")
        check(self, "latent", within(0.001, 1000), "continuation")
        if self.counts and (len(self.counts) != self.steps + 1 or min(self.counts) <= 0):
            raise UsageError(
                f"latent.counts is {self.counts}; it must be {self.steps + 1} positive numbers, "
                f"for 0 to {self.steps} objects (latent.steps)."
            )

    def example(self) -> "AIRConfig":
        return replace(self, steps=2, size=2, glimpse=1, hidden=64)

    def build(self, shape: tuple[int, ...], levels: int = 256) -> "AIR":
        height, width = shape[-2:]
        if min(height, width) < self.glimpse:
            raise UsageError(
                f"latent.glimpse is {self.glimpse}, which is larger than frames of {height} x "
                f"{width} pixels; lower it to {min(height, width)} or less."
            )
        return AIR(self, self.pixels(shape, levels))


class AIR(LatentModel):
    """A background and up to ``steps`` objects, whose patches add to its pixels' parameters.

    Patches add to the mean and log standard deviation of gaussian pixels, and to the logits of
    others, where overlapping objects are a product of experts. The code of a step holds an object's
    presence, place and appearance, all 0 where it is absent.
    """

    score_codes = AIRConfig.score_codes

    prior_logits: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: AIRConfig, pixels: Likelihood) -> None:
        super().__init__(pixels)
        self.steps, self.glimpse, hidden = config.steps, config.glimpse, config.hidden
        self.width = 1 + PLACE + config.size
        self.size = self.dim = self.steps * self.width
        channels, height, width = (1, *pixels.shape)[-3:]
        self.obs_shape = channels, height, width
        self.num_features = POOLED**2
        patch = channels * self.glimpse**2
        counts = config.counts or [config.continuation**n for n in range(self.steps + 1)]
        self.register_buffer("prior_logits", presence_logits(torch.tensor(counts)))
        self.background = nn.Parameter(torch.zeros(pixels.maps, *self.obs_shape))
        self.gain = nn.Parameter(torch.tensor(math.log(50) / SPEED))
        self.gate = nn.Parameter(torch.tensor(1 / SPEED))
        self.locate = nn.Linear(hidden, 1 + 2 * PLACE)
        self.detect = nn.Sequential(nn.Linear(2 * patch, hidden), nn.ReLU(), self.locate)
        self.appearance = nn.Linear(hidden, 2 * config.size)
        self.recognize = nn.Sequential(nn.Linear(2 * patch, hidden), nn.ReLU(), self.appearance)
        painted = nn.Linear(hidden, pixels.maps * patch)
        nn.init.normal_(painted.weight, std=0.01 / hidden**0.5)  # the background dominates
        nn.init.zeros_(painted.bias)
        self.paint = nn.Sequential(nn.Linear(config.size, hidden), nn.ReLU(), painted)
        for layer in (self.locate, self.appearance):
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.locate.weight.mul_(0.1)
            self.locate.bias.copy_(torch.tensor([2.0, 0, 0, 0, -1, -3, -3]))
            self.appearance.bias[config.size :] = -1
        self.register_buffer("mean", torch.zeros(self.obs_shape))
        self.register_buffer("std", torch.ones(()))

    @torch.no_grad()
    def initialize_from(self, x: Tensor) -> None:
        usual = x.median(0).values.expand_as(x)
        self.background.copy_(self.pixels.initial(usual).view_as(self.background) / SPEED)
        if len(x) > 1:
            inputs = self.inputs(x)
            self.mean.copy_(inputs.mean(0))
            self.std.copy_((inputs - self.mean).square().mean().sqrt().clamp(min=0.05))

    @torch.no_grad()
    def start_at_prior(self) -> None:
        nn.init.zeros_(self.gate)
        for layer in (self.locate, self.appearance):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def prior(self) -> Distribution:
        return ObjectsPrior(self.prior_logits, self.width)

    def posterior(self, x: Tensor) -> "ObjectsPosterior":
        return ObjectsPosterior(self, x)

    def weigh(self, x: Tensor, samples: int, *, pathwise: bool = False) -> Weights:
        def draw(step: int, part: slice, q: Distribution) -> Tensor:
            return q.rsample() if pathwise and q.has_rsample else q.sample()

        found = self.infer(x, samples, draw)
        codes, log_posterior = found.codes.flatten(2), found.log_presence + found.log_rest
        params = found.canvas[:, :, -1].unflatten(3, self.pixels.shape) if False else found.canvas[:, :, -1].reshape(samples, len(x), self.pixels.maps, *self.pixels.shape)
        return Weights(
            log_likelihood=self.pixels.distribution(params).log_prob(x),
            log_prior=self.prior().log_prob(codes),
            log_posterior=log_posterior,
            codes=codes,
            log_score=found.log_presence if pathwise else log_posterior,
        )

    def decode(self, z: Float[Tensor, "*S D"]) -> Tensor:
        codes = z.reshape(-1, self.steps, self.width)
        params = SPEED * self.background + sum(self._write(code) for code in codes.unbind(1))
        return params.view(*z.shape[:-1], self.pixels.maps, *self.pixels.shape)

    def key(self, x: Tensor) -> Float[Tensor, "B D"]:
        """Return the presence, place and appearance of each step, times its probability."""
        found = self._most_probable(x)
        return (found.probs[..., None] * found.codes).flatten(1)

    def nearest_code(self, mean: Float[Tensor, "*S D"]) -> Float[Tensor, "*S D"]:
        codes = mean.unflatten(-1, (self.steps, self.width))
        probs = codes[..., :1]
        found: Tensor = (probs > 0.5) * codes / probs.clamp(min=0.5)
        return found.flatten(-2)

    def features(self, x: Tensor) -> Float[Tensor, "B D"]:
        error = self._error(x, (SPEED * self.background).expand(len(x), -1, -1, -1, -1))
        return nn.functional.adaptive_avg_pool2d(error.square().mean(1), POOLED).flatten(1)

    def compose(self, x: Tensor) -> Composition:
        found = self._most_probable(x)
        params = found.canvas.movedim(1, 0)
        shape = self.steps, len(x), self.pixels.maps, *self.pixels.shape
        log_scale, rows, columns = found.codes[..., 1 : 1 + PLACE].movedim(1, 0).unbind(-1)
        center = torch.stack(
            [self.obs_shape[1] * ndtr(rows), self.obs_shape[2] * ndtr(columns)], -1
        )
        half = self.glimpse / 2 * _stride(log_scale)[..., None]
        return Composition(
            images=self.pixels.image(params.reshape(shape)).clamp(0, 1),
            boxes=torch.cat([center - half, center + half], -1),
            presence=found.probs.T,
        )

    def inputs(self, x: Tensor) -> Float[Tensor, "B K H W"]:
        """Return the values of pixels as networks read them."""
        return self.pixels.inputs(x).reshape(-1, *self.obs_shape)

    def windows(self, place: Float[Tensor, "B 3"], *, writing: bool) -> list[AttentionWindow]:
        """Return the windows of rows and columns at a place, which may be partly off the frame.

        A filter is as wide as the distance of two, or of two pixels if that is larger, so that what
        a constant patch writes is constant.
        """
        stride, margin = _stride(place[:, 0]), self.glimpse // 2 + 1
        variance = (stride.clamp(min=1) / 2).square()
        gain = 1 / stride if writing else torch.ones_like(stride)
        found = []
        for center, length in zip(place[:, 1:].unbind(1), self.obs_shape[1:], strict=True):
            padded, position = length + 2 * margin, length * ndtr(center) - 0.5 + margin
            filters = gaussian_filters(
                position, stride, variance, count=self.glimpse, length=padded
            )
            found.append(AttentionWindow(filters[:, :, margin:-margin], gain))
        return found

    def infer(self, x: Tensor, samples: int, choose: "Choose") -> "Objects":
        """Infer each frame's objects ``samples`` times, with the numbers that ``choose`` returns.

        The logits of presence and the Gaussians are relative to the prior's.
        """
        x = x.repeat(samples, *[1] * (x.ndim - 1))
        centered = (self.inputs(x) - self.mean) / self.std
        canvas = (SPEED * self.background).expand(len(x), -1, -1, -1, -1)
        present, steps = canvas.new_ones(len(x), 1), []
        for t in range(self.steps):
            error = self._error(x, canvas)
            images = torch.cat([centered, error / self.std], 1)
            place = self.attend(error)
            glimpse = read(images, *self.windows(place, writing=False))
            outputs = self.detect(glimpse.flatten(1)).float()
            logits = outputs[:, :1] + self.prior_logits[t]
            present = present * choose(t, slice(1), Bernoulli(logits=logits, validate_args=False))
            where = _normal(outputs[:, 1:], place)
            place = choose(t, slice(1, 1 + PLACE), where)
            glimpse = read(images, *self.windows(place, writing=False))
            what = _normal(self.recognize(glimpse.flatten(1)).float())
            appearance = choose(t, slice(1 + PLACE, None), what)
            code = present * torch.cat([torch.ones_like(present), place, appearance], 1)
            canvas = canvas + self._write(code)
            log_rest = where.log_prob(place).sum(1) + what.log_prob(appearance).sum(1)
            steps.append((logits[:, 0], code, present[:, 0] * log_rest, canvas))
        logits, codes, log_rest, canvas = (
            torch.stack(each, 1).unflatten(0, (samples, -1)) for each in zip(*steps, strict=True)
        )
        log_presence = log_prob_of_presence(codes[..., 0], logits)
        return Objects(logits, codes, log_presence, log_rest.sum(2), canvas)

    def attend(self, error: Float[Tensor, "B K H W"]) -> Float[Tensor, "B 3"]:
        """Return the place, of the usual size, where the canvas differs most from the frame.

        It is the mean of a softmax of the squared errors around each pixel.
        """
        rows, columns = (_blur(n, self.glimpse / 4).to(error) for n in self.obs_shape[1:])
        energy = rows @ error.square().sum(1) @ columns
        attention = ((SPEED * self.gain).exp() * energy).flatten(1).softmax(1).view_as(energy)
        place = [torch.zeros_like(attention[:, 0, 0])]
        for axis, length in zip((2, 1), self.obs_shape[1:], strict=True):
            positions = (torch.arange(length, device=error.device) + 0.5) / length
            place.append(SPEED * self.gate * ndtri(attention.sum(axis) @ positions))
        return torch.stack(place, 1)

    def _error(self, x: Tensor, canvas: Float[Tensor, "B maps K H W"]) -> Float[Tensor, "B K H W"]:
        params = canvas.reshape(len(x), self.pixels.maps, *self.pixels.shape)
        return self.inputs(x) - self.pixels.image(params).reshape(-1, *self.obs_shape)

    def _write(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B maps K H W"]:
        """Return what an object adds to the parameters of the pixels."""
        presence, place, appearance = code.split([1, PLACE, self.width - 1 - PLACE], 1)
        patch = self.paint(appearance).float() * presence.clamp(0, 1)
        patch = patch.view(len(code), -1, self.glimpse, self.glimpse)
        written = write(patch, *self.windows(place, writing=True))
        return written.float().view(len(code), *self.background.shape)

    def _most_probable(self, x: Tensor) -> "Objects":
        """Return the means of all codes, as if every object were present."""

        def choose(step: int, part: slice, q: Distribution) -> Tensor:
            return q.mean if q.has_rsample else torch.ones_like(q.mean)

        return Objects(*(value[0] for value in self.infer(x, 1, choose)))


class Objects(NamedTuple):
    """The codes of S samples of the objects of B frames in T steps, and their probabilities."""

    logits: Float[Tensor, "*S B T"]
    """Of the presence of an object, given that those before are present."""
    codes: Float[Tensor, "*S B T D"]
    log_presence: Float[Tensor, "*S B"]
    """log q of which objects are present."""
    log_rest: Float[Tensor, "*S B"]
    """log q of place and appearance of those that are."""
    canvas: Float[Tensor, "*S B T maps K H W"]
    """Parameters of the pixels after each step."""

    @property
    def probs(self) -> Float[Tensor, "*S B T"]:
        """The probability that an object is present, by the logits of these codes."""
        return self.logits.sigmoid().cumprod(-1)


Choose = Callable[[int, slice, Distribution], Tensor]
"""Returns some numbers of a step's code, given the step, their place in it, and their posterior."""


class ObjectsPosterior(Distribution):
    """The objects of each frame, inferred one after another."""

    has_rsample = False
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, model: AIR, x: Tensor) -> None:
        self.model, self.x = model, x
        super().__init__(torch.Size([len(x)]), torch.Size([model.size]), validate_args=False)

    def log_prob(self, value: Float[Tensor, "S B D"]) -> Float[Tensor, "S B"]:
        codes = value.reshape(-1, self.model.steps, self.model.width)
        found = self.model.infer(self.x, len(value), lambda step, part, _: codes[:, step, part])
        return found.log_presence + found.log_rest

    @torch.no_grad()
    def sample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> Float[Tensor, "*S B D"]:
        samples = math.prod(sample_shape)
        found = self.model.infer(self.x, samples, lambda _step, _part, q: q.sample())
        return found.codes.view(self._extended_shape(torch.Size(sample_shape)))


def _normal(params: Float[Tensor, "B twice"], center: Tensor | float = 0.0) -> Normal:
    """Return N(center, 1) at zeros; the log standard deviation stays within 8 of 0."""
    mean, log_std = params.chunk(2, 1)
    return Normal(center + mean, (8 * (log_std / 8).tanh()).exp(), validate_args=False)


def _blur(length: int, std: float) -> Float[Tensor, "{length} {length}"]:
    position = torch.arange(length) / std
    return (-(position[:, None] - position).square() / 2).exp()


def _stride(log_scale: Tensor) -> Tensor:
    """Return the distance in the frame of two pixels of a patch, within exp(+-2)."""
    return (SCALE * log_scale.clamp(-8, 8)).exp()
