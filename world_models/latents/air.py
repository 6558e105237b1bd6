"""Attend, infer, repeat: a frame as a background and a varying number of objects.

After Eslami et al. 2016. One object is inferred per step, given the frame and the canvas with the
objects before: whether there is one, where it is, and, from a glimpse at that place, what it is.
The first absent object ends the frame. The decoder writes the patch of each object at its place.

As in the paper's difference-AIR, networks see the error of the canvas in place of a recurrent
state. Not from the paper: the background; patches that change all parameters of a pixel's
likelihood; places that are uniform over the frame a priori; an inferred place that is relative to
where the canvas errs most; and Gaussian windows (Gregor et al. 2015) in place of a spatial
transformer, because a filter's gradient by place and size is that of all pixels under it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Normal, constraints
from torch.nn.functional import adaptive_avg_pool2d
from torch.special import ndtr, ndtri

from ...envs.checks import at_least, check, within
from ...envs.errors import UsageError
from ..attention import AttentionWindow, gaussian_filters, read, write
from ..inference.bounds import Weights
from ..likelihoods import Likelihood
from .composition import Composition
from .interface import LatentConfig, LatentModel
from .objects import ObjectsPrior, log_prob_of_presence, presence_logits

PLACE = 3
"""Numbers of a place: log scale, row and column, each N(0, 1) a priori."""
SCALE = 0.25
"""Standard deviation of the logarithm of an object's size a priori."""
RATE = 10
"""Of learning the background and the attention, in learning rates, as few gradients reach them."""
POOLED = 8
"""Rows and columns of the features."""


@dataclass(frozen=True)
class AIRConfig(LatentConfig):
    """Attend, infer, repeat: objects that are present or not, with a place and an appearance."""

    score_codes: ClassVar[bool] = True

    min_std: float = 0.1
    """Smallest standard deviation of a gaussian pixel, for pixels in 0..1. With a large one, 0.3 in
    the paper, no object may be worth its code; with a small one, an error of another object is."""
    steps: int = 3
    """Most objects in a frame."""
    size: int = 8
    """Length of the Gaussian code of an object's appearance; 50 in the paper."""
    glimpse: int = 8
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


Choose = Callable[[int, slice, Distribution], Tensor]
"""Returns some numbers of a step's code, given the step, their place in it, and their posterior."""


class Step(NamedTuple):
    """What R frames hold at a step."""

    logit: Float[Tensor, " R"]
    """Of the presence of an object, given that those before are present."""
    code: Float[Tensor, "R D"]
    log_rest: Float[Tensor, " R"]
    """log q of place and appearance, 0 for an absent object."""
    canvas: Float[Tensor, "R maps K H W"]
    """Parameters of the pixels after it."""


