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
from torch.special import ndtr

from ...envs.checks import at_least, check, within
from ...envs.errors import UsageError
from ..attention import AttentionWindow, gaussian_filters, read, write
from ..inference.bounds import Weights
from ..likelihoods import Likelihood
from .composition import Composition
from .interface import LatentConfig, LatentModel
from .networks import Encoder
from .objects import ObjectsPrior, log_prob_of_presence, presence_logits

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

    def __init__(self, config: AIRConfig, pixels: Likelihood) -> None:
        super().__init__(pixels)
        self.steps, self.glimpse, hidden = config.steps, config.glimpse, config.hidden
        self.width = 1 + PLACE + config.size
        self.size = self.dim = self.steps * self.width
        self.num_features = hidden
        channels, height, width = (1, *pixels.shape)[-3:]
        self.obs_shape = channels, height, width
        patch = self.obs_shape[0] * self.glimpse**2
        counts = config.counts or [config.continuation**n for n in range(self.steps + 1)]
        self.register_buffer("prior_logits", presence_logits(torch.tensor(counts)))
        self.background = nn.Parameter(torch.zeros(pixels.maps, *self.obs_shape))
        self.encoder = Encoder(self.obs_shape, hidden)
        self.recurrent = nn.GRUCell(self.width, hidden)
        self.locate = nn.Linear(hidden, 1 + 2 * PLACE)
        self.appearance = nn.Linear(hidden, 2 * config.size)
        self.recognize = nn.Sequential(nn.Linear(patch, hidden), nn.ReLU(), self.appearance)
        painted = nn.Linear(hidden, pixels.maps * patch)
        nn.init.normal_(painted.weight, std=0.01 / hidden**0.5)  # the background dominates
        nn.init.zeros_(painted.bias)
        self.paint = nn.Sequential(nn.Linear(config.size, hidden), nn.ReLU(), painted)
        self.start_at_prior()

    @torch.no_grad()
    def initialize_from(self, x: Tensor) -> None:
        self.encoder.initialize_from(self.inputs(x))
        self.background.copy_(self.pixels.initial(x).view_as(self.background) / SPEED)

    def start_at_prior(self) -> None:
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

        found = self.posterior(x).infer(samples, draw)
        codes, log_posterior = found.codes.flatten(2), found.log_presence + found.log_rest
        return Weights(
            log_likelihood=self.likelihood(codes).log_prob(x),
            log_prior=self.prior().log_prob(codes),
            log_posterior=log_posterior,
            codes=codes,
            log_score=found.log_presence if pathwise else log_posterior,
        )

    def decode(self, z: Float[Tensor, "*S D"]) -> Tensor:
        params = SPEED * self.background + self._write(z.flatten(0, -2)).sum(1)
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
        hidden: Tensor = self.encoder(self.inputs(x)).tanh()
        return hidden

    def compose(self, x: Tensor) -> Composition:
        found = self._most_probable(x)
        present = (found.logits > 0).cumprod(1)
        written = self._write((present[..., None] * found.codes).flatten(1)).cumsum(1)
        params = (SPEED * self.background + written).movedim(1, 0)
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

    def _write(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B T maps K H W"]:
        """Return what each step adds to the parameters of the pixels."""
        codes = z.reshape(-1, self.width)
        presence, place, appearance = codes.split([1, PLACE, self.width - 1 - PLACE], 1)
        patch = self.paint(appearance).float() * presence.clamp(0, 1)
        patch = patch.view(len(codes), -1, self.glimpse, self.glimpse)
        written = write(patch, *self.windows(place, writing=True))
        return written.float().view(len(z), self.steps, *self.background.shape)

    def _most_probable(self, x: Tensor) -> "Objects":
        """Return the means of all codes, as if every object were present."""

        def choose(step: int, part: slice, q: Distribution) -> Tensor:
            return q.mean if q.has_rsample else torch.ones_like(q.mean)

        return Objects(*(value[0] for value in self.posterior(x).infer(1, choose)))


class Objects(NamedTuple):
    """The codes of S samples of the objects of B frames in T steps, and their probabilities."""

    logits: Float[Tensor, "*S B T"]
    """Of the presence of an object, given that those before are present."""
    codes: Float[Tensor, "*S B T D"]
    log_presence: Float[Tensor, "*S B"]
    """log q of which objects are present."""
    log_rest: Float[Tensor, "*S B"]
    """log q of place and appearance of those that are."""

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
        self.model, self.hidden = model, model.features(x)
        self.inputs = (model.inputs(x) - model.encoder.mean) / model.encoder.scale
        super().__init__(torch.Size([len(x)]), torch.Size([model.size]), validate_args=False)

    def infer(self, samples: int, choose: Choose) -> Objects:
        """Infer each frame's objects ``samples`` times, with the numbers that ``choose`` returns.

        The logits of presence and the Gaussians are relative to the prior's.
        """
        model, x = self.model, self.inputs.repeat(samples, 1, 1, 1)
        hidden, steps = self.hidden.repeat(samples, 1), []
        code = hidden.new_zeros(len(x), model.width)
        present = code.new_ones(len(x), 1)
        for t in range(model.steps):
            hidden = model.recurrent(code, hidden)
            outputs = model.locate(hidden).float()
            logits = outputs[:, :1] + model.prior_logits[t]
            presence = Bernoulli(logits=logits, validate_args=False)
            present = present * choose(t, slice(1), presence)
            where = _normal(outputs[:, 1:])
            place = choose(t, slice(1, 1 + PLACE), where)
            glimpse = read(x, *model.windows(place, writing=False))
            what = _normal(model.recognize(glimpse.flatten(1)).float())
            appearance = choose(t, slice(1 + PLACE, None), what)
            code = present * torch.cat([torch.ones_like(present), place, appearance], 1)
            log_rest = where.log_prob(place).sum(1) + what.log_prob(appearance).sum(1)
            steps.append((logits[:, 0], code, present[:, 0] * log_rest))
        logits, codes, log_rest = (
            torch.stack(each, 1).unflatten(0, (samples, -1)) for each in zip(*steps, strict=True)
        )
        log_presence = log_prob_of_presence(codes[..., 0], logits)
        return Objects(logits, codes, log_presence, log_rest.sum(2))

    def log_prob(self, value: Float[Tensor, "S B D"]) -> Float[Tensor, "S B"]:
        codes = value.reshape(-1, self.model.steps, self.model.width)
        found = self.infer(len(value), lambda step, part, _: codes[:, step, part])
        return found.log_presence + found.log_rest

    @torch.no_grad()
    def sample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> Float[Tensor, "*S B D"]:
        found = self.infer(math.prod(sample_shape), lambda _step, _part, q: q.sample())
        return found.codes.view(self._extended_shape(torch.Size(sample_shape)))


def _normal(params: Float[Tensor, "B twice"]) -> Normal:
    """Return N(0, 1) at zeros; the log standard deviation stays within 8 of 0."""
    mean, log_std = params.chunk(2, 1)
    return Normal(mean, (8 * (log_std / 8).tanh()).exp(), validate_args=False)


def _stride(log_scale: Tensor) -> Tensor:
    """Return the distance in the frame of two pixels of a patch, within exp(+-2)."""
    return (SCALE * log_scale.clamp(-8, 8)).exp()
