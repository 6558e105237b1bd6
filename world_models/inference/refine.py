"""Stochastic variational inference: the posterior of a frame by gradient steps of its own.

An encoder shares one network among all frames (amortized inference), which costs its bound the
amortization gap (Cremer et al. 2018). Gradient ascent on the ELBO of a single frame closes the gap,
from the encoder's posterior or from the prior (Kim et al. 2018, Krishnan et al. 2018).
"""

from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from ...envs.errors import UsageError
from ...envs.prng import fold_in
from .bounds import ELBO, bound

Start = Literal["amortized", "prior"]
"""Where gradient steps begin: at the encoder's posterior, or at the prior."""


@runtime_checkable
class Refinable(Protocol):
    """A latent-variable model whose posterior is a pathwise function of P numbers for each frame.

    The first 2 D of them are the mean and the log standard deviation of a Gaussian, which the rest,
    if there are any, map to the posterior of a code of D latents.
    """

    size: int
    """The number of latents, D."""

    def prior(self) -> Distribution:
        """Return p(z)."""

    def likelihood(self, z: Tensor) -> Distribution:
        """Return p(x | z) for each z."""

    def prior_params(self) -> Float[Tensor, " P"]:
        """Return the parameters with which the posterior is the prior."""

    def posterior_params(self, x: Tensor) -> Float[Tensor, "B P"]:
        """Return the encoder's parameters of each frame."""

    def posterior_from(self, params: Float[Tensor, "B P"]) -> Distribution:
        """Return the posterior with these parameters."""

    def codes(
        self, params: Float[Tensor, "B P"], noise: Float[Tensor, "S 1 D"]
    ) -> Float[Tensor, "S B D"]:
        """Return the posterior's codes of standard normal noise."""


def refine(
    model: object,
    x: Tensor,
    *,
    start: Start = "amortized",
    steps: int = 20,
    samples: int = 8,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> Distribution:
    """Return the posterior of each frame after gradient steps on its ELBO.

    ``x`` holds the values of frames as ``prepare`` returns them. The steps begin at the encoder's
    posterior or at the prior; see ``refine_params``. Raises UsageError for a model whose posterior
    is no pathwise function of a frame's own parameters.
    """
    model = refinable(model)
    first = first_params(model, x, start)
    params = refine_params(
        model, x, first, steps=steps, samples=samples, learning_rate=learning_rate, seed=seed
    )
    return model.posterior_from(params)


def first_params(model: Refinable, x: Tensor, start: Start) -> Float[Tensor, "B P"]:
    """Return the parameters of each frame's posterior at which steps begin."""
    if start == "amortized":
        return model.posterior_params(x)
    return model.prior_params().expand(len(x), -1)


def refine_params(
    model: Refinable,
    x: Tensor,
    first: Float[Tensor, "B P"],
    *,
    steps: int = 20,
    samples: int = 8,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> Float[Tensor, "B P"]:
    """Return the parameters of each frame's posterior after gradient steps from ``first``.

    A step is one of Adam on the ELBO of ``samples`` codes, in units of the posterior's standard
    deviation, with a learning rate that falls linearly to 0. Where the ELBO of the last parameters,
    by ``elbo`` with the same samples and seed, is not above that of the first, those are returned.
    No gradient flows to the model. A frame's parameters do not depend on the batch around it.
    """
    first = first.detach()
    params, size = first, model.size
    change = torch.zeros_like(first, requires_grad=True)
    optimizer = torch.optim.Adam([change], betas=(0.8, 0.99))
    for step in range(steps):
        units = torch.ones_like(params)
        units[:, :size] = params[:, size : 2 * size].exp()
        with torch.enable_grad():
            value = elbo(
                model, x, params + units * change, samples=samples, seed=fold_in(seed, step + 1)
            )
            (change.grad,) = torch.autograd.grad(-value.sum(), [change])
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        optimizer.step()
        with torch.no_grad():
            params = params + units * change
            change.zero_()
    with torch.no_grad():
        before, after = (elbo(model, x, p, samples=samples, seed=seed) for p in (first, params))
        return torch.where((after > before)[:, None], params, first)


def elbo(
    model: Refinable, x: Tensor, params: Float[Tensor, "B P"], *, samples: int, seed: int
) -> Float[Tensor, " B"]:
    """Return the ELBO of each frame in nats, by codes whose noise is the same for all frames.

    Its gradient is that of the codes alone: the score of log q has mean 0, and without it the noise
    of the gradient vanishes at the true posterior (Roeder et al. 2017).
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, 1, model.size, generator=generator).to(params)
    z = model.codes(params, noise)
    log_posterior = model.posterior_from(params.detach()).log_prob(z)
    log_joint = model.likelihood(z).log_prob(x) + model.prior().log_prob(z)
    return bound(log_joint - log_posterior, ELBO)


@torch.no_grad()
def amortization_gap(
    model: object,
    x: Tensor,
    *,
    start: Start = "amortized",
    steps: int = 20,
    samples: int = 64,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> Float[Tensor, " B"]:
    """Estimate how many nats gradient steps add to the ELBO of each frame's encoded posterior.

    Both bounds are of ``samples`` codes with the same noise, which no step has used; so the
    estimate may be negative by noise, or because few steps from the prior end below the encoder's
    posterior. The steps find a posterior near the best of the family: the gap of Cremer et al. 2018
    is at least as large. ``x`` holds values of frames as ``prepare`` returns them. Raises
    UsageError for a model whose posterior is no pathwise function of a frame's own parameters.
    """
    model = refinable(model)
    gaps = []
    for part in torch.split(x, max(512 // samples, 1)):  # limits the memory for decoded codes
        first = first_params(model, part, start)
        best = refine_params(
            model, part, first, steps=steps, learning_rate=learning_rate, seed=seed
        )
        encoded = model.posterior_params(part)
        bounds = [elbo(model, part, p, samples=samples, seed=~seed) for p in (best, encoded)]
        gaps.append(bounds[0] - bounds[1])
    return torch.cat(gaps)


def refinable(model: object) -> Refinable:
    """Return the model; raises UsageError if its posteriors cannot be refined."""
    if isinstance(model, Refinable):
        return model
    raise UsageError(
        f"The posterior of {type(model).__name__} cannot be refined, as it is no pathwise function "
        "of parameters of its own for each frame; choose a latent with Gaussian codes, such as vae."
    )
