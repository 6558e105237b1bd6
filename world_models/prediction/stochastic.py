"""The feed-forward net with a latent at every step, for what chance decides.

A deterministic net answers chance with the mean of what may come: a blur. Here a latent is drawn
at every step and enters as the action does, from a prior given look and action; while learning,
from a posterior that has seen the next frame too (Denton & Fergus 2018, "Stochastic Video
Generation with a Learned Prior"). The loss is the negative evidence bound with its analytic
divergence, in units of the pixels' variance.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence

from envs import dice
from envs.checks import above, at_least, check
from envs.interface import Memory
from world_models.prediction.feedforward import SMALL, FeedforwardConfig, FeedforwardNet, GridNet
from world_models.prediction.net import Imagined, Net
from world_models.prediction.networks import Encoder, plan_for

Latent: TypeAlias = "Independent[Normal]"


@dataclass(frozen=True)
class StochasticConfig(FeedforwardConfig):
    """The feed-forward network, with a Gaussian latent beside the action."""

    latent: int = 16
    """Its dimensions."""
    deviation: float = 0.02
    """Of a pixel given the latent, in 0..1: a nat costs its square beside half squared errors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "predictor", at_least(1), "latent")
        check(self, "predictor", above(0), "deviation")

    def net(self, obs_shape: tuple[int, int, int], num_actions: int, colours: int) -> Net:
        return StochasticNet(self, obs_shape, num_actions, colours)


SMALL_STOCHASTIC = StochasticConfig(
    size="small",
    learning_rates=SMALL.learning_rates,
    batches=SMALL.batches,
    updates=SMALL.updates,
)
"""For 84 x 84 grey frames on a CPU, with the schedule of the small feed-forward net."""


class StochasticNet(Net):
    """p(z | look, action), q(z | look, action, next frame), and a frame from all but the last."""

    def __init__(
        self,
        config: StochasticConfig,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        colours: int,
    ) -> None:
        super().__init__()
        plan = plan_for(config.size, obs_shape)
        kind = GridNet if config.size == "small" else FeedforwardNet
        self.sees_action = config.sees_action
        seeing = replace(config, sees_action=True)  # a latent is seen as an action is
        self.frame = kind(seeing, obs_shape, num_actions + config.latent, colours)
        self.width, self.latent, self.cost = self.frame.width, config.latent, config.deviation**2
        channels, rows, columns = obs_shape
        inputs = plan.hidden + num_actions
        self.before = Encoder(plan, obs_shape)
        self.after = Encoder(plan, (channels + colours, rows, columns))
        self.prior_head = nn.Linear(inputs, 2 * config.latent)
        self.posterior_head = nn.Linear(inputs, 2 * config.latent)

    def initial(self, n: int, device: torch.device) -> Memory:
        return {"dice": torch.zeros(n, dtype=torch.int64, device=device)}

    def prior(self, look: Float[Tensor, "B K H W"], action: Float[Tensor, "B A"]) -> Latent:
        """What may come, before it has."""
        return _gaussian(self.prior_head(torch.cat([self.before(look), action], 1)))

    def posterior(
        self,
        look: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        target: Float[Tensor, "B C H W"],
    ) -> Latent:
        """What it was, seen from the next frame."""
        features = self.after(torch.cat([look, target], 1))
        return _gaussian(self.posterior_head(torch.cat([features, action], 1)))

    def imagine(
        self,
        look: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        state: Memory,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> Imagined:
        action = action * self.sees_action
        chosen = prior = self.prior(look, action)
        nats: Tensor | float = 0.0
        if target is not None:
            chosen = self.posterior(look, action, target)
            nats = self.cost * kl_divergence(chosen, prior)
        noise = dice.normal(state["dice"], self.latent)
        latent = chosen.mean + chosen.stddev * noise
        imagined = self.frame.imagine(look, torch.cat([action, latent], 1), {})
        return Imagined(imagined.frame, imagined.code, {"dice": dice.roll(state["dice"])}, nats)


def _gaussian(numbers: Float[Tensor, "B twice"]) -> Latent:
    mean, log_deviation = numbers.float().chunk(2, 1)
    return Independent(Normal(mean, log_deviation.clamp(-7, 3).exp()), 1)
