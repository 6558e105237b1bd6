"""What representations by variational inference share: one gradient step on a bound, and keys.

The model is a ``LatentVariableModel``; the bound and the estimator of its gradient are chosen apart
from it (``world_models.inference``).
"""

from abc import abstractmethod
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.distributions import Distribution

from envs.checks import above, at_least, check, refuse
from envs.dice import fold, seeded
from envs.errors import NumericalError, UsageError
from envs.interface import Metrics
from world_models.arithmetic import arithmetic, rounded
from world_models.inference.bounds import ELBO, Weights, analytic_elbo, draw_weights
from world_models.inference.estimators import Baseline, Estimator, surrogate
from world_models.interface import RepresentationConfig
from world_models.optimizers import load_optimizer
from world_models.representation.networks import HIDDEN


@dataclass(frozen=True)
class VariationalConfig(RepresentationConfig):
    """The bound, the estimator of its gradient and the optimiser of a latent-variable model."""

    learns: ClassVar[bool] = True

    alpha: float = ELBO
    """Which bound is raised: 1 the ELBO, 0 the importance-weighted one, -inf the best sample's."""
    samples: int = 1
    """Codes drawn for each frame."""
    estimator: Estimator = "pathwise"
    """How the bound's gradient is estimated; binary codes have no pathwise one."""
    beta: float = 1.0
    """Weight of the code's cost: above 1 for a beta-VAE (Higgins et al. 2017)."""
    free_bits: float = 0.0
    """Nats that each latent may cost unpunished, where the ELBO's divergence is known."""
    optimiser: Literal["adam", "rmsprop"] = "adam"
    learning_rate: float = 1e-3
    gradient_clip: float = 2000.0
    """Greatest norm of the bound's gradient, in nats a frame; of an 84 x 84 frame's it clips most,
    and a batch whose gradient is ten times the usual one then takes a step like any other."""
    decay_steps: int = 0
    """Updates over which the learning rate falls to 0 in a straight line; 0 keeps it constant."""

    def __post_init__(self) -> None:
        role = "representation"
        check(self, role, at_least(1), "samples")
        check(self, role, at_least(0), "beta", "decay_steps")
        check(self, role, above(0), "learning_rate", "gradient_clip")
        if self.free_bits != 0 and not (self.alpha == ELBO and self.estimator == "pathwise"):
            refuse(self, role, "free_bits", "0 but with alpha 1 and pathwise")
        if self.estimator == "vimco" and self.samples < 2:
            wanted = "2 or more with the estimator vimco, which judges codes by one another"
            refuse(self, role, "samples", wanted)


