"""Curriculum of multi-step prediction (Oh et al. 2015, section 3)."""

import math
from dataclasses import dataclass

from ...envs.errors import UsageError
from ..interface import PredictorConfig


@dataclass(frozen=True)
class CurriculumConfig(PredictorConfig):
    """Training phases; entry i of each field belongs to phase i, and the last phase never ends.

    Raises UsageError unless all fields have as many entries, each above 0.
    """

    horizons: tuple[int, ...] = (1, 3, 5)
    """Steps predicted from the network's own predictions."""
    learning_rates: tuple[float, ...] = (1e-4, 1e-5, 1e-5)
    """Adam's; doubled for biases, as in the authors' code."""
    batch_sizes: tuple[int, ...] = (32, 8, 8)
    """Segments per update."""
    updates: tuple[int, ...] = (1_500_000, 1_000_000, 1_000_000)
    """Updates of each phase."""

    def __post_init__(self) -> None:
        phases = (self.horizons, self.learning_rates, self.batch_sizes, self.updates)
        if not self.horizons or len({len(phase) for phase in phases}) > 1:
            raise UsageError(
                f"predictor.horizons, .learning_rates, .batch_sizes and .updates have "
                f"{', '.join(str(len(phase)) for phase in phases)} entries; all must have the same "
                "number, 1 or more."
            )
        if not all(0 < value < math.inf for phase in phases for value in phase):
            raise UsageError(
                f"predictor.horizons, .learning_rates, .batch_sizes and .updates are {phases}; "
                "every entry must be above 0 and finite."
            )

    def phase_at(self, updates: int) -> int:
        """Return the phase of the next update after ``updates`` of them."""
        end = 0
        for phase, length in enumerate(self.updates):
            end += length
            if updates < end:
                return phase
        return len(self.updates) - 1
