"""Distributions of a varying number of objects, of which the first absent one ends the frame."""

import math
from typing import ClassVar

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
