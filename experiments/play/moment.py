"""A moment of play, and what an inside is asked to make of it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from envs.interface import Memory, Step
from experiments.play.panels import Panel


@dataclass(frozen=True, slots=True)
class Moment:
    """What the one stream says now, and what the agent would do; of all tensors, N is 1."""

    tick: int
    step: Step
    memory: Memory
    """The agent's before it looked,"""
    action: int
    """its choice,"""
    following: Memory
    """and its memory after."""
    names: tuple[str, ...]
    """Of the actions."""


@dataclass(frozen=True, slots=True)
class Insight:
    """What an inside shows of a moment."""

    panels: tuple[Panel, ...] = ()
    value: float | None = None
    """What the agent expects from here, if this inside knows: the curve below the timeline."""


@runtime_checkable
class Inside(Protocol):
    """Shows one part of what plays; asked at every tick, and again where a slider was moved."""

    def look(self, now: Moment) -> Insight:
        """Panels of the moment; asked twice of the same one, it says the same."""


@runtime_checkable
class Adjustable(Inside, Protocol):
    """An inside with sliders."""

    def turn(self, name: str, value: float | None) -> None:
        """A slider was moved, or with None given back to the model; unknown names are ignored."""
