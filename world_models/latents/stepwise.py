"""Latent-variable models that sample a code in steps, each given those before it.

A model gives the recurrence: it encodes a frame, and yields for each step the posterior of its
code, the code that was chosen, and the parameters of the pixels after it.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, constraints, kl_divergence

from ..inference.bounds import Weights
from .composition import Composition
from .interface import LatentModel

Choose = Callable[[int, Normal], Tensor]
"""Returns the code of a step, given its number and its posterior."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of R frames."""

    posterior: Normal
    """q(z_t | x, z_<t), [R *D]."""
    code: Float[Tensor, " R *D"]
    state: Any
    """What the model keeps of it, of which ``params`` makes the pixels."""


class StepwiseModel(LatentModel):
    """Base of the models with q(z | x) = product over t of q(z_t | x, z_<t), and z ~ N(0, I).

    The first steps of a code are a code of their own, whose missing latents are 0, the mean of
    their prior. A key is the mean of each step's code, given the means of the earlier ones.
    """

    code_shape: tuple[int, int, int, int]
    """Steps, and the maps, rows and columns of the code of a step."""

    @abstractmethod
    def follow(self, x: Tensor, samples: int, choose: Choose) -> Iterator[Step]:
        """Encode each frame ``samples`` times, R = samples x B, and yield every step."""

    @abstractmethod
    def params(self, state: Any) -> Float[Tensor, "R maps *frame"]:
        """Return the parameters of the pixels after a step."""

    def boxes(self, states: Sequence[Any]) -> Float[Tensor, "T R 4"] | None:
        """Return the box that each step writes (see ``Composition``); None if it is everything."""
        return None

    def prior(self) -> Distribution:
        return Independent(self._standard_normal(), 1)

    def posterior(self, x: Tensor) -> "StepwisePosterior":
        return StepwisePosterior(self, x)

    def weigh(self, x: Tensor, samples: int, *, pathwise: bool = False) -> Weights:
        """Sample codes step by step and return their log-probabilities.

        Codes, likelihood and divergences come from one pass; a divergence is of its draw.
        """
        path = [*self.follow(x, samples, _rsample if pathwise else _sample)]
        shape = samples, len(x), self.size
        mean, std, z = (
            torch.cat([part.flatten(1) for part in parts], 1).view(shape)
            for parts in zip(
                *[(s.posterior.mean, s.posterior.stddev, s.code) for s in path], strict=True
            )
        )
        q = Normal(mean, std, validate_args=False)
        log_posterior = q.log_prob(z).sum(-1)
        params = self.params(path[-1].state).unflatten(0, shape[:2])
        return Weights(
            log_likelihood=self.pixels.distribution(params).log_prob(x),
            log_prior=self.prior().log_prob(z),
            log_posterior=log_posterior,
            codes=z,
            log_score=torch.zeros_like(log_posterior) if pathwise else log_posterior,
            divergence=kl_divergence(q, self._standard_normal()),
        )

    def next_posterior(self, x: Tensor, codes: Float[Tensor, "B t M R C"]) -> Normal:
        """Return the posterior [B M R C] of the next step's code, given those before it."""
        t = codes.shape[1]

        def choose(step: int, q: Normal) -> Tensor:
            return codes[:, step].reshape(q.mean.shape) if step < t else q.mean

        *_, last = islice(self.follow(x, 1, choose), t + 1)
        shape = len(x), *self.code_shape[1:]
        mean, std = (part.reshape(shape) for part in (last.posterior.mean, last.posterior.stddev))
        return Normal(mean, std, validate_args=False)

    def key(self, x: Tensor) -> Float[Tensor, "B D"]:
        return torch.cat([step.code.flatten(1) for step in self.follow(x, 1, _most_probable)], 1)

    @torch.no_grad()
    def compose(self, x: Tensor) -> Composition:
        states = [step.state for step in self.follow(x, 1, _most_probable)]
        images = torch.stack([self.pixels.image(self.params(state)) for state in states])
        return Composition(images, self.boxes(states), images.new_ones(images.shape[:2]))

    def _standard_normal(self) -> Normal:
        zero = next(self.parameters()).new_zeros(self.size)
        return Normal(zero, zero + 1, validate_args=False)


class StepwisePosterior(Distribution):
    """q(z | x) of a model with several steps."""

    has_rsample = True
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, model: StepwiseModel, x: Tensor) -> None:
        self.model, self.x = model, x
        super().__init__(x.shape[:1], torch.Size([model.size]), validate_args=False)

    def rsample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> Float[Tensor, "*S D"]:
        path = self.model.follow(self.x, math.prod(sample_shape), _rsample)
        z = torch.cat([step.code.flatten(1) for step in path], 1)
        return z.view(self._extended_shape(torch.Size(sample_shape)))

    def log_prob(self, value: Float[Tensor, "*S D"]) -> Float[Tensor, "*S"]:
        codes = value.flatten(0, -2).chunk(self.model.code_shape[0], 1)
        path = self.model.follow(
            self.x, math.prod(value.shape[:-2]), lambda t, q: codes[t].reshape(q.mean.shape)
        )
        each = [step.posterior.log_prob(step.code).flatten(1) for step in path]
        return torch.cat(each, 1).sum(1).view(value.shape[:-1])


def _rsample(_: int, q: Normal) -> Tensor:
    return q.rsample()


def _sample(_: int, q: Normal) -> Tensor:
    code: Tensor = q.sample()
    return code


def _most_probable(_: int, q: Normal) -> Tensor:
    return q.mean
