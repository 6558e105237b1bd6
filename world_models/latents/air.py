"""Attend, infer, repeat: a frame as a background and a varying number of objects.

After Eslami et al. 2016. A recurrent network infers one object per step, given the frame and the
objects before: whether there is one, where it is, and, from a glimpse at that place, what it is.
The first absent object ends the frame. The decoder writes the patch of each object at its place.

Not from the paper: the background, patches that change every parameter of the pixels' likelihood,
and Gaussian windows in place of a spatial transformer. Their filters are smooth in place and size,
and average the pixels of a large object, so that a gradient does not depend on one pixel's edge.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Normal, constraints
from torch.nn.functional import logsigmoid, pad
from torch.special import ndtr

from ...envs.checks import at_least, check, within
from ...envs.errors import UsageError
from ..attention import AttentionWindow, gaussian_filters, read, write
from ..inference.bounds import Weights
from ..likelihoods import Likelihood
from .composition import Composition
from .interface import LatentConfig, LatentModel
from .networks import Encoder

PLACE = 3
"""Numbers of a place: log scale, row and column, each N(0, 1) a priori."""
SCALE = 0.25
"""Standard deviation of the logarithm of an object's size."""
SPEED = 10.0
"""Factor of the learning rate of the background, whose parameters have one pixel's gradient."""