class AIR(LatentModel):
    """A background and up to ``steps`` objects, whose patches add to its pixels' parameters.

    Patches add to the mean and log standard deviation of gaussian pixels, and to the logits of
    others, where overlapping objects are a product of experts. The code of a step holds an object's
    presence, place and appearance, all 0 where it is absent.
    """

    score_codes = AIRConfig.score_codes
    num_features = POOLED**2

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
        patch = channels * self.glimpse**2
        counts = config.counts or [config.continuation**n for n in range(self.steps + 1)]
        self.register_buffer("prior_logits", presence_logits(torch.tensor(counts)))
        self.register_buffer("mean", torch.zeros(self.obs_shape))
        self.register_buffer("std", torch.ones(()))
        self.background = nn.Parameter(torch.zeros(pixels.maps, *self.obs_shape))
        self.log_sharpness = nn.Parameter(torch.tensor(-math.log(2 * config.min_std**2) / RATE))
        self.gate = nn.Parameter(torch.tensor(1 / RATE))
        self.locate = nn.Linear(hidden, 1 + 2 * PLACE)
        self.detect = nn.Sequential(nn.Linear(2 * patch, hidden), nn.ReLU(), self.locate)
        self.appearance = nn.Linear(hidden, 2 * config.size)
        self.recognize = nn.Sequential(nn.Linear(2 * patch, hidden), nn.ReLU(), self.appearance)
        painted = nn.Linear(hidden, pixels.maps * patch)
        self.paint = nn.Sequential(nn.Linear(config.size, hidden), nn.ReLU(), painted)
        with torch.no_grad():
            nn.init.normal_(painted.weight, std=0.01 / hidden**0.5)  # the background dominates
            nn.init.zeros_(painted.bias)
            self.locate.weight.mul_(0.1)
            # Objects are present, and their places and appearances informative, at first.
            self.locate.bias.copy_(torch.tensor([2.0, 0.0, 0.0, 0.0, -1.0, -3.0, -3.0]))
            self.appearance.bias.zero_()[config.size :] = -1

    @torch.no_grad()
    def initialize_from(self, x: Tensor) -> None:
        """Set the background to each pixel's median, as if it never changed, and attend."""
        self.gate.fill_(1 / RATE)
        usual = x.median(0).values.expand_as(x)
        self.background.copy_(self.pixels.initial(usual).view_as(self.background) / RATE)
        if len(x) > 1:
            inputs = self.inputs(x)
            self.mean.copy_(inputs.mean(0))
            self.std.copy_((inputs - self.mean).square().mean().sqrt().clamp(min=0.05))

    def start_at_prior(self) -> None:
        for parameter in (self.gate, *self.locate.parameters(), *self.appearance.parameters()):
            nn.init.zeros_(parameter)

    def prior(self) -> Distribution:
        return ObjectsPrior(self.prior_logits, self.width)

    def posterior(self, x: Tensor) -> "ObjectsPosterior":
        return ObjectsPosterior(self, x)

    def weigh(self, x: Tensor, samples: int, *, pathwise: bool = False) -> Weights:
        """Sample objects one by one; log-probabilities and likelihood come from one pass."""

        def draw(step: int, part: slice, q: Distribution) -> Tensor:
            return q.rsample() if pathwise and q.has_rsample else q.sample()

        found, shape = self.infer(x, samples, draw), (samples, len(x))
        codes, log_presence = found.codes.view(*shape, -1), found.log_presence.view(shape)
        log_posterior = log_presence + found.log_rest.view(shape)
        params = found.canvas.view(*shape, self.pixels.maps, *self.pixels.shape)
        return Weights(
            log_likelihood=self.pixels.distribution(params).log_prob(x),
            log_prior=self.prior().log_prob(codes),
            log_posterior=log_posterior,
            codes=codes,
            log_score=log_presence if pathwise else log_posterior,
        )

    def decode(self, z: Float[Tensor, "*S D"]) -> Tensor:
        codes = z.reshape(-1, self.steps, self.width)
        canvas = self._empty(len(codes))
        for code in codes.unbind(1):
            canvas = canvas + self._write(code)
        return canvas.view(*z.shape[:-1], self.pixels.maps, *self.pixels.shape)

    def key(self, x: Tensor) -> Float[Tensor, "B D"]:
        """Return the presence, place and appearance of each step, times its probability."""
        found = self.infer(x, 1, _as_if_present)
        return (found.probs[..., None] * found.codes).flatten(1)

    def nearest_code(self, mean: Float[Tensor, "*S D"]) -> Float[Tensor, "*S D"]:
        codes = mean.unflatten(-1, (self.steps, self.width))
        probs = codes[..., :1]
        found: Tensor = (probs > 0.5) * codes / probs.clamp(min=0.5)
        return found.flatten(-2)

    def features(self, x: Tensor) -> Float[Tensor, "B D"]:
        """Return the squared errors of the background."""
        error = self._error(self.inputs(x), self._empty(len(x)))
        return adaptive_avg_pool2d(error.square().mean(1), POOLED).flatten(1)

    @torch.no_grad()
    def compose(self, x: Tensor) -> Composition:
        path = [*self.follow(x, 1, _as_if_present)]
        logits, codes, _, canvases = (torch.stack(each) for each in zip(*path, strict=True))
        written = torch.cat([self._empty(len(x))[None], canvases]).diff(dim=0)
        present = (logits > 0).cumprod(0).view(*logits.shape, *[1] * (written.ndim - 2))
        params = self._empty(len(x)) + (present * written).cumsum(0)
        images = self.pixels.image(params.view(*logits.shape, -1, *self.pixels.shape))
        half = self.glimpse / 2 * _stride(codes[..., 1:2])
        center = ndtr(codes[..., 2 : 1 + PLACE]) * half.new_tensor(self.obs_shape[1:])
        boxes = torch.cat([center - half, center + half], -1)
        return Composition(images, boxes, presence=logits.sigmoid().cumprod(0))

    def inputs(self, x: Tensor) -> Float[Tensor, "B K H W"]:
        """Return the values of pixels as networks read them."""
        return self.pixels.inputs(x).reshape(-1, *self.obs_shape)

    def infer(self, x: Tensor, samples: int, choose: Choose) -> "Objects":
        """Infer each frame's objects ``samples`` times, R = samples x B."""
        path = [*self.follow(x, samples, choose)]
        logits, codes, log_rest = (
            torch.stack(each, 1) for each in zip(*[step[:3] for step in path], strict=True)
        )
        log_presence = log_prob_of_presence(codes[..., 0], logits)
        return Objects(logits, codes, log_presence, log_rest.sum(1), path[-1].canvas)

    def follow(self, x: Tensor, samples: int, choose: Choose) -> Iterator[Step]:
        """Yield every step, with the numbers that ``choose`` returns.

        The logits of presence are relative to the prior's, and the mean place is relative to the
        attended one, at which a first glimpse is read.
        """
        inputs = self.inputs(x).repeat(samples, 1, 1, 1)
        centered, canvas = (inputs - self.mean) / self.std, self._empty(len(inputs))
        present = centered.new_ones(len(inputs), 1)
        for t in range(self.steps):
            error = self._error(inputs, canvas)
            images = torch.cat([centered, error / self.std], 1)
            attended = self.attend(error)
            glimpse = read(images, *self.windows(attended, writing=False))
            outputs = self.detect(glimpse.flatten(1)).float()
            logit = outputs[:, :1] + self.prior_logits[t]
            present = present * choose(t, slice(1), Bernoulli(logits=logit, validate_args=False))
            where = _normal(outputs[:, 1:], attended)
            place = choose(t, slice(1, 1 + PLACE), where)
            glimpse = read(images, *self.windows(place, writing=False))
            what = _normal(self.recognize(glimpse.flatten(1)).float())
            appearance = choose(t, slice(1 + PLACE, None), what)
            code = present * torch.cat([torch.ones_like(present), place, appearance], 1)
            canvas = canvas + self._write(code)
            log_rest = where.log_prob(place).sum(1) + what.log_prob(appearance).sum(1)
            yield Step(logit[:, 0], code, present[:, 0] * log_rest, canvas)

    def attend(self, error: Float[Tensor, "R K H W"]) -> Float[Tensor, "R 3"]:
        """Return the place, of the usual size, around which the squared errors are largest.

        It is the mean under a softmax of their sums around each pixel.
        """
        height, width = self.obs_shape[1:]
        rows, columns = (_neighborhoods(n, self.glimpse / 4).to(error) for n in (height, width))
        energy = (rows @ error.square().sum(1) @ columns).float().flatten(1)
        attention = ((RATE * self.log_sharpness).exp() * energy).softmax(1)
        attention = attention.unflatten(1, (height, width))
        row = (attention.sum(2) * _positions(height).to(error)).sum(1)
        column = (attention.sum(1) * _positions(width).to(error)).sum(1)
        place = torch.stack([torch.full_like(row, 0.5), row, column], 1)
        return RATE * self.gate * ndtri(place)

    def windows(self, place: Float[Tensor, "R 3"], *, writing: bool) -> list[AttentionWindow]:
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

    def _empty(self, count: int) -> Float[Tensor, "R maps K H W"]:
        """Return the canvas without objects."""
        return (RATE * self.background).expand(count, -1, -1, -1, -1)

    def _error(
        self, inputs: Float[Tensor, "R K H W"], canvas: Float[Tensor, "R maps K H W"]
    ) -> Float[Tensor, "R K H W"]:
        params = canvas.reshape(len(inputs), -1, *self.pixels.shape)
        return inputs - self.pixels.image(params).view_as(inputs)

    def _write(self, code: Float[Tensor, "R D"]) -> Float[Tensor, "R maps K H W"]:
        """Return what an object adds to the parameters of the pixels."""
        presence, place, appearance = code.split([1, PLACE, self.width - 1 - PLACE], 1)
        patch = self.paint(appearance).float() * presence.clamp(0, 1)
        patch = patch.view(len(code), -1, self.glimpse, self.glimpse)
        written = write(patch, *self.windows(place, writing=True))
        return written.float().view(len(code), *self.background.shape)


