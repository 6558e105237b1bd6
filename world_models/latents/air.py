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
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Normal
from torch.nn.functional import adaptive_avg_pool2d

from ...envs.checks import at_least, check, within
from ...envs.errors import UsageError
from ..attention import read, write
from ..inference.bounds import Weights
from ..likelihoods import Likelihood
from .composition import Composition
from .interface import LatentConfig, LatentModel
from .objects import (
    Choose,
    Objects,
    ObjectsPosterior,
    ObjectsPrior,
    log_prob_of_presence,
    presence_logits,
)
from .places import PLACE, RATE, Places

POOLED = 8
"""Rows and columns of the features."""


@dataclass(frozen=True)
class AIRConfig(LatentConfig):
    """Attend, infer, repeat: objects that are present or not, with a place and an appearance."""

    score_codes = True

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
        return replace(self, steps=2, size=2, glimpse=1, hidden=32)

    def build(self, shape: tuple[int, ...], levels: int = 256) -> "AIR":
        height, width = shape[-2:]
        if min(height, width) < self.glimpse:
            raise UsageError(
                f"latent.glimpse is {self.glimpse}, which is larger than frames of {height} x "
                f"{width} pixels; lower it to {min(height, width)} or less."
            )
        return AIR(self, self.pixels(shape, levels))


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
        self.canvas_shape = pixels.maps, *self.obs_shape
        self.background = nn.Parameter(torch.zeros(1, math.prod(self.canvas_shape)))
        self.places = Places(self.glimpse, (height, width))
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
            # At first objects are as frequent as a priori, and their places are informative.
            self.locate.bias.zero_()[1 + PLACE :] = -1
            self.appearance.bias.zero_()

    @torch.no_grad()
    def initialize_from(self, x: Tensor) -> None:
        """Set the background to each pixel's distribution, and let errors attract objects.

        That of continuous pixels is their median, without the spread that objects cause.
        """
        self.places.attract()
        usual = x.median(0).values.expand_as(x) if self.pixels.continuous else x
        self.background.copy_(self.pixels.initial(usual).reshape(1, -1) / RATE)
        if len(x) > 1:
            inputs = self.inputs(x)
            self.mean.copy_(inputs.mean(0))
            self.std.copy_((inputs - self.mean).square().mean().sqrt().clamp(min=0.05))

    def start_at_prior(self) -> None:
        outputs = *self.locate.parameters(), *self.appearance.parameters()
        for parameter in (self.places.attraction, *outputs):
            nn.init.zeros_(parameter)

    def prior(self) -> Distribution:
        return ObjectsPrior(self.prior_logits, self.width)

    def posterior(self, x: Tensor) -> ObjectsPosterior:
        return ObjectsPosterior(len(x), self.steps, self.width, partial(self.infer, x))

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
        boxes = self.places.boxes(codes[..., 1 : 1 + PLACE])
        return Composition(images, boxes, presence=logits.sigmoid().cumprod(0))

    def inputs(self, x: Tensor) -> Float[Tensor, "B K H W"]:
        """Return the values of pixels as networks read them."""
        return self.pixels.inputs(x).reshape(-1, *self.obs_shape)

    def infer(self, x: Tensor, samples: int, choose: Choose) -> Objects:
        """Return each frame's objects, inferred ``samples`` times, R = samples x B."""
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
            attended = self.places.attend(error)
            glimpse = read(images, *self.places.windows(attended))
            outputs = self.detect(glimpse.flatten(1)).float()
            logit = outputs[:, :1] + self.prior_logits[t]
            present = present * choose(t, slice(1), Bernoulli(logits=logit, validate_args=False))
            where = _normal(outputs[:, 1:], attended)
            place = choose(t, slice(1, 1 + PLACE), where)
            glimpse = read(images, *self.places.windows(place))
            what = _normal(self.recognize(glimpse.flatten(1)).float())
            appearance = choose(t, slice(1 + PLACE, None), what)
            code = present * torch.cat([torch.ones_like(present), place, appearance], 1)
            canvas = canvas + self._write(code)
            log_rest = where.log_prob(place).sum(1) + what.log_prob(appearance).sum(1)
            yield Step(logit[:, 0], code, present[:, 0] * log_rest, canvas)

    def _empty(self, count: int) -> Float[Tensor, "R maps K H W"]:
        """Return the canvas without objects."""
        canvas = (RATE * self.background).expand(count, -1)
        return canvas.reshape(count, *self.canvas_shape)

    def _error(
        self, inputs: Float[Tensor, "R K H W"], canvas: Float[Tensor, "R maps K H W"]
    ) -> Float[Tensor, "R K H W"]:
        params = canvas.reshape(len(inputs), -1, *self.pixels.shape)
        error: Tensor = inputs - self.pixels.image(params).view_as(inputs)
        return error

    def _write(self, code: Float[Tensor, "R D"]) -> Float[Tensor, "R maps K H W"]:
        """Return what an object adds to the parameters of the pixels."""
        presence, place, appearance = code.split([1, PLACE, self.width - 1 - PLACE], 1)
        patch = self.paint(appearance).float() * presence.clamp(0, 1)
        patch = patch.view(len(code), -1, self.glimpse, self.glimpse)
        written = write(patch, *self.places.windows(place, writing=True))
        return written.float().view(-1, *self.canvas_shape)


def _as_if_present(step: int, part: slice, q: Distribution) -> Tensor:
    """Choose the means of the codes of objects, all of which are present."""
    return q.mean if q.has_rsample else torch.ones_like(q.mean)


def _normal(params: Float[Tensor, "R twice"], center: Tensor | float = 0.0) -> Normal:
    """Return N(center, 1) at zeros; the log standard deviation stays within 8 of 0."""
    mean, log_std = params.chunk(2, 1)
    return Normal(center + mean, (8 * (log_std / 8).tanh()).exp(), validate_args=False)
