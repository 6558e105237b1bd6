"""Visit counts, and the bonus that decays with their square root (Strehl & Littman 2008)."""

from typing import Any

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from ...envs.digest import frame_digest
from ...envs.interface import TimeStep, Transition
from .bonus import bonus_of_next


class VisitCounts:
    """Base of the bonuses of scale n^(-1/2) at the n-th visit, computed on the CPU.

    Subclasses implement ``inputs`` and ``code``: visits count together if their codes are equal.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.counts: dict[int, int] = {}  # number of visits by digest

    def __call__(self, t: Transition) -> Float[Tensor, " N"]:
        return bonus_of_next(t, self.inputs(t.next_step), self.observe)

    def inputs(self, step: TimeStep) -> UInt8[Tensor, "N ..."]:
        """Return what is visited in each env: its newest frame, or its true state."""
        raise NotImplementedError

    def code(self, inputs: UInt8[Tensor, "n ..."]) -> Shaped[Tensor, "n D"]:
        """Return bits or bytes, of which equal ones are one visited state."""
        raise NotImplementedError

    def observe(self, inputs: UInt8[Tensor, "n ..."]) -> Float[Tensor, " n"]:
        """Count each visit in order, and return its bonus."""
        return self.visit(self.code(inputs))

    def visit(self, codes: Shaped[Tensor, "n D"]) -> Float[Tensor, " n"]:
        """Count each code in order, and return its bonus."""
        counts = []
        for digest in digests(codes):
            self.counts[digest] = self.counts.get(digest, 0) + 1
            counts.append(self.counts[digest])
        return self.scale * torch.tensor(counts).rsqrt()

    def num_visits(self, codes: Shaped[Tensor, "n D"]) -> list[int]:
        """Return how often each code was visited."""
        return [self.counts.get(digest, 0) for digest in digests(codes)]

    def state_dict(self) -> dict[str, Any]:
        """Return the digests visited, and the number of their visits."""
        return {
            "codes": torch.tensor(list(self.counts), dtype=torch.int64),
            "counts": torch.tensor(list(self.counts.values()), dtype=torch.int64),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the visit counts."""
        pairs = zip(state["codes"].tolist(), state["counts"].tolist(), strict=True)
        self.counts = dict(pairs)


def digests(codes: Shaped[Tensor, "n D"]) -> list[int]:
    """Return a 64-bit digest of each code."""
    found: list[int] = frame_digest(codes.to(torch.uint8)[:, None, None]).tolist()
    return found
