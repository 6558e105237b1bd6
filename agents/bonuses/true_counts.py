"""Visit counts of the true state: the privileged reference of every count-based bonus.

What a density or a hash estimates from frames is counted here in the state that the env offers
(``TimeStep.privileged``). The return of an agent with this bonus is no upper bound: a true count
does not generalize, and a bonus that takes many states for one may explore better.
"""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...envs.checks import at_least, check
from ...envs.interface import EnvSpec, TimeStep
from ...envs.privileged import true_state_columns
from ...world_models.precision import FLOAT32, Precision
from .bonus import BonusConfig
from .visit_counts import VisitCounts


@dataclass(frozen=True)
class TrueCountsConfig(BonusConfig):
    """Visit counts of the true state.

    The default scale is that of pseudo-counts, 0.05 (Bellemare et al. 2016). A density that knew
    the frequencies of states would pay 0.05 (n - 0.99)^(-1/2) at the n-th visit: ten times as much
    as this bonus at the first visit, and as much after a few. The published scale of SimHash, whose
    bonus has the same form, is a fifth of it: compare the two at one ``--bonus.scale``.
    """

    needs_privileged = True

    scale: float = 0.05
    """Scale of the bonus."""
    names: tuple[str, ...] = ()
    """Bytes of the true state that are counted, as names or patterns such as walker_*; by default
    all, the walls of a maze and the clocks of a game included."""

    def __post_init__(self) -> None:
        check(self, "bonus", at_least(0), "scale")

    def privileged_columns(self, offered: tuple[str, ...]) -> list[int]:
        """Return the indices of the counted bytes; raises UsageError if one is not offered."""
        return true_state_columns(
            offered, self.names, part="bonus:true-counts", setting="bonus.names"
        )

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "TrueCounts":
        return TrueCounts(self.scale, self.privileged_columns(spec.privileged))


class TrueCounts(VisitCounts):
    """A bonus of scale n^(-1/2) at the n-th visit of the true state's bytes in ``columns``."""

    def __init__(self, scale: float, columns: list[int]) -> None:
        super().__init__(scale)
        self.columns = columns

    def inputs(self, step: TimeStep) -> UInt8[Tensor, "N P"]:
        assert step.privileged is not None
        return step.privileged.cpu()

    def code(self, inputs: UInt8[Tensor, "n P"]) -> UInt8[Tensor, "n D"]:
        return inputs[:, self.columns]
