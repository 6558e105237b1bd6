"""The parts of an agent, and which of them have not learned anything yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from ...agents.bonuses.density_bonus import FrameDensity
from ...agents.cells import CellArchive
from ...agents.episodic.neighbor_tables import NeighborTables
from ...envs.dynamics import Dynamics
from ...envs.interface import EnvSpec, TimeStep
from ...world_models.interface import Representation


@runtime_checkable
class HasTables(Protocol):
    spec: EnvSpec
    tables: NeighborTables
    representation: Representation


@runtime_checkable
class HasArchive(Protocol):
    """An agent that repeats its best trajectory."""

    archive: CellArchive
    best_score: float
    best_actions: torch.Tensor

    def keys(self, step: TimeStep) -> list[bytes]: ...


@dataclass(frozen=True)
class ShownArchive:
    """The archive of an agent, with the dynamics that step its snapshots, if the env has any."""

    agent: HasArchive
    dynamics: Dynamics | None


@runtime_checkable
class HasOptimizer(Protocol):
    """A part that learns by gradient descent."""

    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class PretrainedDensity:
    """A density as it was pretrained: unlike that of a bonus, it does not learn during play."""

    density: FrameDensity


def parts_of(*parts: Any) -> Iterator[Any]:
    """Yield agents, models and bonuses with the parts inside them.

    A wrapped agent comes before the agent around it, because it selects the actions.
    """
    for part in parts:
        if part is not None:
            yield from parts_of(getattr(part, "inner", None))
            yield part
            names = "simulator", "predictor", "representation", "density"
            yield from parts_of(*(getattr(part, name, None) for name in names))


def untrained_reason(part: Any) -> str:
    """Return a sentence if a part is still as it was initialized, or else an empty string."""
    name = type(part).__name__
    match part:
        case HasOptimizer(optimizer=optimizer) if not optimizer.state:
            return f"{name} has made no update yet: its weights are random."
        case HasTables(tables=tables) if not any(tables.sizes):
            return f"{name} has stored no return yet: its actions are random."
        case HasArchive(archive=archive, best_actions=best) if not len(archive) + len(best):
            return f"{name} has stored no cell yet: its actions are random."
        case FrameDensity(num_frames=0):
            return f"The density {part.name} has learned no frame yet."
    return ""
