"""Exploration bonuses: intrinsic rewards by the novelty of frames.

A bonus reads the newest frame of a transition's next observation, or its true state. It learns the
frames of a timestep in the order of the envs, or together. At autoreset timesteps it is 0 and
learns nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from ...envs.errors import NumericalError
from ...envs.interface import EnvSpec, Stateful, Transition
from ...world_models.precision import FLOAT32, Precision
from ...world_models.state import HasState
from ..notices import Notice


@runtime_checkable
class Bonus(Stateful, Protocol):
    """An intrinsic reward, which learns from the transitions that it is computed for.

    The loop's consumer adds it to a transition; ``learning_reward`` adds it to the reward.

    Example::

        from itertools import islice
        from reverie.agents.bonuses.density_bonus import PseudoCountConfig
        from reverie.agents.dqn import DQNConfig
        from reverie.agents.loop import interact
        from reverie.envs.batched_env import BatchedEnv
        from reverie.envs.catch import CatchConfig

        envs = BatchedEnv(CatchConfig().build(8), seed=0)
        agent = DQNConfig(buffer_size=10_000).build(envs.spec)
        bonus = PseudoCountConfig().build(envs.spec)
        for t in islice(interact(envs, agent), 100):
            agent.learn(t.with_bonus(bonus(t)))
    """

    def __call__(self, t: Transition) -> Float[Tensor, " N"]:
        """Return the bonus of each env, 0 or more, and learn from the transition.

        Raises NumericalError if a bonus is not finite.
        """


@dataclass(frozen=True)
class BonusConfig:
    """Base of every bonus's config; raises UsageError for a setting out of its range."""

    needs_privileged: ClassVar[bool] = False
    """Whether it is a privileged reference, which reads the true state."""
    in_order: ClassVar[bool] = True
    """Whether a timestep of N envs equals N timesteps of one: it does not where the frames of a
    timestep are learned at once, or each env has a memory of its own."""

    def example(self) -> "BonusConfig":
        """Return these settings made small, so that the laws of the role take seconds."""
        return self

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


def bonus_of_next(
    t: Transition,
    inputs: UInt8[Tensor, "N ..."],
    observe: Callable[[UInt8[Tensor, "n ..."]], Float[Tensor, " n"]],
) -> Float[Tensor, " N"]:
    """Return ``observe``'s bonus of the inputs in env order, and 0 where they are a reset's.

    The inputs are the frames of the next step, or its true states.
    """
    valid, device = t.valid.cpu(), t.next_step.reward.device
    if valid.all():
        return observe(inputs).to(device, torch.float32)
    bonus = torch.zeros(len(valid))
    if valid.any():
        bonus[valid] = observe(inputs[valid]).to("cpu", torch.float32)
    return bonus.to(device)


class VarietyCheck:
    """A notice that a bonus cannot tell frames apart, of the first frames that it learns.

    ``settings`` names those on which it depends what a frame is to the bonus.
    """

    def __init__(self, bonus: str, settings: dict[str, int]) -> None:
        self.notice = Notice(patience=1_000)
        values = " and ".join(f"bonus.{name} {value}" for name, value in settings.items())
        flags = " or ".join(f"--bonus.{name}" for name in settings)
        begin = f"The bonus {bonus} is the same for every frame: {self.notice.patience:,} in a row"
        self.blank_sentence = f"{begin} are equal; choose bonus:none, or an env that shows more."
        self.coarse_sentence = (
            f"{begin} differ, but not at {values}; raise {flags}, or choose bonus:none."
        )
        self.first: tuple[Tensor, Tensor] | None = None
        self.blank = True
        """Whether the frames themselves have all been equal."""

    def update(self, frames: UInt8[Tensor, "n C H W"], codes: Shaped[Tensor, "n ..."]) -> None:
        """Compare frames, and what they are to the bonus, with the first ones."""
        if self.notice.closed:
            return
        frames, codes = frames.cpu(), codes.cpu()
        if self.first is None:
            self.first = frames[0], codes[0]
        self.blank = self.blank and bool((frames == self.first[0]).all())
        self.notice.update(
            len(frames),
            happened=bool((codes != self.first[1]).any()),
            sentence=self.blank_sentence if self.blank else self.coarse_sentence,
        )


def check_finite(values: Float[Tensor, " n"], name: str) -> Float[Tensor, " n"]:
    """Return the values; raises NumericalError with their name if one is not finite."""
    if not math.isfinite(values.sum()):  # a sum costs a fraction of `isfinite`
        for value in values.tolist():
            if not math.isfinite(value):
                raise NumericalError(f"The {name} is {value}.")
    return values
