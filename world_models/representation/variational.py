"""Representations by variational inference: updates on a bound, and keys.

The latent-variable model, the bound and the estimator of its gradient are chosen independently of
each other. With beta above 1 it is the beta-VAE of Higgins et al. 2017.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ...envs.checks import above, at_least, check, refuse, within
from ...envs.errors import NumericalError
from ...envs.interface import Metrics, Segment
from ...envs.prng import fold_in, seeded
from ..inference.bounds import ELBO, IWAE, Weights, analytic_elbo
from ..inference.estimators import Baseline, Estimator, surrogate
from ..interface import RepresentationConfig
from ..latents.interface import ConditionalModel, LabeledModel, LatentConfig, LatentModel
from ..latents.vae import VAEConfig
from ..precision import FLOAT32, InferenceCopy, Precision
from ..state import HasState
from .segments import check_obs, check_segment


@dataclass(frozen=True)
class VariationalConfig(RepresentationConfig):
    """A latent-variable model trained on a bound, by default the ELBO by Adam.

    The RMSProp of Blundell et al. 2016 takes 400,000 updates.
    """

    trainable: ClassVar[bool] = True
    """Whether ``update`` trains it."""

    latent: LatentConfig = VAEConfig()
    """The latent-variable model: its networks, its code and its likelihood of pixels."""
    alpha: float = ELBO
    """The bound to maximize: 1 for the ELBO, 0 importance-weighted, -inf VR-max."""
    samples: int = 1
    """Codes sampled per frame."""
    estimator: Estimator = "pathwise"
    """Estimator of the bound's gradient; binary codes have no pathwise gradient."""
    beta: float = 1.0
    """Weight of the KL term: above 1 for a beta-VAE (Higgins et al. 2017)."""
    free_bits: float = 0.0
    """KL of each latent that is not penalized, in nats; for the ELBO with analytic KL only."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Optimizer of the bound, with torch's settings but the learning rate."""
    learning_rate: float = 1e-3
    """Initial learning rate of the optimizer."""
    max_grad_norm: float = 2000.0
    """Largest norm of the bound's gradient, in nats per frame. At 84 x 84 pixels it clips most
    gradients, so that a batch with an unusually large one takes no larger step."""
    anneal_updates: int = 0
    """Updates over which the learning rate decays linearly to 0; 0 keeps it constant."""

    def __post_init__(self) -> None:
        role = "representation"
        check(self, role, at_least(1), "samples")
        check(self, role, at_least(0), "beta", "free_bits", "anneal_updates")
        check(self, role, within(-math.inf, math.inf), "alpha")
        check(self, role, above(0), "learning_rate", "max_grad_norm")
        if self.free_bits != 0 and not (self.alpha == ELBO and self.estimator == "pathwise"):
            refuse(self, role, "free_bits", "0 unless alpha is 1 and estimator is pathwise")
        if self.free_bits != 0 and not self.latent.has_divergence:
            refuse(self, role, "free_bits", "0, as the KL of this latent has no closed form")
        if self.estimator == "vimco" and self.samples < 2:
            refuse(self, role, "samples", "2 or more with estimator vimco")
        if self.estimator == "pathwise" and self.latent.score_codes:
            allowed = "nvil or vimco (see representation:NAME), as codes have no pathwise gradient"
            refuse(self, role, "estimator", allowed)

    @classmethod
    def of(cls, latent: LatentConfig) -> "VariationalConfig":
        """Return the usual bound and estimator of a model.

        Codes without a pathwise gradient have VIMCO on the importance-weighted bound of 4 samples.
        """
        if latent.score_codes:
            return cls(latent, alpha=IWAE, samples=4, estimator="vimco")
        return cls(latent)

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "VariationalRepresentation":
        with seeded(seed):
            model = self.latent.build(obs_shape)
        return VariationalRepresentation(
            self, model, obs_shape, seed=seed, device=device, precision=precision
        )