@dataclass(frozen=True)
class AIRConfig(LatentConfig):
    """Attend, infer, repeat: objects that are present or not, with a place and an appearance."""

    score_codes = True

    min_std: float = 0.3
    """Standard deviation of a gaussian pixel where the background is constant."""
    steps: int = 3
    """Most objects in a frame."""
    size: int = 20
    """Length of the Gaussian code of an object's appearance."""
    glimpse: int = 12
    """Rows and columns of an object's patch; of the frame too, for an object of the usual size."""
    hidden: int = 128
    """Units of each hidden layer; 256 in the paper."""
    continuation: float = 0.5
    """Prior probability of one more object, given those before: a truncated geometric prior."""
    counts: tuple[float, ...] = ()
    """Prior probabilities of 0, 1, ... ``steps`` objects, up to a factor, for the geometric ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "latent", at_least(1), "steps", "size", "glimpse", "hidden")
        check(self, "latent", within(0.001, 0.999), "continuation")
        if self.counts and (len(self.counts) != self.steps + 1 or min(self.counts) <= 0):
            raise UsageError(
                f"latent.counts is {self.counts}; it must be {self.steps + 1} positive numbers, "
                f"of 0 to {self.steps} (latent.steps) objects."
            )

    def example(self) -> "AIRConfig":
        return replace(self, steps=2, size=2, glimpse=1, hidden=64)

    def build(self, shape: tuple[int, ...], levels: int = 256) -> "AIR":
        if min(shape[-2:]) < self.glimpse:
            raise UsageError(
                f"latent.glimpse is {self.glimpse}, which is larger than frames of "
                f"{shape[-2]} x {shape[-1]} pixels; lower it, or take larger frames."
            )
        return AIR(self, self.pixels(shape, levels))


class AIR(LatentModel):
    """A background and up to ``steps`` objects, whose patches add to its pixels' parameters.

    Patches add to a gaussian's mean and log standard deviation, and to the logits of other pixels,
    where overlapping objects are a product of experts. The code of a step holds its presence, place
    and appearance, all 0 where an object is absent.
    """

    score_codes = AIRConfig.score_codes

    prior_logits: Tensor

    def __init__(self, config: AIRConfig, pixels: Likelihood) -> None:
        super().__init__(pixels)
        self.steps, self.glimpse, hidden = config.steps, config.glimpse, config.hidden
        self.width = 1 + PLACE + config.size
        self.size = self.dim = self.steps * self.width
        self.num_features = hidden
        self.obs_shape = (1, *pixels.shape)[-3:]
        patch = self.obs_shape[0] * self.glimpse**2
        self.background = nn.Parameter(torch.zeros(pixels.maps, *self.obs_shape))
        self.encoder = Encoder(self.obs_shape, hidden)
        self.recurrent = nn.GRUCell(self.width, hidden)
        self.locate = nn.Linear(hidden, 1 + 2 * PLACE)
        self.recognize = nn.Sequential(
            nn.Linear(patch, hidden), nn.ReLU(), nn.Linear(hidden, 2 * config.size)
        )
        self.paint = nn.Sequential(
            nn.Linear(config.size, hidden), nn.ReLU(), nn.Linear(hidden, pixels.maps * patch)
        )
        nn.init.normal_(self.paint[-1].weight, std=0.01 / hidden**0.5)  # the background dominates
        nn.init.zeros_(self.paint[-1].bias)
        counts = torch.tensor(
            config.counts or [config.continuation**n for n in range(self.steps + 1)]
        )
        more = counts.flip(0).cumsum(0).flip(0)[1:]
        self.register_buffer("prior_logits", (more / counts[:-1]).log())
        self.start_at_prior()

    @torch.no_grad()
    def initialize_from(self, x: Tensor) -> None:
        self.encoder.initialize_from(self._inputs(x))
        self.background.copy_(self.pixels.initial(x).view_as(self.background) / SPEED)

    @torch.no_grad()
    def start_at_prior(self) -> None:
        last = self.recognize[-1]
        for parameter in (*self.locate.parameters(), *last.parameters()):
            nn.init.zeros_(parameter)

    def prior(self) -> Distribution:
        return ObjectsPrior(self.prior_logits, self.width)

    def posterior(self, x: Tensor) -> "ObjectsPosterior":
        return ObjectsPosterior(self, x)

    def weigh(self, x: Tensor, samples: int, *, pathwise: bool = False) -> Weights:
        def draw(step: int, part: slice, q: Distribution) -> Tensor:
            return q.rsample() if pathwise and q.has_rsample else q.sample()

        found = self.posterior(x).infer(samples, draw)
        codes = found.codes.flatten(2)
        log_score, log_posterior = found.log_presence, found.log_presence + found.log_rest
        return Weights(
            log_likelihood=self.likelihood(codes).log_prob(x),
            log_prior=self.prior().log_prob(codes),
            log_posterior=log_posterior,
            codes=codes,
            log_score=log_score if pathwise else log_posterior,
        )

    def decode(self, z: Float[Tensor, "*S D"]) -> Tensor:
        params = SPEED * self.background + self._write(z.flatten(0, -2)).sum(1)
        return params.view(*z.shape[:-1], self.pixels.maps, *self.pixels.shape)

    def key(self, x: Tensor) -> Float[Tensor, "B D"]:
        """Return the presence, place and appearance of each step, times the probability of it."""
        found = self._most_probable(x)
        return (found.probs[..., None] * found.codes).flatten(1)

    def compose(self, x: Tensor) -> Composition:
        found = self._most_probable(x)
        present = (found.logits > 0).cumprod(1)
        written = self._write((present[..., None] * found.codes).flatten(1))
        params = (SPEED * self.background + written.cumsum(1)).movedim(1, 0)
        shape = self.steps, len(x), self.pixels.maps, *self.pixels.shape
        place, (_, *frame) = found.codes[..., 1 : 1 + PLACE], self.obs_shape
        half = self.glimpse / 2 * self._stride(place[..., :1])
        center = place[..., 1:].new_tensor(frame) * ndtr(place[..., 1:])
        return Composition(
            images=self.pixels.image(params.reshape(shape)).clamp(0, 1),
            boxes=torch.cat([center - half, center + half], 2).movedim(1, 0),
            presence=found.probs.T,
        )

    def features(self, x: Tensor) -> Float[Tensor, "B D"]:
        hidden: Tensor = self.encoder(self._inputs(x)).tanh()
        return hidden

    def glimpse_at(
        self, x: Float[Tensor, "B K H W"], place: Float[Tensor, "B 3"]
    ) -> Float[Tensor, "B K G G"]:
        return read(x, *self._windows(place, writing=False))

    def _most_probable(self, x: Tensor) -> "Objects":
        """Return the means of all codes, as if every object were present."""

        def choose(step: int, part: slice, q: Distribution) -> Tensor:
            return q.mean if q.has_rsample else torch.ones_like(q.mean)

        return Objects(*(value[0] for value in self.posterior(x).infer(1, choose)))

    def _write(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B T maps K H W"]:
        """Return what each step adds to the parameters of the pixels."""
        codes = z.reshape(-1, self.width)
        presence, place, appearance = codes.split([1, PLACE, self.width - 1 - PLACE], 1)
        patch = self.paint(appearance).float() * presence.clamp(0, 1)
        size = self.glimpse, self.glimpse
        written = write(patch.view(len(codes), -1, *size), *self._windows(place, writing=True))
        return written.float().view(len(z), self.steps, *self.background.shape)

    def _windows(
        self, place: Float[Tensor, "B 3"], *, writing: bool
    ) -> tuple[AttentionWindow, AttentionWindow]:
        """Return the windows of rows and columns at a place, which may be partly off the frame.

        Neighbor filters overlap, so that the filters of all of a patch's pixels sum to a constant.
        """
        log_scale, *centers = place.unbind(1)
        stride, margin = self._stride(log_scale), self.glimpse // 2 + 1
        gain = 1 / stride if writing else torch.ones_like(stride)
        rows, columns = (
            AttentionWindow(
                gaussian_filters(
                    length * ndtr(center) - 0.5 + margin,
                    stride,
                    (stride.clamp(min=1) / 2).square(),
                    count=self.glimpse,
                    length=length + 2 * margin,
                )[:, :, margin:-margin],
                gain,
            )
            for center, length in zip(centers, self.obs_shape[1:], strict=True)
        )
        return rows, columns

    def _stride(self, log_scale: Tensor) -> Tensor:
        """Return the distance of a patch's pixels in the frame."""
        return (SCALE * log_scale.clamp(-8, 8)).exp()

    def _inputs(self, x: Tensor) -> Float[Tensor, "B K H W"]:
        return self.pixels.inputs(x).reshape(-1, *self.obs_shape)