class Objects(NamedTuple):
    """The objects of R frames in T steps, and their probabilities."""

    logits: Float[Tensor, "R T"]
    """Of the presence of an object, given that those before are present."""
    codes: Float[Tensor, "R T D"]
    log_presence: Float[Tensor, " R"]
    """log q of which objects are present."""
    log_rest: Float[Tensor, " R"]
    """log q of place and appearance of those that are."""
    canvas: Float[Tensor, "R maps K H W"]
    """Parameters of the pixels."""

    @property
    def probs(self) -> Float[Tensor, "R T"]:
        """The probability that an object is present, by the logits of these codes."""
        return self.logits.sigmoid().cumprod(1)


class ObjectsPosterior(Distribution):
    """The objects of each frame, inferred one after another."""

    has_rsample = False
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, model: AIR, x: Tensor) -> None:
        self.model, self.x = model, x
        super().__init__(x.shape[:1], torch.Size([model.size]), validate_args=False)

    def log_prob(self, value: Float[Tensor, "*S D"]) -> Float[Tensor, "*S"]:
        codes = value.reshape(-1, self.model.steps, self.model.width)
        samples = len(codes) // len(self.x)
        found = self.model.infer(self.x, samples, lambda step, part, _: codes[:, step, part])
        return (found.log_presence + found.log_rest).view(value.shape[:-1])

    @torch.no_grad()
    def sample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> Float[Tensor, "*S D"]:
        samples = math.prod(sample_shape)
        found = self.model.infer(self.x, samples, lambda _step, _part, q: q.sample())
        return found.codes.view(self._extended_shape(torch.Size(sample_shape)))


def _as_if_present(step: int, part: slice, q: Distribution) -> Tensor:
    """Choose the means of the codes of objects, all of which are present."""
    return q.mean if q.has_rsample else torch.ones_like(q.mean)


def _normal(params: Float[Tensor, "R twice"], center: Tensor | float = 0.0) -> Normal:
    """Return N(center, 1) at zeros; the log standard deviation stays within 8 of 0."""
    mean, log_std = params.chunk(2, 1)
    return Normal(center + mean, (8 * (log_std / 8).tanh()).exp(), validate_args=False)


def _stride(log_scale: Tensor) -> Tensor:
    """Return the distance in the frame of two pixels of a patch, within exp(+-2)."""
    return (SCALE * log_scale.clamp(-8, 8)).exp()


def _positions(length: int) -> Float[Tensor, " {length}"]:
    """Return the centers of pixels, in 0..1."""
    return (torch.arange(length) + 0.5) / length


def _neighborhoods(length: int, std: float) -> Float[Tensor, "{length} {length}"]:
    """Return the weight of each position around each other one, 1 at itself."""
    position = torch.arange(length) / std
    return (-(position[:, None] - position).square() / 2).exp()
