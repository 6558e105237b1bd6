"""The feed-forward network with a Gaussian latent per step, for stochastic environments.

A deterministic network predicts the mean of the possible next frames, which is blurred. Here a
latent is drawn at every step and concatenated to the action: from a prior given observation and
action or, in training, from a posterior that is also given the next frame (Denton & Fergus 2018,
"Stochastic Video Generation with a Learned Prior"). The loss is the negative evidence lower bound
with an analytic KL divergence, multiplied by the pixels' variance:

    |x' - x|^2 / 2 + pixel_std^2 KL(q(z | obs, action, x) || p(z | obs, action))

x' is the predicted and x the true next frame.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

from ...envs import prng
from ...envs.checks import above, at_least, check
from ...envs.interface import Carry
from .encoder_decoder import Encoder, architecture_for
from .feedforward import SMALL, FeedforwardConfig, FeedforwardNetwork, GridNetwork
from .frame_network import FrameNetwork, FrameOutput

DiagonalNormal: TypeAlias = "Independent[Normal]"


@dataclass(frozen=True)
class StochasticConfig(FeedforwardConfig):
    """The feed-forward network, with a Gaussian latent beside the action."""

    latent: int = 16
    """Dimensions of the latent."""
    pixel_std: float = 0.02
    """Standard deviation of a pixel in 0..1 given the latent; its square weighs the KL divergence
    against half the squared errors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "predictor", at_least(1), "latent")
        check(self, "predictor", above(0), "pixel_std")

    def build_network(
        self, obs_shape: tuple[int, int, int], num_actions: int, channels: int
    ) -> FrameNetwork:
        return StochasticNetwork(self, obs_shape, num_actions, channels)


SMALL_STOCHASTIC = StochasticConfig(size="small", **SMALL.training_settings())
"""For 84 x 84 gray frames on a CPU, with the schedule of the small feed-forward network."""


class StochasticNetwork(FrameNetwork):
    """Prior p(z | obs, action), posterior q(z | obs, action, next frame), and p(frame | ..., z)."""

    def __init__(
        self,
        config: StochasticConfig,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int,
    ) -> None:
        super().__init__()
        architecture = architecture_for(config.size, obs_shape)
        kind = GridNetwork if config.size == "small" else FeedforwardNetwork
        self.action_conditional = config.action_conditional
        # The latent is part of the network's action, so the action itself is masked here.
        conditional = replace(config, action_conditional=True)
        self.frame_network = kind(conditional, obs_shape, num_actions + config.latent, channels)
        self.num_features, self.latent = self.frame_network.num_features, config.latent
        self.kl_weight = config.pixel_std**2
        stacked_channels, rows, columns = obs_shape
        inputs = architecture.hidden + num_actions
        self.prior_encoder = Encoder(architecture, obs_shape)
        self.posterior_encoder = Encoder(architecture, (stacked_channels + channels, rows, columns))
        self.prior_head = nn.Linear(inputs, 2 * config.latent)
        self.posterior_head = nn.Linear(inputs, 2 * config.latent)

    def initial(self, n: int, device: torch.device) -> Carry:
        return {"rng": torch.zeros(n, dtype=torch.int64, device=device)}

    def prior(self, obs: Float[Tensor, "B K H W"], action: Float[Tensor, "B A"]) -> DiagonalNormal:
        """Return p(z | obs, action)."""
        return _normal(self.prior_head(torch.cat([self.prior_encoder(obs), action], 1)))

    def posterior(
        self,
        obs: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        target: Float[Tensor, "B C H W"],
    ) -> DiagonalNormal:
        """Return q(z | obs, action, next frame)."""
        features = self.posterior_encoder(torch.cat([obs, target], 1))
        return _normal(self.posterior_head(torch.cat([features, action], 1)))

    def forward(
        self,
        obs: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        carry: Carry,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> FrameOutput:
        action = action * self.action_conditional
        latents = prior = self.prior(obs, action)
        kl: Tensor | float = 0.0
        if target is not None:
            latents = self.posterior(obs, action, target)
            kl = self.kl_weight * kl_divergence(latents, prior)
        noise = prng.normal(carry["rng"], self.latent, prng.Purpose.LATENT)
        latent = latents.mean + latents.stddev * noise
        output = self.frame_network(obs, torch.cat([action, latent], 1), {})
        next_carry = {"rng": prng.next_rng(carry["rng"])}
        return FrameOutput(output.frame, output.features, next_carry, kl)


def _normal(parameters: Float[Tensor, "B twice"]) -> DiagonalNormal:
    mean, log_std = parameters.float().chunk(2, 1)
    return Independent(Normal(mean, log_std.clamp(-7, 3).exp()), 1)
