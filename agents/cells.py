"""The archive of Go-Explore: cells, the best way to each, and the snapshot to return to it by.

A trajectory is a node of a tree of explorations: each begins at a node of another one, or at the
start, and holds a byte per action. So trajectories share their beginnings.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

Node = tuple[int, int]
"""An exploration, and the number of its actions before the node."""
START: Node = (-1, 0)
"""The node of the state that all trajectories start from."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What an exploration has when it reaches a cell."""

    score: float
    """Sum of raw rewards since the start."""
    length: int
    """Actions since the start."""
    node: Node

    def is_better(self, other: "Visit") -> bool:
        """Return whether it has a higher score or, with the same one, fewer actions."""
        return (self.score, -self.length) > (other.score, -other.length)


class CellArchive:
    """Cells by key, with the best visit of each and its snapshot, compressed.

    At most ``capacity`` cells are stored; of later ones nothing is kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.index: dict[bytes, int] = {}
        """The number of the cell with a key."""
        self.visits: list[Visit] = []
        self.snapshots: list[bytes] = []
        self.parents: list[Node] = []
        self.actions: list[bytearray] = []
        """Of each exploration."""
        self.snapshot_bytes = 0
        self._seen = np.zeros(1024, np.int64)

    def __len__(self) -> int:
        return len(self.visits)

    @property
    def seen(self) -> Int64[Array, " cells"]:
        """C_seen: explorations that came to each cell since its best visit, returns included."""
        return self._seen[: len(self)]

    def begin(self, node: Node) -> int:
        """Add an exploration from a node, and return its number."""
        self.parents.append(node)
        self.actions.append(bytearray())
        return len(self.parents) - 1

    def add(self, key: bytes, visit: Visit, snapshot: UInt8[Array, " S"]) -> tuple[int, bool]:
        """Store a visit to the cell of a key if it is the first or better than the stored one.

        Returns the number of the cell, -1 if the archive is full, and whether it was stored. Then
        C_seen is 0 again.
        """
        cell = self.index.get(key, len(self))
        if cell == self.capacity or (cell < len(self) and not visit.is_better(self.visits[cell])):
            return (-1 if cell == self.capacity else cell), False
        if cell == len(self):
            self.index[key] = cell
            self.visits.append(visit)
            self.snapshots.append(b"")
            if cell == len(self._seen):
                self._seen = np.concatenate([self._seen, np.zeros_like(self._seen)])
        self.visits[cell], self._seen[cell] = visit, 0
        self.snapshot_bytes -= len(self.snapshots[cell])
        self.snapshots[cell] = zlib.compress(snapshot.tobytes(), 1)
        self.snapshot_bytes += len(self.snapshots[cell])
        return cell, True

    def see(self, cell: int) -> None:
        """Count an exploration that came to a cell."""
        self._seen[cell] += 1

    def weights(self) -> Float64[Array, " cells"]:
        """Return the weights of the choice of a cell: 1 / sqrt(C_seen + 1)."""
        weights: Array = 1 / np.sqrt(self.seen + 1.0)
        return weights

    def choose(self, uniforms: Float[Tensor, " M"]) -> list[int]:
        """Choose a cell in proportion to the weights for each number in [0, 1)."""
        ends = np.cumsum(self.weights())
        cells = np.searchsorted(ends, uniforms.cpu().double().numpy() * ends[-1], side="right")
        chosen: list[int] = np.minimum(cells, len(self) - 1).tolist()
        return chosen

    def snapshot(self, cell: int) -> UInt8[Array, " S"]:
        """Return the snapshot of a cell's best visit."""
        return np.frombuffer(zlib.decompress(self.snapshots[cell]), np.uint8)

    def trajectory(self, node: Node) -> list[int]:
        """Return the actions from the start to a node."""
        parts = []
        exploration, count = node
        while exploration >= 0:
            parts.append(self.actions[exploration][:count])
            exploration, count = self.parents[exploration]
        return list(b"".join(reversed(parts)))

    def state_dict(self) -> dict[str, Any]:
        """Return the archive as a few tensors, whatever the number of cells."""
        visits = [[x.length, *x.node] for x in self.visits]
        return {
            "keys": _bytes(self.index),
            "scores": torch.tensor([x.score for x in self.visits], dtype=torch.float64),
            "visits": torch.tensor(visits, dtype=torch.int64).reshape(-1, 3),
            "seen": torch.from_numpy(self.seen.copy()),
            "snapshots": _bytes(self.snapshots),
            "snapshot_sizes": torch.tensor([*map(len, self.snapshots)], dtype=torch.int64),
            "parents": torch.tensor(self.parents, dtype=torch.int64).reshape(-1, 2),
            "actions": _bytes(self.actions),
            "action_counts": torch.tensor([*map(len, self.actions)], dtype=torch.int64),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the archive; raises ValueError if its arrays are of different lengths."""
        n = len(state["scores"])
        self.snapshots = _pieces(state["snapshots"], state["snapshot_sizes"].tolist())
        self.snapshot_bytes = len(state["snapshots"])
        self.actions = [
            bytearray(x) for x in _pieces(state["actions"], state["action_counts"].tolist())
        ]
        keys = _pieces(state["keys"], [len(state["keys"]) // max(n, 1)] * n)
        self.index = {key: cell for cell, key in enumerate(keys)}
        rows = zip(state["scores"].tolist(), state["visits"].tolist(), strict=True)
        self.visits = [Visit(score, length, (x, y)) for score, (length, x, y) in rows]
        self.parents = [(x, y) for x, y in state["parents"].tolist()]
        self._seen = np.zeros(max(1024, 2 * n), np.int64)
        self._seen[:n] = state["seen"].numpy()
        if {len(self.index), len(self.snapshots), n} != {n} or len(self.parents) != len(
            self.actions
        ):
            raise ValueError(f"its archive of {n} cells is incomplete")


def _bytes(parts: Iterable[bytes | bytearray]) -> UInt8[Tensor, " bytes"]:
    joined = bytearray().join(parts)
    return torch.frombuffer(joined, dtype=torch.uint8) if joined else torch.zeros(0).byte()


def _pieces(joined: UInt8[Tensor, " bytes"], sizes: list[int]) -> list[bytes]:
    """Return the byte strings of these sizes that were joined."""
    whole, ends = joined.numpy().tobytes(), np.cumsum([0, *sizes]).tolist()
    if ends[-1] != len(whole):
        raise ValueError(f"its archive has {len(whole)} bytes where {ends[-1]} are expected")
    return [whole[a:b] for a, b in pairwise(ends)]
