"""Estimators on a model whose weights are of mixed codes, against enumeration and quadrature.

g ~ N(0, 1), b ~ Bernoulli(0.4), x | g, b ~ N(w g + c b, s^2). The posterior of b depends on g, so
the score of b also has a gradient through the pathwise code g.
"""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Normal

from reverie.world_models.inference.bounds import ELBO, IWAE, LatentVariableModel, Weights, bound
from reverie.world_models.inference.estimators import nvil, vimco

X = 0.8


class MixedModel(torch.nn.Module, LatentVariableModel):
    """A model of numbers with a Gaussian and a Bernoulli code; each x has its own parameters."""

    score_codes = True

    def __init__(self, copies: int = 1) -> None:
        super().__init__()

        def parameter(value: float) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.full((copies,), value, dtype=torch.float64))

        self.w, self.c = parameter(0.7), parameter(1.1)
        self.mean, self.log_std = parameter(0.2), parameter(-0.5)
        self.a, self.d = parameter(-0.3), parameter(0.6)

    def prior(self) -> Distribution:
        raise NotImplementedError

    def posterior(self, x: Tensor) -> Distribution:
        raise NotImplementedError

    def likelihood(self, z: Tensor) -> Distribution:
        return Normal(self.w * z[..., 0] + self.c * z[..., 1], 0.6)

    def bit(self, g: Tensor) -> Distribution:
        return Bernoulli(logits=self.a + self.d * g)

    def weigh(self, x: Tensor, samples: int, *, pathwise: bool = False) -> Weights:
        g = Normal(self.mean, self.log_std.exp()).rsample(torch.Size([samples]))
        return self.weigh_codes(x, g, self.bit(g).sample())

    def weigh_codes(self, x: Tensor, g: Tensor, b: Tensor) -> Weights:
        standard: Distribution = Normal(0.0, 1.0)
        bernoulli: Distribution = Bernoulli(0.4)
        posterior: Distribution = Normal(self.mean, self.log_std.exp())
        z, score = torch.stack([g, b], -1), self.bit(g).log_prob(b)
        return Weights(
            log_likelihood=self.likelihood(z).log_prob(x),
            log_prior=standard.log_prob(g) + bernoulli.log_prob(b),
            log_posterior=posterior.log_prob(g) + score,
            codes=z,
            log_score=score,
        )

    def gradients(self, value: Tensor) -> Tensor:
        """Return the gradient for each copy of the parameters, [copies, 6]."""
        return torch.stack(torch.autograd.grad(value.sum(), [*self.parameters()]), 1)


def expected_bound(model: MixedModel, alpha: float) -> Tensor:
    """Return the expected bound of two samples: bits enumerated, noise by quadrature."""
    nodes, mass = (torch.tensor(x) for x in np.polynomial.hermite_e.hermegauss(40))
    noise = torch.cartesian_prod(nodes, nodes).T
    probability = torch.outer(mass, mass).flatten() / mass.sum() ** 2
    g, total = model.mean + model.log_std.exp() * noise, torch.zeros((), dtype=torch.float64)
    for bits in product((0.0, 1.0), repeat=2):
        b = torch.tensor(bits, dtype=torch.float64)[:, None].expand_as(g)
        weights = model.weigh_codes(torch.tensor(X), g, b)
        total = (
            total
            + (
                probability * weights.log_score.sum(0).exp() * bound(weights.log_weights(), alpha)
            ).sum()
        )
    return total


@pytest.mark.parametrize("alpha", [ELBO, IWAE, 0.5])
@pytest.mark.parametrize("name", ["nvil", "vimco"])
def test_estimators_of_mixed_codes_are_unbiased(name: str, alpha: float) -> None:
    model, copies, repeats = MixedModel(), MixedModel(60_000), 60_000
    exact = model.gradients(expected_bound(model, alpha))[0]
    torch.manual_seed(0)
    weights = copies.weigh(torch.tensor(X), 2, pathwise=True)
    if name == "nvil":
        baseline = torch.full((repeats,), -1.0, dtype=torch.float64)
        value = nvil(weights.log_weights(), weights.log_score, baseline, alpha=alpha)
    else:
        value = vimco(weights.log_weights(), weights.log_score, alpha=alpha)
    each = copies.gradients(value)
    error = each.std(0) / math.sqrt(repeats)
    assert ((each.mean(0) - exact).abs() < 4.5 * error).all()
    assert float(error.max()) < 0.02, "small enough to detect a bias"


def test_a_score_of_all_codes_would_be_biased() -> None:
    """The Gaussian code counts twice if its log-probability is scored too."""
    model, copies = MixedModel(), MixedModel(60_000)
    exact = model.gradients(expected_bound(model, IWAE))[0]
    torch.manual_seed(0)
    weights = copies.weigh(torch.tensor(X), 2, pathwise=True)
    each = copies.gradients(vimco(weights.log_weights(), weights.log_posterior, alpha=IWAE))
    error = each.std(0) / math.sqrt(len(each))
    assert ((each.mean(0) - exact).abs() > 10 * error).any()
