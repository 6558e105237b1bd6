"""The memory of episodic control: a table of keys and best returns for each action.

Tables and estimates are those of Blundell et al. 2016 (section 2, eq. 1 and 2); updates happen in
place, and nothing is rebuilt.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from agents.lookup import Keys, grown

Encode = Callable[[UInt8[Tensor, "B K H W"]], Float[Tensor, "B D"]]


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
        self.keys = Keys(num_actions, dim, device)
        self.returns = torch.empty(num_actions, 0, device=device)
        self.digests = torch.empty(num_actions, 0, dtype=torch.int64, device=device)
        self.visited = torch.empty(num_actions, 0, dtype=torch.int64, device=device)
        self.columns = ["returns", "digests", "visited"]
        if look_shape:  # what the keys are of, for making them anew
            self.looks = torch.empty(num_actions, 0, *look_shape, dtype=torch.uint8)
            self.columns.append("looks")

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
        crowded = ~exact & (distance[:, -1] <= self.keys.rounding(key))
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
        return self.keys.nearest(key, self.sizes, self.neighbours)

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
        if not self.clock:
            self.keys.origin = key.mean(0)
        self.keys[action, slots] = key[last[fresh]]
        self.keys.settle(self.sizes)
        if look is not None:
            self.looks[action, slots.cpu()] = look[last[fresh]].cpu()
        self.returns[action, slots] = best[fresh]
        self.digests[action, slots] = unique[fresh]
        self.visited[action, slots] = self.clock + last[fresh]
        self.clock += len(digest)

    def encode_again(self, encode: Encode) -> None:
        """Make every key from its look."""
        parts = [
            (action, slots)
            for action, size in enumerate(self.sizes)
            if size
            for slots in torch.split(torch.arange(size), 256)
        ]
        for i, (action, slots) in enumerate(parts):
            new = encode(self.looks[action, slots].to(self.returns.device))
            if i == 0:
                self.keys.origin = new.mean(0)
            self.keys[action, slots] = new

    def _make_room(self, action: int, count: int) -> Int64[Tensor, " {count}"]:
        """Slots for new keys: free ones first, then those of the least recently visited keys."""
        before = self.sizes[action]
        size = self.sizes[action] = min(before + count, self.capacity)
        room = self.keys.room
        if size > room:
            self._grow(min(max(2 * room, size, 4096), self.capacity))
        free = torch.arange(before, size, device=self.visited.device)
        evicted = self.visited[action, :before].topk(count - len(free), largest=False).indices
        return torch.cat([free, evicted])

    def _grow(self, room: int) -> None:
        self.keys.grow(room)
        for name in self.columns:
            setattr(self, name, grown(getattr(self, name), room))

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"clock": self.clock, "keys": self.keys.state_dict(self.sizes)}
        for name in self.columns:
            rows = zip(getattr(self, name), self.sizes, strict=True)
            state[name] = [table[:size] for table, size in rows]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.clock = state["clock"]
        self.sizes = [len(table) for table in state["digests"]]
        if max(self.sizes) > self.keys.room:
            self._grow(max(self.sizes))
        self.keys.load_state_dict(state["keys"])
        self.keys.settle(self.sizes)
        for name in self.columns:
            for table, saved in zip(getattr(self, name), state[name], strict=True):
                table[: len(saved)] = saved
