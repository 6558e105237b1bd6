"""Counts of visits, and the bonus that decays with their square root (Strehl & Littman 2008)."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class VisitCounts:
    """The number of visits of whatever has a 64-bit digest, and a bonus of scale n^(-1/2)."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.counts: dict[int, int] = {}  # number of visits by digest

    def visit(self, digests: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Count each visit in order, and return its bonus."""
        counts = []
        for digest in digests.tolist():
            self.counts[digest] = self.counts.get(digest, 0) + 1
            counts.append(self.counts[digest])
        return self.scale * torch.tensor(counts).rsqrt()

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