class VariationalRepresentation(HasState):
    """A representation trained on a bound; each update has its own seed.

    Raises UsageError for frames of another shape, NumericalError if the bound is not finite.
    """

    STATE = ("model", "baseline", "optimizer", "seed", "num_updates")

    def __init__(
        self,
        config: VariationalConfig,
        model: LatentModel,
        obs_shape: tuple[int, int, int],
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.obs_shape, self.precision = config, obs_shape, precision
        self.seed, self.device = seed, torch.device(device)
        self.dim, self.segment_length = model.dim, model.segment_length
        with seeded(seed):
            self.baseline = Baseline(model.num_features)
        self.model: LatentModel = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.baseline.to(device)
        self.num_updates = 0
        self._inference_copy = InferenceCopy(self.model, precision)
        self._stale = False  # whether the copy is of earlier weights
        parameters = [*self.model.parameters()]
        if config.estimator == "nvil":
            parameters += self.baseline.parameters()
        optimizer = torch.optim.Adam if config.optimizer == "adam" else torch.optim.RMSprop
        self.optimizer = optimizer(parameters, lr=config.learning_rate, foreach=True)

    def update(self, segment: Segment) -> Metrics:
        """Take one gradient step on the bound; the metrics are in nats per frame."""
        check_segment(segment, self.obs_shape, self.segment_length)
        x = self.model.prepare(segment.obs[:, 0].to(self.device))
        if self.num_updates == 0:
            self.model.initialize_from(x)
        with torch.enable_grad(), seeded(fold_in(self.seed, self.num_updates), self.device):
            value, weights = self._surrogate(x, self._weigh(segment))
            objective = value.mean()
            if not objective.isfinite():
                raise NumericalError(
                    f"The representation's bound is {objective.item()} at its update "
                    f"{self.num_updates}, which was skipped; lower its learning_rate."
                )
            self._anneal_learning_rate()
            self.optimizer.zero_grad()
            (-objective).backward()
        # Not the baseline's gradient, which is of its squared error, in nats squared.
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self._stale = True
        self.baseline.update_statistics(value.detach())
        self.num_updates += 1
        return {
            "representation/bound": objective.detach(),
            "representation/log_likelihood": weights.log_likelihood.mean().detach(),
            "representation/kl": (weights.log_posterior - weights.log_prior).mean().detach(),
        }

    @torch.no_grad()
    def encode(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        check_obs(obs, self.obs_shape)
        with self.precision.autocast(self.device):
            key: Tensor = self._inference_model().key(self.model.prepare(obs.to(self.device)))
        return key.float()

    @torch.no_grad()
    def weigh(self, frames: UInt8[Tensor, "B K H W"], samples: int) -> Weights:
        """Sample codes of frames and return their log-probabilities, in float32."""
        check_obs(frames, self.obs_shape)
        return self.model.weigh(self.model.prepare(frames.to(self.device)), samples)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._stale = True

    def _inference_model(self) -> LatentModel:
        if self._stale:
            self._inference_copy.refresh()
            self._stale = False
        network: LatentModel = self._inference_copy.network
        return network

    def _weigh(self, segment: Segment) -> Callable[..., Weights]:
        """Return what weighs the first observations of segments, given what else these hold."""
        model = self.model
        if isinstance(model, LabeledModel):
            return partial(model.weigh_labeled, labels=model.labels(segment).to(self.device))
        if isinstance(model, ConditionalModel):
            model = model.given_segment(segment)
        return model.weigh

    def _surrogate(
        self, x: Tensor, weigh: Callable[..., Weights]
    ) -> tuple[Float[Tensor, " B"], Weights]:
        """Return the surrogate of each frame's bound, and the weights it is computed from."""
        config, pathwise = self.config, self.config.estimator == "pathwise"
        with self.precision.autocast(self.device):
            weights = weigh(x, samples=config.samples, pathwise=pathwise or self.model.score_codes)
        if pathwise and config.alpha == ELBO and weights.divergence is not None:
            value = analytic_elbo(
                weights.log_likelihood,
                weights.divergence,
                beta=config.beta,
                free_bits=config.free_bits,
            )
        else:
            log_weights = weights.log_weights(config.beta)
            baseline = torch.zeros_like(log_weights[0])
            if config.estimator == "nvil":
                baseline = self.baseline(self.model.features(x))
            value = surrogate(
                config.estimator,
                log_weights,
                weights.log_score,
                baseline,
                alpha=config.alpha,
            )
        return value, weights

    def _anneal_learning_rate(self) -> None:
        if self.config.anneal_updates:
            fraction = max(1 - self.num_updates / self.config.anneal_updates, 0.0)
            self.optimizer.param_groups[0]["lr"] = fraction * self.config.learning_rate