class VariationalModel(nn.Module):
    """A latent-variable model of frames, with keys."""

    dim: int
    """Length of a key, whose first ``latent`` numbers are the means of a code."""
    latent: int
    spacing: float
    """Distance of two levels of a pixel in the likelihood's units; 1 where it is discrete."""

    @abstractmethod
    def prepare(self, frames: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        """Frames as the values that the likelihood is of."""

    @abstractmethod
    def start_from(self, x: Float[Tensor, "B K H W"]) -> None:
        """Set each pixel's own bias from the first batch (after Salimans & Kingma 2016, sec. 3)."""

    @abstractmethod
    def prior(self) -> Distribution: ...

    @abstractmethod
    def posterior(self, x: Float[Tensor, "B K H W"]) -> Distribution: ...

    @abstractmethod
    def likelihood(self, z: Float[Tensor, "*S D"]) -> Distribution: ...

    @abstractmethod
    def key(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        """What stands for a frame: parameters of its posterior, no draw from it."""

    @abstractmethod
    def divergence(self, posterior: Distribution) -> Float[Tensor, "B D"] | None:
        """KL(q(z_d | x) || p(z_d)) of each latent, where it is known."""

    @abstractmethod
    def features(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        """What NVIL's baseline reads."""


class VariationalRepresentation:
    """A model fitted by a bound; each of its steps draws from a seed of its own.

    Raises UsageError for frames it cannot learn from, NumericalError where the bound is no number.
    """

    def __init__(
        self,
        config: VariationalConfig,
        model: VariationalModel,
        obs_shape: tuple[int, int, int],
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.obs_shape, self.arithmetic = config, obs_shape, arithmetic()
        self.seed, self.device, self.dim = seed, torch.device(device), model.dim
        with seeded(seed):
            self.baseline = Baseline(HIDDEN)
        self.model: VariationalModel = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.baseline.to(device)
        self.steps = 0
        self._rounded: VariationalModel | None = None
        parameters = [*self.model.parameters()]
        if config.estimator == "nvil":
            parameters += self.baseline.parameters()
        kind = torch.optim.Adam if config.optimiser == "adam" else torch.optim.RMSprop
        self.optimiser = kind(parameters, lr=config.learning_rate, foreach=True)

    def update(self, frames: UInt8[Tensor, "B K H W"]) -> Metrics:
        """One step up the bound; the metrics are in nats a frame."""
        self._check(frames)
        x = self.model.prepare(frames.to(self.device))
        if self.steps == 0:
            self.model.start_from(x)
        with torch.enable_grad(), seeded(fold(self.seed, self.steps), self.device):
            value, weights = self._surrogate(x)
            objective = value.mean()
            if not objective.isfinite():
                raise NumericalError(
                    f"The representation's bound came out as {objective.item()} at its step "
                    f"{self.steps}, and it has not learned from that; "
                    "a smaller learning_rate may help."
                )
            self._set_rate()
            self.optimiser.zero_grad()
            (-objective).backward()  # type: ignore[no-untyped-call]
        # The baseline's gradient is in nats squared, and not of the bound.
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.optimiser.step()
        self._rounded = None
        self.baseline.note(value.detach())
        self.steps += 1
        return {
            "representation/bound": objective.detach(),
            "representation/log_likelihood": weights.log_likelihood.mean().detach(),
            "representation/code": (weights.log_posterior - weights.log_prior).mean().detach(),
        }

    @torch.no_grad()
    def encode(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        self._check(obs)
        with self.arithmetic.multiplying(self.device):
            key: Tensor = self._looking().key(self.model.prepare(obs.to(self.device)))
        return key.float()

    @torch.no_grad()
    def weigh(self, frames: UInt8[Tensor, "B K H W"], samples: int) -> Weights:
        """Codes of frames drawn and weighed, in full precision: for held-out bounds."""
        self._check(frames)
        return draw_weights(self.model, self.model.prepare(frames.to(self.device)), samples)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": deepcopy(self.model.state_dict()),
            "baseline": deepcopy(self.baseline.state_dict()),
            "optimiser": deepcopy(self.optimiser.state_dict()),
            "seed": self.seed,
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.baseline.load_state_dict(state["baseline"])
        load_optimizer(self.optimiser, state["optimiser"])
        self._rounded = None
        self.seed, self.steps = state["seed"], state["steps"]

    def _looking(self) -> VariationalModel:
        """The model, with weights that are rounded once until it learns again."""
        if self.arithmetic.precision == "fp32":
            return self.model
        if self._rounded is None:
            self._rounded = rounded(self.model, self.arithmetic.dtype)
        return self._rounded

    def _surrogate(self, x: Float[Tensor, "B K H W"]) -> tuple[Float[Tensor, " B"], Weights]:
        """The bound of each frame, whose gradient is the estimator's, and what it was made of."""
        config, pathwise = self.config, self.config.estimator == "pathwise"
        with self.arithmetic.multiplying(self.device):
            posterior = self.model.posterior(x)
            weights = draw_weights(
                self.model, x, config.samples, pathwise=pathwise, posterior=posterior
            )
        divergence = self.model.divergence(posterior)
        if pathwise and config.alpha == ELBO and divergence is not None:
            value = analytic_elbo(
                weights.log_likelihood, divergence, beta=config.beta, free_bits=config.free_bits
            )
        else:
            expected = self.baseline(self.model.features(x))
            value = surrogate(
                config.estimator,
                weights.log(config.beta),
                weights.log_posterior,
                expected,
                alpha=config.alpha,
            )
        return value, weights

    def _set_rate(self) -> None:
        if self.config.decay_steps:
            left = max(1 - self.steps / self.config.decay_steps, 0.0)
            self.optimiser.param_groups[0]["lr"] = left * self.config.learning_rate

    def _check(self, frames: UInt8[Tensor, "B K H W"]) -> None:
        if len(frames) == 0:
            raise UsageError("The batch of frames is empty; give at least one frame.")
        if tuple(frames.shape[1:]) != self.obs_shape:
            raise UsageError(
                f"The frames have shape {tuple(frames.shape[1:])}, but this representation was "
                f"built for {self.obs_shape}; build it for frames of that kind."
            )
