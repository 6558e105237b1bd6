"""Distributions of a varying number of objects, of which the first absent one ends the frame."""

import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid, pad


class ObjectsPrior(Distribution):
    """A number of objects, and N(0, I) for the other ``width - 1`` numbers of each.

    The logits are as in ``log_prob_of_presence``. A code holds for each object its presence and the
    other numbers, all 0 where it is absent.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Float[Tensor, " T"], width: int) -> None:
        self.logits, self.width = logits, width
        super().__init__(event_shape=torch.Size([len(logits) * width]), validate_args=False)

    def log_prob(self, value: Float[Tensor, "*S D"]) -> Float[Tensor, "*S"]:
        codes = value.unflatten(-1, (-1, self.width))
        presence, rest = codes[..., 0], codes[..., 1:]
        log_rest = -(rest.square() + math.log(2 * math.pi)).sum(-1) / 2
        log_prob: Tensor = log_prob_of_presence(presence, self.logits)
        log_prob += (presence * log_rest).sum(-1)
        return log_prob

    @torch.no_grad()
    def sample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> Float[Tensor, "*S D"]:
        shape = (*sample_shape, len(self.logits))
        presence = (torch.rand(shape, device=self.logits.device) < self.logits.sigmoid()).float()
        codes = torch.randn(*shape, self.width, device=self.logits.device)
        codes[..., 0] = 1
        return (presence.cumprod(-1)[..., None] * codes).flatten(-2)


Choose = Callable[[int, slice, Distribution], Tensor]
"""Returns some numbers of a step's code, given the step, their place in it, and their posterior."""


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


Infer = Callable[[int, Choose], Objects]
"""Infers each frame's objects so many times."""


class ObjectsPosterior(Distribution):
    """The objects of each frame, inferred one after another."""

    has_rsample = False
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, count: int, steps: int, width: int, infer: Infer) -> None:
        self.count, self.steps, self.width, self.infer = count, steps, width, infer
        super().__init__(torch.Size([count]), torch.Size([steps * width]), validate_args=False)

    def log_prob(self, value: Float[Tensor, "*S D"]) -> Float[Tensor, "*S"]:
        codes = value.reshape(-1, self.steps, self.width)
        samples = len(codes) // self.count
        found = self.infer(samples, lambda step, part, _: codes[:, step, part])
        return (found.log_presence + found.log_rest).view(value.shape[:-1])

    @torch.no_grad()
    def sample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> Float[Tensor, "*S D"]:
        found = self.infer(math.prod(sample_shape), lambda _step, _part, q: q.sample())
        return found.codes.view(self._extended_shape(torch.Size(sample_shape)))


def presence_logits(counts: Float[Tensor, " N"]) -> Float[Tensor, " T"]:
    """Return the logits of objects' presence for these probabilities of 0, 1, ... objects.

    The probabilities are positive, and may have a common factor.
    """
    at_least = counts.flip(0).cumsum(0).flip(0)
    return (at_least[1:] / counts[:-1]).log()


def log_prob_of_presence(
    presence: Float[Tensor, "*S T"], logits: Float[Tensor, "... T"]
) -> Float[Tensor, "*S"]:
    """Return the log-probability of which objects are present.

    The logits are of the presence of each object given that those before are present.
    """
    before = pad(presence[..., :-1], (1, 0), value=1.0)
    return (before * logsigmoid(torch.where(presence > 0, logits, -logits))).sum(-1)
