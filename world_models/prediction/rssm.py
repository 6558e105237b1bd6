"""The recurrent state-space model of Dreamer, with categorical latents.

Hafner et al. 2019, "Learning Latent Dynamics for Planning from Pixels"; 2021, "Mastering Atari with
Discrete World Models"; 2023, "Mastering Diverse Domains through World Models", whose loss it is. A
state has a deterministic part h and a random part z, of G categorical variables with C classes:

    h_t = GRU(h_{t-1}, z_{t-1}, a_{t-1})
    prior p(z_t | h_t),  posterior q(z_t | h_t, x_t)
    frame, reward and discount given (h_t, z_t)

All distributions of classes are mixed with 1% of the uniform one. The gradient passes a sample
straight through to its probabilities.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from ...envs import prng
from ...envs.checks import above, at_least, below, check
from ...envs.interface import Carry, Metrics, Segment
from ..interface import Prediction, PredictorConfig
from ..precision import FLOAT32, Precision
from ..state import HasState
from .encoder_decoder import Size, initialize
from .heads import RewardDiscountHeads
from .inputs import check_obs_shape, one_hot_actions
from .latent_dreams import filtered_states
from .mean_frame import MeanFrame, observation_weights
from .rssm_network import RSSMNetwork, categorical_kl, encode_classes, sample_classes

GRADIENT_CLIP = 1000.0
"""Norm to which gradients are clipped, as published."""


@dataclass(frozen=True)
class RSSMConfig(PredictorConfig):
    """DreamerV3's model of size S, which has the published sizes for 100,000 steps of Atari."""

    has_latents = True

    size: Size = "published"
    """Layers of encoder and decoder; small is for 84 x 84 gray frames on a CPU, tiny for frames of
    a few pixels."""
    deter: int = 512
    """Units of the deterministic part of the state, a GRU."""
    units: int = 512
    """Units of the hidden layers."""
    groups: int = 32
    """Categorical variables of a latent."""
    classes: int = 32
    """Classes of each variable."""
    uniform_mix: float = 0.01
    """Weight of the uniform distribution in those of the classes, between 0 and 1: without it a
    class may have probability 0, and a KL divergence be nan."""
    dyn_coef: float = 0.5
    """Coefficient of the KL divergence that trains the prior."""
    rep_coef: float = 0.1
    """Coefficient of the KL divergence that trains the posterior."""
    free_nats: float = 1.0
    """Nats below which a KL divergence of a timestep is not reduced."""
    pixel_std: float = math.sqrt(0.5)
    """Standard deviation of a pixel in 0..1 given the state; half its squared error is divided by
    the square of it. By default the loss is the sum of squared errors, as published."""
    context: int = 8
    """Observations of which the state of the first prediction consists."""
    segment_length: int = 64
    """Steps of the segments that it learns from."""
    batch_size: int = 16
    """Segments per update."""
    learning_rate: float = 1e-4
    """Adam's."""

    def __post_init__(self) -> None:
        check(self, "predictor", at_least(1), "deter", "units", "groups")
        check(self, "predictor", at_least(2), "classes")
        check(self, "predictor", at_least(1), "context", "segment_length", "batch_size")
        check(self, "predictor", at_least(0), "dyn_coef", "rep_coef", "free_nats")
        check(self, "predictor", above(0), "uniform_mix", "pixel_std", "learning_rate")
        check(self, "predictor", below(1), "uniform_mix")

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "RSSM":
        return RSSM(
            self, obs_shape, num_actions, channels, seed=seed, device=device, precision=precision
        )


SMALL_RSSM = RSSMConfig(
    size="small",
    deter=256,
    units=256,
    groups=16,
    classes=16,
    pixel_std=1.0,
    segment_length=16,
    learning_rate=3e-4,
)
"""For 84 x 84 gray frames on a CPU."""

TINY_RSSM = RSSMConfig(
    size="tiny",
    deter=128,
    units=128,
    groups=8,
    classes=8,
    free_nats=0.1,
    pixel_std=0.1,
    context=4,
    segment_length=8,
    batch_size=32,
    learning_rate=3e-3,
)
"""For the frames of Catch, DeepSea and MinAtar: what moves is a few pixels, and a nat is much of
what happens in a step, so pixels weigh more and fewer nats are free."""