class Objects(NamedTuple):
    """The codes of S samples of the objects of B frames in T steps, and their posterior."""

    logits: Float[Tensor, "*S B T"]
    """Of the presence of an object, given that those before are present."""
    codes: Float[Tensor, "*S B T D"]
    log_presence: Float[Tensor, "*S B"]
    """log q of which objects are present."""
    log_rest: Float[Tensor, "*S B"]
    """log q of place and appearance of the present ones."""

    @property
    def probs(self) -> Float[Tensor, "*S B T"]:
        """The probability that an object is present, by the logits of these codes."""
        return self.logits.sigmoid().cumprod(-1)


Choose = Callable[[int, slice, Distribution], Tensor]
"""Returns numbers of a step's code, [R n], from the step, their place in it and distribution."""


class ObjectsPosterior(Distribution):
    """q(objects | frame): one object after another, by a recurrent network."""

    has_rsample = False
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, model: AIR, x: Tensor) -> None:
        self.model, inputs = model, model.pixels.inputs(x).reshape(-1, *model.obs_shape)
        self.hidden = model.features(x)
        self.inputs = (inputs - model.encoder.mean) / model.encoder.scale
        super().__init__(torch.Size([len(x)]), torch.Size([model.size]), validate_args=False)

    def infer(self, samples: int, choose: Choose) -> Objects:
        """Infer each frame's objects ``samples`` times, with the codes that ``choose`` returns."""
        model, x = self.model, self.inputs.repeat(samples, 1, 1, 1)
        hidden = self.hidden.repeat(samples, 1)
        code, steps = hidden.new_zeros(len(x), model.width), []
        present = torch.ones_like(code[:, :1])
        for t in range(model.steps):
            hidden = model.recurrent(code, hidden)
            outputs = model.locate(hidden).float()
            logits = outputs[:, :1] + model.prior_logits[t]
            exists, where = Bernoulli(logits=logits, validate_args=False), _normal(outputs[:, 1:])
            present = present * choose(t, slice(1), exists)
            place = choose(t, slice(1, 1 + PLACE), where)
            glimpse = read(x, *model._windows(place, writing=False))
            what = _normal(model.recognize(glimpse.flatten(1)).float())
            appearance = choose(t, slice(1 + PLACE, None), what)
            code = present * torch.cat([torch.ones_like(present), place, appearance], 1)
            log_rest = where.log_prob(place).sum(1) + what.log_prob(appearance).sum(1)
            steps.append((logits[:, 0], code, present[:, 0] * log_rest))
        logits, codes, log_rest = (
            torch.stack(x, 1).unflatten(0, (samples, -1)) for x in zip(*steps, strict=True)
        )
        log_presence = log_prob_of_presence(codes[..., 0], logits)
        return Objects(logits, codes, log_presence, log_rest.sum(2))

    def log_prob(self, value: Float[Tensor, "S B D"]) -> Float[Tensor, "S B"]:
        codes = value.view(-1, self.model.steps, self.model.width)
        found = self.infer(len(value), lambda t, part, _: codes[:, t, part])
        return found.log_presence + found.log_rest

    @torch.no_grad()
    def sample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> Float[Tensor, "*S B D"]:
        found = self.infer(math.prod(sample_shape), lambda _t, _part, q: q.sample())
        return found.codes.view(self._extended_shape(torch.Size(sample_shape)))


class ObjectsPrior(Distribution):
    """p(objects): a number of them, with standard normal places and appearances."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Float[Tensor, " T"], width: int) -> None:
        self.logits, self.width = logits, width
        super().__init__(event_shape=torch.Size([len(logits) * width]), validate_args=False)

    def log_prob(self, value: Float[Tensor, "*S D"]) -> Float[Tensor, "*S"]:
        codes = value.unflatten(-1, (-1, self.width))
        presence, rest = codes[..., 0], codes[..., 1:]
        log_rest = -(rest.square() + math.log(2 * math.pi)).sum(-1) / 2
        return log_prob_of_presence(presence, self.logits) + (presence * log_rest).sum(-1)

    @torch.no_grad()
    def sample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> Float[Tensor, "*S D"]:
        shape = (*sample_shape, len(self.logits))
        presence = (torch.rand(shape, device=self.logits.device) < self.logits.sigmoid()).float()
        codes = torch.randn(*shape, self.width, device=self.logits.device)
        codes[..., 0] = 1
        return (presence.cumprod(-1)[..., None] * codes).flatten(-2)


def log_prob_of_presence(
    presence: Float[Tensor, "*S T"], logits: Float[Tensor, "... T"]
) -> Float[Tensor, "*S"]:
    """Return the log-probability of objects that are present up to the first absent one.

    The logits are of each object's presence given that those before are present.
    """
    before = pad(presence[..., :-1], (1, 0), value=1.0)
    return (before * logsigmoid(torch.where(presence > 0, logits, -logits))).sum(-1)


def _normal(params: Float[Tensor, "B twice"]) -> Normal:
    """Return N(0, 1) at zeros; the logarithm of the standard deviation stays within 8 of 0."""
    mean, log_std = params.chunk(2, 1)
    return Normal(mean, (8 * (log_std / 8).tanh()).exp(), validate_args=False)
