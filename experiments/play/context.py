"""The context of one timestep of play, and the protocol of the inspectors that read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ...envs.interface import Carry, Extras, TimeStep
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


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an inspector shows of a timestep."""

    panels: tuple[Panel, ...] = ()
    value: float | None = None
    """The agent's value estimate, drawn in the timeline; None if the inspector has none."""


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


class Erasable(Protocol):
    """A frame whose pixels the user erases, for a model to fill in."""

    no_completion_reason: str
    """Why nothing can be erased; empty if it can."""

    @property
    def num_erased(self) -> int:
        """The number of erased pixels."""

    def erase(self, stroke: Sequence[tuple[float, float]]) -> None:
        """Erase the pixels along a stroke, of points (x, y) from 0 to 1 in the picture."""

    def erase_lower_half(self) -> None:
        """Erase the rows of the lower half, and restore the others."""

    def restore(self) -> None:
        """Restore all erased pixels."""


@runtime_checkable
class ErasableInspector(Inspector, Protocol):
    """An inspector of a frame that can be erased."""

    completion: Erasable