class RSSM(HasState):
    """A ``LatentPredictor`` of frames whose posterior reads whole observations, all their frames.

    Before a prediction it takes the most probable class of each variable of the posterior, so that
    a state is a function of the observations; predicted ones are drawn from the prior. Raises
    UsageError for observations of another shape and, on a CPU, for actions out of range.
    """

    STATE = ("network", "heads", "optimizer", "mean_frame", "seed", "updates")

    def __init__(
        self,
        config: RSSMConfig,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int,
        *,
        seed: int,
        device: torch.device | str,
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.precision, self.seed = config, precision, seed
        self.obs_shape, self.num_actions, self.channels = obs_shape, num_actions, channels
        self.context, self.device = config.context, torch.device(device)
        self.batch_shape = config.batch_size, config.segment_length
        self.num_features = config.deter + config.groups * config.classes
        with prng.seeded(seed):
            network = RSSMNetwork(
                obs_shape,
                num_actions,
                channels,
                size=config.size,
                deter=config.deter,
                units=config.units,
                groups=config.groups,
                classes=config.classes,
                uniform_mix=config.uniform_mix,
            )
            initialize(network)
            self.heads = RewardDiscountHeads(config.units, "two-hot")
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.heads.to(device)
        self.mean_frame = MeanFrame((channels, *obs_shape[1:]), device)
        self.parameters = [*network.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.learning_rate, fused=True)
        self.updates = 0

    def fit_mean(self, frames: UInt8[Tensor, "M C H W"]) -> None:
        """Set the mean frame; without a call, the first update fits it to its own frames."""
        self.mean_frame.fit(frames)

    def initial(self, n: int) -> Carry:
        rng = prng.initial_rng(self.seed, prng.Purpose.DREAM, n)
        return {
            "deter": torch.zeros(n, self.config.deter, device=self.device),
            "latent": torch.zeros(n, self.config.groups * self.config.classes, device=self.device),
            "rng": rng.to(self.device),  # a default; callers replace it with keys of their own
        }

    @torch.no_grad()
    def observe(
        self,
        carry: Carry,
        action: Int64[Tensor, " B"],
        obs: UInt8[Tensor, "B K H W"],
        first: Bool[Tensor, " B"],
    ) -> Carry:
        check_obs_shape(obs[:, None], self.obs_shape)
        keep = ~first.to(self.device)[:, None]
        one_hot = one_hot_actions(action.to(self.device), self.num_actions)
        with self.precision.autocast(self.device):
            embedding = self.network.encoder(self.mean_frame.center(obs.to(self.device)))
            deter = self.network.advance(
                carry["deter"] * keep, carry["latent"] * keep, one_hot * keep
            )
            mode = self.network.posterior(deter, embedding).argmax(2)
        latent = encode_classes(mode, self.config.classes)
        return {"deter": deter, "latent": latent, "rng": carry["rng"]}

    def start(
        self,
        obs: UInt8[Tensor, "B F K H W"],
        action: Int64[Tensor, "B F1"],
        first: Bool[Tensor, "B F"],
    ) -> Carry:
        state = filtered_states(self, obs, action, first)[-1]
        return {"obs": obs[:, -1].to(self.device)} | state

    def features(self, carry: Carry) -> UInt8[Tensor, "B 1 1 D"]:
        """Return h and z as bytes: -1..1 as 0..255, and 0 or 1 as 0 or 255."""
        deter = ((carry["deter"] + 1) * 127.5).round_()
        return torch.cat([deter, carry["latent"] * 255], 1).to(torch.uint8)[:, None, None]

    @torch.no_grad()
    def predict_latent(
        self, carry: Carry, action: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"], Carry]:
        one_hot = one_hot_actions(action, self.num_actions)
        with self.precision.autocast(self.device):
            deter = self.network.advance(carry["deter"], carry["latent"], one_hot)
            latent = sample_classes(self.network.prior(deter), carry["rng"])
            features = self.network.head_layers(torch.cat([deter, latent], 1))
            reward, discount = self.heads.predict(features)
        rng = prng.next_rng(carry["rng"])
        return reward, discount, {"deter": deter, "latent": latent, "rng": rng}

    @torch.no_grad()
    def predict(self, carry: Carry, action: Int64[Tensor, " B"]) -> tuple[Prediction, Carry]:
        reward, discount, state = self.predict_latent(carry, action)
        with self.precision.autocast(self.device):
            frame = self.network.decoder(torch.cat([state["deter"], state["latent"]], 1))
        frame = self.mean_frame.to_bytes(frame)
        obs = torch.cat([carry["obs"][:, self.channels :], frame], 1)
        return Prediction(obs, reward, discount), {"obs": obs} | state

    def update(self, segment: Segment) -> Metrics:
        """Take a gradient step on the mean loss over all observations of the segments."""
        check_obs_shape(segment.obs, self.obs_shape)
        self.mean_frame.fit_first(segment)
        loss, metrics = self.loss(segment)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, GRADIENT_CLIP)
        self.optimizer.step()
        self.updates += 1
        return metrics

    def loss(self, segment: Segment) -> tuple[Float[Tensor, ""], Metrics]:
        """Return the loss of segments, and its terms; steps after an end count 0.

            mean over observations of  |x' - x|^2 / (2 pixel_std^2)
                + dyn_coef max(free_nats, KL(sg(q) || p)) + rep_coef max(free_nats, KL(q || sg(p)))
            + mean over steps of the loss of the heads

        x' is the decoded and x the newest true frame, both in 0..1; sg stops the gradient. A state
        is drawn from the posterior, the first with a prior that knows nothing.
        """
        obs, network = segment.obs.to(self.device), self.network
        batch, timesteps = segment.action.shape
        one_hot = one_hot_actions(segment.action.to(self.device), self.num_actions)
        actions = torch.cat([torch.zeros_like(one_hot[:, :1]), one_hot], 1)
        rng = prng.initial_rng(self.seed, prng.Purpose.TRAIN, batch) + self.updates
        rng = prng.splitmix64(rng).to(self.device)
        state = self.initial(batch)
        deter, latent = state["deter"], state["latent"]
        deters: list[Tensor] = []
        latents: list[Tensor] = []
        posteriors: list[Tensor] = []
        with self.precision.autocast(self.device):
            embedding = network.encoder(self.mean_frame.center(obs.flatten(0, 1)))
            for t, encoded in enumerate(embedding.unflatten(0, (batch, timesteps + 1)).unbind(1)):
                deter = network.advance(deter, latent, actions[:, t])
                posterior = network.posterior(deter, encoded)
                latent = sample_classes(posterior, rng)
                latent = latent + (posterior - posterior.detach()).flatten(1)
                rng = prng.next_rng(rng)
                deters.append(deter)
                latents.append(latent)
                posteriors.append(posterior)
            states = torch.cat([torch.stack(deters, 1), torch.stack(latents, 1)], 2)
            frames = network.decoder(states.flatten(0, 1)).float()
            prior = network.prior(torch.cat(deters))
            reward, discount = (
                x.to(self.device, torch.float32).flatten()
                for x in (segment.reward, segment.discount)
            )
            features = network.head_layers(states[:, 1:].flatten(0, 1))
            heads = self.heads.loss(features, reward, discount).view(batch, timesteps)
        target = self.mean_frame.center(obs[:, :, -self.channels :].flatten(0, 1))
        squared_errors = (frames - target).square().sum((1, 2, 3)).view(batch, timesteps + 1)
        posterior = torch.cat(posteriors)
        dyn, rep, kl = (
            x.view(timesteps + 1, batch).T
            for x in (
                categorical_kl(posterior.detach(), prior).clamp(min=self.config.free_nats),
                categorical_kl(posterior, prior.detach()).clamp(min=self.config.free_nats),
                categorical_kl(posterior, prior).detach(),
            )
        )
        weight = observation_weights(segment).to(self.device)
        of_steps = weight[:, 1:]
        squared_error, kl_loss, kl_mean = (
            (x * weight).sum() / weight.sum()
            for x in (squared_errors, self.config.dyn_coef * dyn + self.config.rep_coef * rep, kl)
        )
        of_heads = (heads * of_steps).sum() / of_steps.sum().clamp(min=1)
        loss = squared_error / (2 * self.config.pixel_std**2) + kl_loss + of_heads
        return loss, {
            "loss": loss.detach(),
            "squared_error": squared_error.detach() * 255**2 / self.mean_frame.value.numel(),
            "heads": of_heads.detach(),
            "kl": kl_mean,
        }
