"""The context of one timestep of play, and the protocol of the inspectors that read it."""

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from ...envs.interface import Carry, Extras, TimeStep
from ..evaluation.box_drawings import Boxes
from .panels import Panel


@dataclass(frozen=True, slots=True)
class StepContext:
    """The current timestep of the one played env, and the policy's output on it (N = 1)."""

    timestep: int
    step: TimeStep
    carry: Carry
    """The policy's carry before this timestep."""
    action: int
    """The action that the policy chose."""
    next_carry: Carry
    extras: Extras
    """What the policy handed over beside the action."""
    action_names: tuple[str, ...]

    @property
    def observed(self) -> TimeStep:
        """The timestep as the agent inside observes it: that of latent dreams has features."""
        obs = self.extras.get("observed")
        return self.step if obs is None else replace(self.step, obs=obs, frame=obs)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an inspector shows of a timestep."""

    panels: tuple[Panel, ...] = ()
    value: float | None = None
    """The agent's value estimate, drawn in the timeline; None if the inspector has none."""
    boxes: Boxes | None = None
    """What is drawn over the game; None if the inspector has none."""


@runtime_checkable
class Inspector(Protocol):
    """Shows one part of an agent at every timestep, and again when a setting changes."""

    def inspect(self, context: StepContext) -> Inspection:
        """Return the panels of a timestep; repeated calls with one context return the same."""


@runtime_checkable
class AdjustableInspector(Inspector, Protocol):
    """An inspector with sliders."""

    def set_slider(self, name: str, value: float | None) -> None:
        """Set a slider, or reset it to the model's value with None; unknown names are ignored."""
