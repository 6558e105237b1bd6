"""Variational autoencoder with a Gaussian code (Kingma & Welling 2014).

Convolutions, latents and key are those of Blundell et al. 2016 (section 3.1). The posterior may be
a normalizing flow of a Gaussian, and stochastic variational inference may refine it for each frame.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from ...envs.checks import at_least, check
from ..inference.refine import first_params, refine_params
from ..likelihoods import Likelihood
from .interface import LatentConfig
from .networks import Autoencoder
from .posteriors import FLOWS, Flow, FlowPosterior, PosteriorName

Inference = Literal["amortized", "memoryless", "semi"]


@dataclass(frozen=True)
class VAEConfig(LatentConfig):
    """A variational autoencoder with a Gaussian code."""

    size: int = 32
    """Length of the code; a key is its mean and log standard deviation, so twice as long."""
    posterior: PosteriorName = "gaussian"
    """Posterior of a code: a diagonal Gaussian, or planar or inverse autoregressive flows of it."""
    flow_steps: int = 4
    """Steps of a planar or inverse autoregressive flow."""
    inference: Inference = "amortized"
    """Where a posterior comes from: the encoder; gradient steps for each frame from the prior; or
    such steps from the encoder's posterior. Refined posteriors cost as many decoder passes."""
    refine_steps: int = 20
    """Gradient steps of memoryless and semi-amortized inference."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "latent", at_least(1), "size", "flow_steps", "refine_steps")

    @property
    def has_divergence(self) -> bool:
        return self.posterior == "gaussian"

    def example(self) -> "VAEConfig":
        return replace(self, size=4)

    def build(self, shape: tuple[int, ...], levels: int = 256) -> "GaussianVAE":
        return GaussianVAE(self.pixels(shape, levels), self)


class GaussianVAE(Autoencoder):
    """VAE with z ~ N(0, I).

    The parameters of a posterior are the mean and log standard deviation of a Gaussian, and the
    numbers of its flow. A key is the mean, mapped by the flow, and the log standard deviation.
    """

    def __init__(self, pixels: Likelihood, config: VAEConfig) -> None:
        flow: Flow | None = None
        if config.posterior != "gaussian":
            flow = FLOWS[config.posterior](config.size, config.flow_steps)
        num_params = 2 * config.size + (0 if flow is None else flow.num_params)
        super().__init__(pixels, config.size, outputs=num_params)
        self.config, self.flow, self.num_params = config, flow, num_params
        self.dim = 2 * config.size

    @torch.no_grad()
    def start_at_prior(self) -> None:
        super().start_at_prior()
        self.encoder.outputs.bias[self.size : 2 * self.size] = 8 * math.atanh(1 / 8)  # log std 0

    def prior(self) -> Distribution:
        return Independent(self._standard_normal(), 1)

    def posterior(self, x: Tensor) -> Distribution:
        return self.posterior_from(self._infer(x))

    def divergence(self, posterior: Distribution) -> Float[Tensor, "1 B D"] | None:
        if self.flow is not None:
            return None
        base: Distribution = posterior.base_dist  # type: ignore[attr-defined]
        return kl_divergence(base, self._standard_normal())[None]

    def key(self, x: Tensor) -> Float[Tensor, "B D"]:
        params = self._infer(x)
        if self.flow is None:
            return params
        mean, log_std, of_flow = self._split(params)
        return torch.cat([self.flow(mean, of_flow)[0], log_std], 1)

    def prior_params(self) -> Float[Tensor, " P"]:
        """Return the parameters of the prior: of a trained autoregressive flow, of its base."""
        return self.decoder.bias.new_zeros(self.num_params)

    def posterior_params(self, x: Tensor) -> Float[Tensor, "B P"]:
        """Return the encoder's parameters of the posterior of each frame.

        The log standard deviation stays within 8 of -1, near which an untrained code is informative
        from the first update.
        """
        mean, log_std, of_flow = self._split(self.encode(x))
        return torch.cat([mean, 8 * (log_std / 8).tanh() - 1, of_flow], 1)

    def posterior_from(self, params: Float[Tensor, "B P"]) -> Distribution:
        """Return the posterior with these parameters."""
        mean, log_std, of_flow = self._split(params)
        gaussian = Independent(Normal(mean, log_std.exp(), validate_args=False), 1)
        return gaussian if self.flow is None else FlowPosterior(gaussian, self.flow, of_flow)

    def codes(
        self, params: Float[Tensor, "B P"], noise: Float[Tensor, "S 1 D"]
    ) -> Float[Tensor, "S B D"]:
        """Return the codes of standard normal noise."""
        mean, log_std, of_flow = self._split(params)
        z = mean + log_std.exp() * noise
        return z if self.flow is None else self.flow(z, of_flow)[0]

    def _infer(self, x: Tensor) -> Float[Tensor, "B P"]:
        """Return the parameters of the posterior of each frame, refined if the config says so."""
        if self.config.inference == "memoryless":
            prior = first_params(self, x, "prior")
            return refine_params(self, x, prior, steps=self.config.refine_steps)
        params = self.posterior_params(x)
        if self.config.inference == "amortized":
            return params
        refined = refine_params(self, x, params, steps=self.config.refine_steps)
        # The encoder has the gradient of the refined parameters, as if they were a shift of its
        # own: that of Kim et al. 2018 without second derivatives.
        return refined + (params - params.detach())

    def _split(self, params: Float[Tensor, "B P"]) -> list[Tensor]:
        """Return the mean, the log standard deviation, and the numbers of the flow."""
        return [*params.split([self.size, self.size, self.num_params - 2 * self.size], 1)]

    def _standard_normal(self) -> Normal:
        zero = self.decoder.bias.new_zeros(self.size)
        return Normal(zero, zero + 1, validate_args=False)
