"""Random network distillation (RND), Burda et al. 2018: novelty as an error of prediction.

A predictor learns the outputs of a fixed random network. It errs little on frames like those that
it was trained on, and much on others. Networks and settings are those of CleanRL's
``ppo_rnd_envpool``.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ...envs import prng
from ...envs.checks import above, at_least, check, refuse, within
from ...envs.interface import EnvSpec, Transition
from ...world_models.precision import FLOAT32, Precision
from ...world_models.state import HasState
from ..networks import AutoConfig, NetworkConfig, orthogonal_
from .bonus import BonusConfig, bonus_of_next, check_finite
from .running_moments import RunningMoments

CLIP = 5.0
"""Whitened pixels are clipped to plus or minus this value (Burda et al. 2018, section 2.4)."""


@dataclass(frozen=True)
class RNDConfig(BonusConfig):
    """Random network distillation with the settings of CleanRL, which count frames of all envs."""

    in_order = False

    scale: float = 1.0
    """Scale of the bonus, whose discounted sum has a standard deviation of 1."""
    network: NetworkConfig = AutoConfig()
    """Architecture of the random network, without a last rectifier. The predictor has two more
    layers, and convolutions are followed by leaky rectifiers."""
    int_gamma: float = 0.99
    """Discount factor of the sums by whose standard deviation bonuses are divided."""
    initial_frames: int = 1_000
    """Frames that are measured before a bonus is paid, and a frame learned; CleanRL plays 50
    rollouts at random, 819,200 frames."""
    update_every: int = 1_024
    """Frames after which the predictor learns them: a rollout of 8 envs, and 16,384 in CleanRL."""
    update_epochs: int = 4
    """Passes over these frames."""
    num_minibatches: int = 4
    """Minibatches per epoch, one update each."""
    update_proportion: float = 0.25
    """Probability with which a frame of a minibatch is learned."""
    learning_rate: float = 1e-4
    """Learning rate of Adam."""

    def __post_init__(self) -> None:
        check(self, "bonus", at_least(0), "scale", "initial_frames")
        check(self, "bonus", at_least(1), "update_every", "update_epochs", "num_minibatches")
        check(self, "bonus", within(0, 1), "int_gamma", "update_proportion")
        check(self, "bonus", above(0), "learning_rate")
        if self.int_gamma == 1:
            refuse(self, "bonus", "int_gamma", "below 1, since returns do not end with episodes")

    def example(self) -> "RNDConfig":
        return replace(self, initial_frames=8, update_every=16, num_minibatches=2)

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "RND":
        return RND(self, spec, seed=seed, device=device, precision=precision)


class RND(HasState):
    """A bonus of half the squared error |predictor(x) - target(x)|^2, over a running deviation.

    x is the frame, each pixel scaled to mean 0 and deviation 1 of all frames so far, and clipped.
    The deviation is that of R_t = gamma R_{t-1} + error, which goes on across episodes, in all envs
    so far. Other than in CleanRL, which waits for the end of a rollout, both are those up to and
    including the present timestep; and R_t is the sum over the timesteps of an env, where CleanRL's
    transposed array sums over envs. Raises NumericalError if an error is not finite.
    """

    STATE = (
        "target", "predictor", "optimizer", "pixels", "sums", "of_sums", "num_frames",
        "frames", "num_epochs",
    )  # fmt: skip
    BUFFERS = ("frames",)

    def __init__(
        self,
        config: RNDConfig,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.seed, self.precision = config, seed, precision
        self.device = torch.device(device)
        shape = spec.channels, *spec.obs_shape[1:]
        with prng.seeded(seed):
            target, predictor = (linear_features(config.network, shape) for _ in range(2))
            size = predictor(torch.zeros(1, *shape)).shape[1]
            for _ in range(2):
                predictor.extend([nn.ReLU(), nn.Linear(size, size)])
            for network in (target, predictor):
                orthogonal_(network)
        self.target = target.to(device).requires_grad_(False)
        self.predictor = predictor.to(device)
        self.optimizer = torch.optim.Adam(
            predictor.parameters(), lr=config.learning_rate, eps=1e-5, fused=True
        )
        self.pixels = RunningMoments(shape, device)
        self.sums = torch.zeros(spec.num_envs, device=device)
        """The discounted sum of errors of each env, R_t."""
        self.of_sums = RunningMoments((), device)
        self.num_frames = 0
        self.frames: list[Tensor] = []
        """Frames to be learned, in host memory."""
        self.num_epochs = 0

    def __call__(self, t: Transition) -> Float[Tensor, " N"]:
        valid = t.valid
        return bonus_of_next(t, t.next_step.frame, lambda frames: self.observe(frames, valid))

    def observe(
        self, frames: UInt8[Tensor, "n C H W"], valid: Bool[Tensor, " N"]
    ) -> Float[Tensor, " n"]:
        """Learn the frames of the valid envs and return each one's bonus.

        Raises NumericalError if an error is not finite.
        """
        on_device = frames.to(self.device)
        self.pixels.update(on_device)
        self.num_frames += len(frames)
        error = check_finite(self.error(on_device), "prediction error of RND")
        sums = self.sums[valid] = self.config.int_gamma * self.sums[valid] + error
        self.of_sums.update(sums)
        if self.num_frames <= self.config.initial_frames:
            return torch.zeros_like(error)
        self.frames.append(frames.cpu())
        if sum(len(x) for x in self.frames) >= self.config.update_every:
            self._learn(torch.cat(self.frames))
            self.frames = []
        return self.config.scale * (error / self.of_sums.std).float()

    @torch.no_grad()
    def error(self, frames: UInt8[Tensor, "n C H W"]) -> Float[Tensor, " n"]:
        """Return the error of the predictor, half the squared distance, without an update."""
        predicted, target = self._outputs(frames)
        return (predicted - target).square().sum(1) / 2

    def _outputs(
        self, frames: UInt8[Tensor, "n C H W"]
    ) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n D"]]:
        x = self.pixels.whiten(frames, CLIP)
        with self.precision.autocast(self.device):
            predicted, target = self.predictor(x), self.target(x)
        return predicted.float(), target.float()

    def _learn(self, frames: UInt8[Tensor, "n C H W"]) -> None:
        """Update the predictor for several epochs, on a random part of the frames in each."""
        config, n = self.config, len(frames)
        for _ in range(config.update_epochs):
            rng = torch.tensor([prng.fold_in(self.seed, self.num_epochs)])
            order, chance = prng.bits(rng, 2 * n, prng.Purpose.SAMPLE)[0].chunk(2)
            chosen = prng.to_uniform(chance) < config.update_proportion
            self.num_epochs += 1
            for rows in order.argsort().tensor_split(config.num_minibatches):
                rows = rows[chosen[rows]]
                if len(rows):
                    loss = functional.mse_loss(*self._outputs(frames[rows].to(self.device)))
                    self.optimizer.zero_grad()
                    loss.backward()
                    self.optimizer.step()


def linear_features(network: NetworkConfig, shape: tuple[int, int, int]) -> nn.Sequential:
    """Return the layers of a network up to its last linear one, with leaky convolutions."""
    layers = list(network.build(shape).layers.children())
    if isinstance(layers[-1], nn.ReLU):
        layers.pop()
    for i, layer in enumerate(layers[:-1]):
        if isinstance(layer, nn.Conv2d) and isinstance(layers[i + 1], nn.ReLU):
            layers[i + 1] = nn.LeakyReLU()
    return nn.Sequential(*layers)
