"""Exploration bonuses: intrinsic rewards by the novelty of frames.

A bonus reads the newest frame of a transition's next observation. It learns the frames of a
timestep in the order of the envs. At autoreset timesteps it is 0 and learns nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.errors import NumericalError
from ...envs.interface import EnvSpec, Stateful, Transition
from ...world_models.precision import FLOAT32, Precision
from ...world_models.state import HasState


@runtime_checkable
class Bonus(Stateful, Protocol):
    """An intrinsic reward, which learns from the transitions that it is computed for."""

    def __call__(self, t: Transition) -> Float[Tensor, " N"]:
        """Return the bonus of each env, 0 or more; raises NumericalError if it is not finite."""


@dataclass(frozen=True)
class BonusConfig:
    """Base of every bonus's config."""

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> Bonus:
        """Return an untrained bonus for the envs of ``spec``."""
        raise NotImplementedError


@dataclass(frozen=True)
class NoBonusConfig(BonusConfig):
    """No bonus: the agent learns from the reward only."""

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "NoBonus":
        return NoBonus()


class NoBonus(HasState):
    """A bonus of 0."""

    def __call__(self, t: Transition) -> Float[Tensor, " N"]:
        return torch.zeros_like(t.next_step.discount)


def bonus_of_next_frames(
    t: Transition, observe: Callable[[UInt8[Tensor, "n C H W"]], Float[Tensor, " n"]]
) -> Float[Tensor, " N"]:
    """Return ``observe``'s bonus of the next frames in env order, and 0 where one is a reset's."""
    reward = t.next_step.reward
    valid = t.valid.cpu().nonzero()[:, 0]
    bonus = torch.zeros(len(reward))
    if len(valid):
        bonus[valid] = observe(t.next_step.frame[valid]).to("cpu", torch.float32)
    return bonus.to(reward.device)


def check_finite(values: Float[Tensor, " n"], name: str) -> Float[Tensor, " n"]:
    """Return the values; raises NumericalError with their name if one is not finite."""
    if not values.isfinite().all():
        value = values[~values.isfinite()][0]
        raise NumericalError(f"The {name} is {float(value)}.")
    return values


def downsampled_shape(spec: EnvSpec, resolution: int) -> tuple[int, int]:
    """Return the rows and columns of downsampled frames: at most ``resolution`` of each."""
    return min(resolution, spec.obs_shape[1]), min(resolution, spec.obs_shape[2])
