"""Self-supervised representations: encoders trained on a task whose answers observations hold.

The encoder is that of the VAE (Blundell et al. 2016, section 3.1), without a decoder. The other
networks of a task are of no use but to train it.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ...envs.checks import above, at_least, check
from ...envs.errors import NumericalError
from ...envs.interface import Metrics, Segment
from ...envs.prng import fold_in, seeded
from ..interface import RepresentationConfig
from ..latents.networks import Encoder
from ..precision import FLOAT32, Precision
from ..state import HasState
from .segments import check_obs, check_segment


class Task(nn.Module):
    """Base of the tasks: the encoder of keys, and the loss that trains it."""

    segment_length = 0
    """Timesteps of the segments that the loss is of."""

    def __init__(self, obs_shape: tuple[int, int, int], dim: int) -> None:
        super().__init__()
        self.encoder = Encoder(obs_shape, dim)

    def initialize_from(self, x: Float[Tensor, "B K H W"]) -> None:
        """Set what depends on the statistics of frames, from a first batch in 0..1."""
        self.encoder.initialize_from(x)

    def loss(self, segment: Segment) -> tuple[Float[Tensor, ""], Metrics]:
        """Return the loss of a batch, and metrics without gradients."""
        raise NotImplementedError

    def pixels(self, obs: UInt8[Tensor, "*B K H W"]) -> Float[Tensor, "*B K H W"]:
        """Return observations in 0..1, on the device of the encoder."""
        return obs.to(self.encoder.mean.device) / 255

    def encode(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        """Return the code of each observation."""
        code: Tensor = self.encoder(self.pixels(obs))
        return code


@dataclass(frozen=True)
class SelfSupervisedConfig(RepresentationConfig):
    """Base of the configs of self-supervised representations."""

    trainable: ClassVar[bool] = True
    """Whether ``update`` trains it."""
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    """Decay rates of Adam's moments."""

    dim: int = 64
    """Length of a key."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""

    def __post_init__(self) -> None:
        check(self, "representation", at_least(1), "dim")
        check(self, "representation", above(0), "learning_rate")

    def task(self, obs_shape: tuple[int, int, int]) -> Task:
        """Return the untrained networks."""
        raise NotImplementedError

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "SelfSupervised":
        with seeded(seed):
            task = self.task(obs_shape)
        return SelfSupervised(self, task, obs_shape, seed=seed, device=device, precision=precision)


class SelfSupervised(HasState):
    """A representation trained on a task by Adam; each update has its own seed.

    Raises UsageError for frames of another shape or segments that are too short, NumericalError if
    the loss is not finite.
    """

    STATE = ("task", "optimizer", "seed", "num_updates")

    def __init__(
        self,
        config: SelfSupervisedConfig,
        task: Task,
        obs_shape: tuple[int, int, int],
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> None:
        self.dim, self.segment_length = config.dim, task.segment_length
        self.obs_shape, self.precision = obs_shape, precision
        self.seed, self.device, self.num_updates = seed, torch.device(device), 0
        self.task: Task = task.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(
            self.task.parameters(), lr=config.learning_rate, betas=config.betas, foreach=True
        )

    def update(self, segment: Segment) -> Metrics:
        """Take one gradient step on the task's loss."""
        check_segment(segment, self.obs_shape, self.segment_length)
        if self.num_updates == 0:
            self.task.initialize_from(self.task.pixels(segment.obs[:, 0]))
        loss, metrics = self._loss(segment)
        if not loss.isfinite():
            raise NumericalError(
                f"The representation's loss is {loss.item()} at its update "
                f"{self.num_updates}, which was skipped; lower its learning_rate."
            )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.num_updates += 1
        return metrics

    def evaluate(self, segment: Segment) -> Metrics:
        """Return the metrics of an update, without it."""
        check_segment(segment, self.obs_shape, self.segment_length)
        return self._loss(segment)[1]

    @torch.no_grad()
    def encode(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        check_obs(obs, self.obs_shape)
        with self.precision.autocast(self.device):
            return self.task.encode(obs)

    @torch.enable_grad()
    def _loss(self, segment: Segment) -> tuple[Float[Tensor, ""], Metrics]:
        """Return the loss with the noise of the present update, and the metrics by full name."""
        rng = fold_in(self.seed, self.num_updates)
        with seeded(rng, self.device), self.precision.autocast(self.device):
            loss, metrics = self.task.loss(segment)
        return loss, {f"representation/{name}": x for name, x in metrics.items()}
