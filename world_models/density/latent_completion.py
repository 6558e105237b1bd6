"""Completion by a latent-variable model, whose pixels are independent given the code.

Samples come from Metropolis within Gibbs (Mattei & Frellsen 2018, "Leveraging the Exact Likelihood
of Deep Latent Variable Models", algorithm 2). A step proposes a code z' ~ q(z | x) of the frame as
it is completed so far, accepts it by its exact likelihood, and samples the pixels anew:

    x_i ~ p(x_i | z) p(y_i | x_i) / sum over levels

The first steps accept every proposal (Rezende et al. 2014), because a proposal of the first,
arbitrary frame is poor. Given a code, the evidence has a closed form, so that log p(y) is estimated
by importance sampling over codes, from the posteriors of completed frames and the prior. A code
that is sampled in steps, as DRAW's, is proposed and accepted as a whole.
"""

import math
import time
from typing import TypeGuard

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.distributions import Distribution, Independent

from ...envs.prng import seeded
from ..inference.bounds import LatentVariableModel
from .neural import NeuralDensity

CHAINS = 8
"""Completed frames whose posteriors propose codes for the evidence."""


class LatentCompletion:
    """Frames given evidence, by chains of ``steps`` steps; ``particles`` codes of each chain.

    ``table`` holds the evidence exp(log p(y_i | x_i)) of B frames, scaled so that the largest of a
    pixel is 1. After ``seconds``, if given, a method raises TimeoutError.
    """

    def __init__(
        self,
        density: NeuralDensity,
        table: Float[Tensor, "B H W L"],
        particles: int,
        steps: int,
        seed: int,
        seconds: float | None = None,
    ) -> None:
        self.density, self.particles, self.steps, self.seed = density, particles, steps, seed
        net = density.net
        assert isinstance(net, LatentVariableModel)
        self.net = net
        self.evidence = table.log().float().to(density.device)
        self.deadline = math.inf if seconds is None else time.monotonic() + seconds

    def sample(self, n: int) -> UInt8[Tensor, "{n} B H W"]:
        """Sample ``n`` frames for each frame of the evidence, each by a chain of its own."""
        with seeded(self.seed, self.density.device), self._autocast():
            x = self._chains(n)
        return x.to(torch.uint8).cpu().view(n, *self.evidence.shape[:3])

    def log_evidence(self) -> Float[Tensor, " B"]:
        """Return log sum_x p(x) table(x) in nats; its exponential is an unbiased estimate."""
        frames, samples, prior = len(self.evidence), self.particles, self.net.prior()
        with seeded(self.seed, self.density.device), self._autocast():
            posterior = self.net.posterior(self._chains(CHAINS))
            z = [*torch.split(posterior.sample(torch.Size([samples])), frames, 1)]
            z += [prior.sample(torch.Size([samples, frames]))]  # where the posteriors are narrow
            weights = torch.cat([self._log_weights(each, posterior) for each in z])
        return (weights.double().logsumexp(0) - math.log(len(weights))).cpu()

    def _log_weights(
        self, z: Float[Tensor, "S B D"], posterior: Distribution
    ) -> Float[Tensor, "S B"]:
        """Return log p(y, z) - log q(z), where q is the mean of posteriors and prior."""
        log_prior = self.net.prior().log_prob(z)
        by_chain = posterior.log_prob(z.repeat(1, CHAINS, 1)).view(len(z), CHAINS, -1)
        log_proposal = torch.cat([by_chain, log_prior[:, None]], 1).logsumexp(1)
        log_likelihood = (self._level_log_probs(z) + self.evidence).logsumexp(4).sum((2, 3))
        return log_likelihood + log_prior - log_proposal + math.log(CHAINS + 1)

    def _chains(self, n: int) -> Int64[Tensor, "R H W"]:
        """Return the last frames of ``n`` chains for each frame of the evidence."""
        evidence = self.evidence.repeat(n, 1, 1, 1)
        z = self.net.prior().sample(torch.Size([len(evidence)]))
        given = self._level_log_probs(z)
        x = sample_levels(given + evidence)
        for step in range(self.steps):
            if time.monotonic() > self.deadline:
                raise TimeoutError("the completion took longer than its seconds")
            posterior = self.net.posterior(x)
            proposal = posterior.sample()
            proposal_given = self._level_log_probs(proposal)
            log_ratio = self._log_joint(x, proposal, proposal_given) - posterior.log_prob(proposal)
            log_ratio -= self._log_joint(x, z, given) - posterior.log_prob(z)
            moves = torch.rand_like(log_ratio).log() < log_ratio
            if step < self.steps // 4:
                moves = torch.ones_like(moves)
            z = torch.where(moves[:, None], proposal, z)
            given = torch.where(moves[:, None, None, None], proposal_given, given)
            x = sample_levels(given + evidence)
        return x

    def _log_joint(
        self, x: Int64[Tensor, "R H W"], z: Float[Tensor, "R D"], given: Float[Tensor, "R H W L"]
    ) -> Float[Tensor, " R"]:
        """Return log p(x, z)."""
        log_likelihood = given.gather(3, x[..., None]).sum((1, 2, 3))
        log_joint: Tensor = log_likelihood + self.net.prior().log_prob(z)
        return log_joint

    def _level_log_probs(self, z: Float[Tensor, "*R D"]) -> Float[Tensor, "*R H W L"]:
        """Return log p(x_i = level | z) of every pixel and level."""
        likelihood = self.net.likelihood(z)
        assert isinstance(likelihood, Independent)
        levels = torch.arange(self.density.levels, device=z.device)
        each = [likelihood.base_dist.log_prob(x.expand(likelihood.event_shape)) for x in levels]
        return torch.stack(each, -1).view(*likelihood.batch_shape, *self.density.shape, -1)

    def _autocast(self) -> torch.autocast:
        return self.density.precision.autocast(self.density.device)


@torch.no_grad()
def has_independent_pixels(density: object) -> TypeGuard[NeuralDensity]:
    """Return whether a density is a latent-variable model with symbols independent given a code.

    Completion also needs a code that is one event, of the prior and of the posterior; a model that
    weighs its codes by itself (``LatentVariableModel.weigh``) must do so by these.
    """
    if not isinstance(density, NeuralDensity) or not isinstance(density.net, LatentVariableModel):
        return False
    net, shape = density.net, density.shape
    with seeded(0, density.device):
        try:
            likelihood = net.likelihood(net.prior().sample(torch.Size([1])))
            x = net.prepare(torch.zeros(1, *shape, dtype=torch.uint8, device=density.device))
            weights, posterior = net.weigh(x, 1), net.posterior(x)
            log_probs = (
                (weights.log_likelihood, net.likelihood(weights.codes).log_prob(x)),
                (weights.log_prior, net.prior().log_prob(weights.codes)),
                (weights.log_posterior, posterior.log_prob(weights.codes)),
            )
        except NotImplementedError:  # it has no such distribution
            return False
    return (
        isinstance(likelihood, Independent)
        and likelihood.event_shape.numel() == math.prod(shape)
        and likelihood.support.is_discrete
        and all(a.shape == b.shape and a.allclose(b, 1e-3, 1e-2) for a, b in log_probs)
    )


def sample_levels(logits: Float[Tensor, "R H W L"]) -> Int64[Tensor, "R H W"]:
    """Sample each pixel's level."""
    return logits.flatten(0, 2).softmax(1).multinomial(1).view(logits.shape[:3])
