"""Storage of keys for nearest-neighbor search, in one table per action.

Keys are stored relative to an origin among them, because float32 products are most accurate for
small numbers. Large tables are split into the upper and the lower 16 bits of each number: the upper
halves are bfloat16 numbers, and a search on them needs half the memory traffic.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import BFloat16, Float, Int16, Int64
from torch import Tensor

from ...world_models.precision import native_bfloat16

MIN_SPLIT_KEYS = 1 << 15
"""Keys of one action from which a search on the upper halves is faster."""
SPLIT_CHUNK = 1 << 14
"""Keys that are split at a time."""


class KeyStorage:
    """Keys of each action by index, with their squared norms."""

    def __init__(self, num_actions: int, dim: int, device: torch.device | str = "cpu") -> None:
        self.origin = torch.zeros(dim, device=device)
        # The last column holds |key|^2, so that one matrix product gives distances.
        self.full = torch.empty(num_actions, 0, dim + 1, device=device)
        # Replace it in large tables: the upper halves with |key|^2 in two parts, the lower halves.
        self.halves: tuple[BFloat16[Tensor, "A n E"], Int16[Tensor, "A n D"]] | None = None
        self.may_split = torch.device(device).type == "cpu" and native_bfloat16()

    @property
    def num_rows(self) -> int:
        """Allocated rows per action."""
        return self.halves[0].shape[1] if self.halves else self.full.shape[1]

    @property
    def nbytes(self) -> int:
        """Size of the tables in bytes."""
        return sum(table.nbytes for table in (self.full, *(self.halves or ())))

    def __getitem__(
        self, where: tuple[int | Int64[Tensor, " M"], Int64[Tensor, " M"] | slice]
    ) -> Float[Tensor, "M D"]:
        """Return the keys of an action, or of one action each, at these indices."""
        return self._relative(*where) + self.origin

    def __setitem__(
        self,
        where: tuple[int | Int64[Tensor, " M"], Int64[Tensor, " M"] | slice],
        keys: Float[Tensor, "M D"],
    ) -> None:
        self._write(where, keys - self.origin)

    def grow(self, num_rows: int) -> None:
        """Allocate ``num_rows`` rows per action."""
        if self.halves:
            upper, lower = self.halves
            self.halves = grown(upper, num_rows), grown(lower, num_rows)
        else:
            self.full = grown(self.full, num_rows)

    def split_if_large(self, sizes: Sequence[int]) -> None:
        """Split large tables into halves; to be called after keys were written or loaded."""
        if self.halves or not self.may_split or max(sizes) < MIN_SPLIT_KEYS:
            return
        full, dim = self.full, len(self.origin)
        upper = full.new_empty(*full.shape[:2], dim + 2, dtype=torch.bfloat16)
        self.halves = upper, full.new_empty(*full.shape[:2], dim, dtype=torch.int16)
        for action, size in enumerate(sizes):
            for start in range(0, size, SPLIT_CHUNK):
                part = slice(start, min(start + SPLIT_CHUNK, size))
                self._write((action, part), full[action, part, :-1])
        self.full = full[:, :0].clone()

    def join_halves(self) -> None:
        """Store whole numbers, bit for bit the same, and split them no more."""
        if self.halves:
            rows = (self._with_squares(action, slice(None)) for action in range(len(self.full)))
            self.full, self.halves = torch.stack([*rows]), None
        self.may_split = False

    def state_dict(self, sizes: Sequence[int]) -> dict[str, Any]:
        """Return the first ``sizes[action]`` keys of each action, in the format of the storage."""
        tables = {"full": self.full}
        if self.halves:
            tables = {"upper": self.halves[0], "lower": self.halves[1]}
        rows = {
            name: [keys[:size] for keys, size in zip(table, sizes, strict=True)]
            for name, table in tables.items()
        }
        return {"origin": self.origin} | rows

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state of either format; enough rows must be allocated."""
        self.origin = state["origin"].to(self.origin)
        dim = len(self.origin)
        if "full" in state:
            saved = [full[:, :dim] for full in state["full"]]
        else:
            halves = zip(state["upper"], state["lower"], strict=True)
            saved = [_join(upper[:, :dim], lower) for upper, lower in halves]
        for action, relative in enumerate(saved):
            self._write((action, slice(len(relative))), relative.to(self.origin))

    def _relative(
        self, action: int | Int64[Tensor, "*#p"], indices: Int64[Tensor, "*p"] | slice
    ) -> Float[Tensor, "*p D"]:
        """Return keys relative to the origin."""
        if not self.halves:
            return self.full[action, indices][..., :-1]
        upper, lower = self.halves
        return _join(upper[action, indices][..., : lower.shape[2]], lower[action, indices])

    def _with_squares(self, action: int, rows: slice) -> Float[Tensor, "s C"]:
        """Return keys relative to the origin, with their squared norms as the last column."""
        if not self.halves:
            return self.full[action, rows]
        return _append_square(self._relative(action, rows))

    def _write(
        self,
        where: tuple[int | Int64[Tensor, " M"], Int64[Tensor, " M"] | slice],
        relative: Float[Tensor, "M D"],
    ) -> None:
        if self.halves:
            upper, self.halves[1][where] = _split(relative)
            square = relative.square().sum(1, keepdim=True)
            high = square.bfloat16()
            self.halves[0][where] = torch.cat([upper, high, (square - high).bfloat16()], 1)
        else:
            self.full[where] = _append_square(relative)


def grown(table: Tensor, num_rows: int) -> Tensor:
    """Return a copy of a table [A, n, ...] with ``num_rows`` rows per action."""
    larger = table.new_empty(len(table), num_rows, *table.shape[2:])
    larger[:, : table.shape[1]] = table
    return larger


def _split(
    numbers: Float[Tensor, "M D"],
) -> tuple[BFloat16[Tensor, "M D"], Int16[Tensor, "M D"]]:
    """Return the upper and lower 16 bits of numbers; the upper ones truncate them to bfloat16."""
    halves = numbers.contiguous().view(torch.int16).view(*numbers.shape, 2)  # little-endian
    return halves[..., 1].contiguous().view(torch.bfloat16), halves[..., 0]


def _join(upper: BFloat16[Tensor, "*p D"], lower: Int16[Tensor, "*p D"]) -> Float[Tensor, "*p D"]:
    """Return the numbers that were split, bit for bit."""
    halves = torch.stack([lower, upper.contiguous().view(torch.int16)], -1)
    return halves.view(torch.float32).squeeze(-1)


def _append_square(relative: Float[Tensor, "M D"]) -> Float[Tensor, "M C"]:
    return torch.cat([relative, relative.square().sum(1, keepdim=True)], 1)
