"""The memory of episodic control: a table of keys and best returns for each action.

Tables and estimates are those of Blundell et al. 2016 (section 2, eq. 1 and 2). Lookup is exact
brute force over all actions and queries at once, and updates happen in place: no index is rebuilt.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

Encode = Callable[[UInt8[Tensor, "B K H W"]], Float[Tensor, "B D"]]

BLOCK = 16  # keys whose smallest distance stands for them all in the first pass
CHUNK = 1 << 14  # keys of an action compared at a time, so that their distances stay in cache


class NeighbourTables:
    """Up to ``capacity`` keys an action; the least recently visited one makes room for the new."""

    def __init__(
        self,
        num_actions: int,
        dim: int,
        *,
        capacity: int,
        neighbours: int,
        device: torch.device | str = "cpu",
        look_shape: tuple[int, int, int] | None = None,
    ) -> None:
        self.capacity, self.neighbours = capacity, neighbours
        self.sizes = [0] * num_actions
        self.clock = 0  # visits so far
        # The last column holds |key|^2, so that one matrix product gives distances.
        self.keys = torch.empty(num_actions, 0, dim + 1, device=device)
        self.returns = torch.empty(num_actions, 0, device=device)
        self.digests = torch.empty(num_actions, 0, dtype=torch.int64, device=device)
        self.visited = torch.empty(num_actions, 0, dtype=torch.int64, device=device)
        self.columns = ["keys", "returns", "digests", "visited"]
        if look_shape:  # what the keys are of, for making them anew
            self.looks = torch.empty(num_actions, 0, *look_shape, dtype=torch.uint8)
            self.columns.append("looks")
        self._scratch = torch.empty(0, device=device)  # distances, written again at every lookup

    def estimate(
        self, key: Float[Tensor, "B D"], digest: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "A B"], Float[Tensor, "A B"]]:
        """The value of each action in each state, and 1 where the state was stored exactly.

        A stored state has its own return, any other the mean of its nearest neighbours' (eq. 2);
        an action with fewer keys than neighbours is worth +inf, so that it is tried.
        """
        if not any(size >= self.neighbours for size in self.sizes):
            nothing = key.new_zeros(len(self.sizes), len(key))
            return nothing + torch.inf, nothing
        return self.judge(key, digest, *self.nearest(key))

    def judge(
        self,
        key: Float[Tensor, "B D"],
        digest: Int64[Tensor, " B"],
        distance: Float[Tensor, "A k B"],
        nearest: Int64[Tensor, "A k B"],
    ) -> tuple[Float[Tensor, "A B"], Float[Tensor, "A B"]]:
        """``estimate``, where the nearest keys have been looked up."""
        full = torch.tensor(self.sizes, device=key.device) >= self.neighbours
        flat = nearest.flatten(1)
        value = self.returns.gather(1, flat).view_as(nearest)  # [A, k, B]
        same = self.digests.gather(1, flat).view_as(nearest) == digest
        exact = same.any(1)
        own = torch.where(same, value, -torch.inf).amax(1)
        # A stored state is its own nearest neighbour, unless k others share its very key.
        crowded = ~exact & (distance[:, -1] <= 1e-5 * key.square().sum(1))
        for action in (crowded & full[:, None]).any(1).nonzero()[:, 0].tolist():
            stored = self.digests[action, : self.sizes[action]]
            rows, slots = (digest[:, None] == stored).nonzero().unbind(1)
            own[action, rows], exact[action, rows] = self.returns[action, slots], True
        estimate = torch.where(exact, own, value.mean(1))
        exact &= full[:, None]
        return torch.where(full[:, None], estimate, torch.inf), exact.to(key.dtype)

    def nearest(
        self, key: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "A k B"], Int64[Tensor, "A k B"]]:
        """Squared distances and slots of each query's nearest keys, nearest first.

        Where an action has fewer keys, the distance is +inf and the slot means nothing.
        """
        query = torch.cat([-2 * key, torch.ones_like(key[:, :1])], 1).T.contiguous()  # [D+1, B]
        most = max(-(-max(self.sizes) // BLOCK) * BLOCK, self.neighbours)
        distances, slots = [], []
        for start in range(0, most, CHUNK):
            distance = self._distances(query, start, min(start + CHUNK, most))
            candidates = _best_blocks(distance, self.neighbours)
            found = distance.gather(1, candidates)
            k = min(self.neighbours, found.shape[1])
            smallest, order = found.topk(k, dim=1, largest=False)
            distances.append(smallest)
            slots.append(candidates.gather(1, order) + start)
        distance, slot = distances[0], slots[0]
        if len(distances) > 1:
            distance, order = torch.cat(distances, 1).topk(self.neighbours, dim=1, largest=False)
            slot = torch.cat(slots, 1).gather(1, order)
        return distance + key.square().sum(1), slot.clamp_(max=self.keys.shape[1] - 1)

    def store(
        self,
        action: int,
        key: Float[Tensor, "M D"],
        digest: Int64[Tensor, " M"],
        returns: Float[Tensor, " M"],
        look: UInt8[Tensor, "M K H W"] | None = None,
    ) -> None:
        """Take visits in their order; a key keeps the best of its returns (eq. 1)."""
        unique, inverse = torch.unique(digest, return_inverse=True)
        best = torch.full_like(unique, -torch.inf, dtype=returns.dtype)
        best.scatter_reduce_(0, inverse, returns, "amax")
        order = torch.arange(len(digest), device=key.device)
        last = torch.zeros_like(unique).scatter_reduce_(0, inverse, order, "amax")

        stored = self.digests[action, : self.sizes[action]]
        match = torch.searchsorted(unique, stored).clamp_(max=len(unique) - 1)
        known = (unique[match] == stored).nonzero()[:, 0]
        match = match[known]
        self.returns[action, known] = torch.maximum(self.returns[action, known], best[match])
        self.visited[action, known] = self.clock + last[match]

        unseen = torch.ones_like(unique, dtype=torch.bool)
        unseen[match] = False
        fresh = unseen.nonzero()[:, 0]
        fresh = fresh[last[fresh].argsort()][-self.capacity :]
        slots = self._make_room(action, len(fresh))
        new = key[last[fresh]]
        self.keys[action, slots] = torch.cat([new, new.square().sum(1, keepdim=True)], 1)
        if look is not None:
            self.looks[action, slots.cpu()] = look[last[fresh]].cpu()
        self.returns[action, slots] = best[fresh]
        self.digests[action, slots] = unique[fresh]
        self.visited[action, slots] = self.clock + last[fresh]
        self.clock += len(digest)

    def encode_again(self, encode: Encode) -> None:
        """Make every key from its look."""
        for action, size in enumerate(self.sizes):
            for slots in torch.split(torch.arange(size), 256):
                new = encode(self.looks[action, slots].to(self.keys.device))
                self.keys[action, slots] = torch.cat([new, new.square().sum(1, keepdim=True)], 1)

    def _distances(
        self, query: Float[Tensor, "C B"], start: int, stop: int
    ) -> Float[Tensor, "A n B"]:
        """Squared distances, less the query's own square, to the keys in these slots."""
        shape = len(self.sizes), stop - start, query.shape[1]
        if self._scratch.numel() < math.prod(shape):
            self._scratch = query.new_empty(math.prod(shape))
        distance = self._scratch[: math.prod(shape)].view(shape)
        for action, size in enumerate(self.sizes):
            rows = min(max(size - start, 0), stop - start)
            torch.mm(self.keys[action, start : start + rows], query, out=distance[action, :rows])
            distance[action, rows:] = torch.inf
        return distance

    def _make_room(self, action: int, count: int) -> Int64[Tensor, " {count}"]:
        """Slots for new keys: free ones first, then those of the least recently visited keys."""
        before = self.sizes[action]
        size = self.sizes[action] = min(before + count, self.capacity)
        room = self.keys.shape[1]
        if size > room:
            self._grow(min(max(2 * room, size, 4096), self.capacity))
        free = torch.arange(before, size, device=self.keys.device)
        evicted = self.visited[action, :before].topk(count - len(free), largest=False).indices
        return torch.cat([free, evicted])

    def _grow(self, room: int) -> None:
        for name in self.columns:
            old: Tensor = getattr(self, name)
            grown = old.new_empty(len(old), room, *old.shape[2:])
            grown[:, : old.shape[1]] = old
            setattr(self, name, grown)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"clock": self.clock}
        for name in self.columns:
            rows = zip(getattr(self, name), self.sizes, strict=True)
            state[name] = [table[:size] for table, size in rows]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.clock = state["clock"]
        self.sizes = [len(table) for table in state["keys"]]
        if max(self.sizes) > self.keys.shape[1]:
            self._grow(max(self.sizes))
        for name in self.columns:
            for table, saved in zip(getattr(self, name), state[name], strict=True):
                table[: len(saved)] = saved


def _best_blocks(distance: Float[Tensor, "A n B"], k: int) -> Int64[Tensor, "A c B"]:
    """Rows among which each query's k smallest are: they lie in the k blocks of least minimum."""
    actions, rows, queries = distance.shape
    if rows <= k * BLOCK:
        every = torch.arange(rows, device=distance.device)
        return every[None, :, None].expand(actions, -1, queries)
    # A block is every (rows / BLOCK)-th row: minima over the outer axis are whole vectors.
    stride = rows // BLOCK
    minima = distance.view(actions, BLOCK, stride, queries).amin(1)
    blocks = minima.topk(k, dim=1, largest=False, sorted=False).indices  # [A, k, B]
    within = torch.arange(0, rows, stride, device=distance.device)[:, None]
    return (blocks[:, :, None] + within).flatten(1, 2)
