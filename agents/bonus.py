"""Exploration bonuses: what a visit is worth beside its reward, by how new its frame is.

A bonus reads the newest frame of the observation a transition led to. It learns the frames of a
tick at once, in the order of the streams; on reset ticks it is 0 and learns nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from envs.errors import NumericalError
from envs.interface import EnvSpec, Stateful, Transition


@runtime_checkable
class Bonus(Stateful, Protocol):
    """Says what each visit is worth to explore."""

    def __call__(self, t: Transition) -> Float[Tensor, " N"]:
        """The bonus of each stream, 0 or more; raises NumericalError where it is not finite."""


@dataclass(frozen=True)
class BonusConfig:
    """Base of every bonus's config."""

    def build(self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu") -> Bonus:
        """A bonus that has seen nothing, for the streams of ``spec``."""
        raise NotImplementedError


@dataclass(frozen=True)
class NoBonusConfig(BonusConfig):
    """Reward alone."""

    def build(
        self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "NoBonus":
        return NoBonus()


class NoBonus:
    """Nothing for any visit."""

    def __call__(self, t: Transition) -> Float[Tensor, " N"]:
        return torch.zeros_like(t.next_step.reward)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def bonus_of_visits(
    t: Transition, visit: Callable[[UInt8[Tensor, "n C H W"]], Float[Tensor, " n"]]
) -> Float[Tensor, " N"]:
    """What ``visit`` says of the frames come to, in stream order; 0 on reset ticks, unseen."""
    reward = t.next_step.reward
    visited = t.valid.cpu().nonzero()[:, 0]
    bonus = torch.zeros(len(reward))
    if len(visited):
        bonus[visited] = visit(t.next_step.frame[visited]).to("cpu", torch.float32)
    return bonus.to(reward.device)


def check_finite(numbers: Float[Tensor, " n"], what: str) -> Float[Tensor, " n"]:
    """The numbers; raises NumericalError, which names ``what`` they are, where one is no number."""
    if not numbers.isfinite().all():
        broken = numbers[~numbers.isfinite()][0]
        raise NumericalError(f"The {what} came out as {float(broken)}.")
    return numbers


def seen_shape(spec: EnvSpec, resolution: int) -> tuple[int, int]:
    """The rows and columns a bonus sees: ``resolution``, or all of a smaller world's."""
    return min(resolution, spec.obs_shape[1]), min(resolution, spec.obs_shape[2])
