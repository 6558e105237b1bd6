"""The tables of episodic control: keys and returns of each action.

Tables and estimates are those of Blundell et al. 2016 (section 2, eq. 1 and 2), with the kernels
and the updates of later agents. Updates are in place, without rebuilding an index.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from .kernels import DELTA, Kernel, kernel_weights
from .key_storage import grown
from .knn import KNNIndex, SearchResult

Encode = Callable[[UInt8[Tensor, "B K H W"]], Float[Tensor, "B D"]]
MIN_ROWS = 4096
"""Rows of the smallest table, if its capacity is not smaller."""


class NeighborTables:
    """Up to ``capacity`` keys per action; new keys replace the least recently visited ones.

    A key keeps the maximum of its returns or, with an ``update_rate``, moves by it from the stored
    return to a new one; a rate of 1 keeps the newest. With ``refresh_keys`` a stored state takes
    the key of its newest visit.

    Example::

        import torch
        from reverie.agents.episodic.neighbor_tables import NeighborTables

        tables = NeighborTables(num_actions=2, dim=64, capacity=1_000, num_neighbors=11)
        keys, digests = torch.randn(100, 64), torch.arange(100)
        for action in range(2):
            tables.update(action, keys, digests, returns=torch.randn(100))
        values, exact = tables.estimate(keys, digests)  # [2, 100], and all exact
    """

    def __init__(
        self,
        num_actions: int,
        dim: int,
        *,
        capacity: int,
        num_neighbors: int,
        kernel: Kernel = "mean",
        update_rate: float | None = None,
        refresh_keys: bool = False,
        device: torch.device | str = "cpu",
        obs_shape: tuple[int, int, int] | None = None,
    ) -> None:
        self.capacity, self.num_neighbors = capacity, num_neighbors
        self.kernel, self.update_rate, self.refresh_keys = kernel, update_rate, refresh_keys
        self.sizes = [0] * num_actions  # number of keys of each action
        self.num_visits = 0
        self.keys = KNNIndex(num_actions, dim, device)
        self.returns = torch.empty(num_actions, 0, device=device)
        self.digests = torch.empty(num_actions, 0, dtype=torch.int64, device=device)
        self.last_visits = torch.empty(num_actions, 0, dtype=torch.int64, device=device)
        self.columns = ["returns", "digests", "last_visits"]
        if obs_shape:  # keeps the observations, so that keys can be recomputed
            self.observations = torch.empty(num_actions, 0, *obs_shape, dtype=torch.uint8)
            self.columns.append("observations")

    @property
    def ready(self) -> bool:
        """Whether any action has enough keys for an estimate."""
        return any(size >= self.num_neighbors for size in self.sizes)

    def estimate(
        self, queries: Float[Tensor, "B D"], digests: Int64[Tensor, " B"] | None
    ) -> tuple[Float[Tensor, "A B"], Float[Tensor, "A B"]]:
        """Return the value of each action in each state, and 1 where the state is stored.

            Q(s, a) = the stored return if (s, a) is in the table, else sum_i w_i Q(s_i, a)

        The sum is over the k = ``num_neighbors`` nearest keys s_i of the action (eq. 2), with the
        weights w_i of the kernel, by default 1 / k. An action with fewer than k keys has value
        +inf, so that it is tried. ``digests`` identify the observations exactly; without them no
        state counts as stored.
        """
        if not self.ready:
            zeros = queries.new_zeros(len(self.sizes), len(queries))
            return zeros + torch.inf, zeros
        return self.estimate_from_neighbors(queries, digests, *self.search(queries))

    def estimate_from_neighbors(
        self,
        queries: Float[Tensor, "B D"],
        digests: Int64[Tensor, " B"] | None,
        distances: Float[Tensor, "A k B"],
        indices: Int64[Tensor, "A k B"],
    ) -> tuple[Float[Tensor, "A B"], Float[Tensor, "A B"]]:
        """Return ``estimate`` from the result of ``search``."""
        full = torch.tensor(self.sizes) >= self.num_neighbors
        full = full.to(queries.device, non_blocking=True)
        flat = indices.flatten(1)
        returns = self.returns.gather(1, flat).view_as(indices)  # [A, k, B]
        if self.kernel == "mean":
            average = returns.mean(1)
        else:
            average = (kernel_weights(self.kernel, distances) * returns).sum(1)
        if digests is None:
            value = torch.where(full[:, None], average, torch.inf)
            return value, torch.zeros_like(value)
        same = self.digests.gather(1, flat).view_as(indices) == digests
        exact = same.any(1)
        own_return = torch.where(same, returns, -torch.inf).amax(1)
        # A stored state is its own nearest neighbor, unless k others have an equal key.
        crowded = ~exact & (distances[:, -1] <= self.keys.tolerance(queries))
        for action in (crowded & full[:, None]).any(1).cpu().nonzero()[:, 0].tolist():
            stored = self.digests[action, : self.sizes[action]]
            rows, index = (digests[:, None] == stored).nonzero().unbind(1)
            own_return[action, rows], exact[action, rows] = self.returns[action, index], True
        value = torch.where(exact, own_return, average)
        exact &= full[:, None]
        return torch.where(full[:, None], value, torch.inf), exact.to(queries.dtype)

    def remoteness(
        self, distances: Float[Tensor, "A k B"], indices: Int64[Tensor, "A k B"]
    ) -> Float[Tensor, "A B"]:
        """Return how far the neighbors of each action are, in the unit of the returns.

            (mean distance of the action's k neighbors / its mean over actions) * std

        Distances are d' = sqrt(d^2 + delta), as in ``kernel_weights``. std is the standard
        deviation of the returns of all actions' neighbors. The result is 0 for an action with fewer
        than k keys. The arguments are the result of ``search``.
        """
        full = [a for a, size in enumerate(self.sizes) if size >= self.num_neighbors]
        result = torch.zeros_like(distances[:, 0])
        mean = (distances[full] + DELTA).sqrt().mean(1)
        relative = mean / mean.mean(0)
        returns = self.returns[full].gather(1, indices[full].flatten(1)).view_as(indices[full])
        result[full] = relative * returns.flatten(0, 1).std(0, correction=0)
        return result

    def search(self, queries: Float[Tensor, "B D"]) -> SearchResult:
        """Return squared distances and indices of the nearest keys, nearest first.

        If an action has fewer keys, the remaining distances are +inf and their indices undefined.
        """
        return self.keys.search(queries, self.sizes, self.num_neighbors)

    def update(
        self,
        action: int,
        keys: Float[Tensor, "M D"],
        digests: Int64[Tensor, " M"],
        returns: Float[Tensor, " M"],
        observations: UInt8[Tensor, "M K H W"] | None = None,
    ) -> None:
        """Add visits in their order; a key keeps the maximum of its returns (eq. 1).

            Q(s, a) <- G if (s, a) is new, else max(Q(s, a), G)

        With an ``update_rate`` alpha the second case is Q(s, a) + alpha (G - Q(s, a)). ``keys`` and
        ``digests`` are those of the states s, ``returns`` holds G.
        """
        unique, inverse = torch.unique(digests, return_inverse=True)
        order = torch.arange(len(digests), device=keys.device)
        last = torch.zeros_like(unique).scatter_reduce_(0, inverse, order, "amax")
        if self.update_rate is None:
            best = torch.full_like(unique, -torch.inf, dtype=returns.dtype)
            initial = best.scatter_reduce_(0, inverse, returns, "amax")
        else:
            initial, moved, kept = successive_averages(returns, inverse, self.update_rate)

        index, match = self._find(action, unique)
        old = self.returns[action, index]
        if self.update_rate is None:
            self.returns[action, index] = torch.maximum(old, initial[match])
        else:
            self.returns[action, index] = kept[match] * old + moved[match]
        if self.refresh_keys:
            self.keys[action, index] = keys[last[match]]
        self.last_visits[action, index] = self.num_visits + last[match]

        is_new = torch.ones_like(unique, dtype=torch.bool)
        is_new[match] = False
        new = is_new.nonzero()[:, 0]
        new = new[last[new].argsort()][-self.capacity :]
        index = self._allocate(action, len(new))
        if not self.num_visits:
            self.keys.origin = keys.mean(0)
        self.keys[action, index] = keys[last[new]]
        self.keys.split_if_large(self.sizes)
        if observations is not None:
            self.observations[action, index.cpu()] = observations[last[new]].cpu()
        self.returns[action, index] = initial[new]
        self.digests[action, index] = unique[new]
        self.last_visits[action, index] = self.num_visits + last[new]
        self.num_visits += len(digests)

    def contains(self, action: int, digests: Int64[Tensor, "*s"]) -> Bool[Tensor, "*s"]:
        """Return whether an action has keys of states with these digests, one or more."""
        unique, inverse = torch.unique(digests, return_inverse=True)
        found = torch.zeros_like(unique, dtype=torch.bool)
        found[self._find(action, unique)[1]] = True
        return found[inverse]

    def _find(
        self, action: int, unique: Int64[Tensor, " U"]
    ) -> tuple[Int64[Tensor, " R"], Int64[Tensor, " R"]]:
        """Return the rows of an action's keys with sorted digests, and the index of each one's."""
        stored = self.digests[action, : self.sizes[action]]
        match = torch.searchsorted(unique, stored).clamp_(max=len(unique) - 1)
        rows = (unique[match] == stored).nonzero()[:, 0]
        return rows, match[rows]

    def mark_used(self, indices: Int64[Tensor, "N A k"]) -> None:
        """Mark keys as visited, so that they are replaced last."""
        for action, index in enumerate(indices.unbind(1)):
            self.last_visits[action, index.flatten()] = self.num_visits
        self.num_visits += 1

    def reencode(self, encode: Encode) -> None:
        """Recompute every key from its observation."""
        parts = [
            (action, index)
            for action, size in enumerate(self.sizes)
            if size
            for index in torch.split(torch.arange(size), 256)
        ]
        for i, (action, index) in enumerate(parts):
            keys = encode(self.observations[action, index].to(self.returns.device))
            if i == 0:
                self.keys.origin = keys.mean(0)
            self.keys[action, index] = keys

    def keep_most_recent(self, count: int) -> int:
        """Keep up to ``count`` keys per action, those visited last; return the number of others."""
        self.keys.join_halves()
        state, before = self.state_dict(), sum(self.sizes)
        kept = [x.topk(min(count, len(x))).indices.sort().values for x in state["last_visits"]]
        for tables, name in [(state["keys"], "full"), *((state, name) for name in self.columns)]:
            rows = zip(tables[name], kept, strict=True)
            tables[name] = [table[index.to(table.device)] for table, index in rows]
        self.load_state_dict(state)
        return before - sum(self.sizes)

    def _allocate(self, action: int, count: int) -> Int64[Tensor, " {count}"]:
        """Return indices for new keys: unused rows, then those of the least recent visits."""
        old_size = self.sizes[action]
        size = self.sizes[action] = min(old_size + count, self.capacity)
        self._grow_to(size)
        unused = torch.arange(old_size, size, device=self.last_visits.device)
        visits = self.last_visits[action, :old_size]
        evicted = visits.topk(count - len(unused), largest=False).indices
        return torch.cat([unused, evicted])

    def _grow_to(self, size: int) -> None:
        """Allocate rows for ``size`` keys per action: a power of two, up to the capacity.

        Their number depends on the size alone, so a restored table lies in memory as the saved one
        does: products with a single query are rounded by the keys' alignment.
        """
        if size <= self.keys.num_rows:
            return
        num_rows = max(size, min(max(1 << (size - 1).bit_length(), MIN_ROWS), self.capacity))
        self.keys.grow(num_rows)
        for name in self.columns:
            setattr(self, name, grown(getattr(self, name), num_rows))

    def state_dict(self) -> dict[str, Any]:
        """Return the rows in use of every table."""
        keys = self.keys.state_dict(self.sizes)
        state: dict[str, Any] = {"num_visits": self.num_visits, "keys": keys}
        for name in self.columns:
            rows = zip(getattr(self, name), self.sizes, strict=True)
            state[name] = [table[:size] for table, size in rows]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the tables, growing them where needed.

        Raises ValueError if the columns of an action are of different lengths.
        """
        self.num_visits = state["num_visits"]
        self.sizes = [len(table) for table in state["digests"]]
        keys = state["keys"].get("full", state["keys"].get("upper"))
        if any([*map(len, x)] != self.sizes for x in [keys, *(state[x] for x in self.columns)]):
            raise ValueError("its tables have columns of different lengths")
        self._grow_to(max(self.sizes))
        self.keys.load_state_dict(state["keys"])
        self.keys.split_if_large(self.sizes)
        for name in self.columns:
            for table, saved in zip(getattr(self, name), state[name], strict=True):
                table[: len(saved)] = saved


def successive_averages(
    returns: Float[Tensor, " M"], group: Int64[Tensor, " M"], rate: float
) -> tuple[Float[Tensor, " U"], Float[Tensor, " U"], Float[Tensor, " U"]]:
    """Return what the updates Q <- Q + rate (G - Q) do to each group's Q, in the order of returns.

    The results are its value if the first return is the initial one, and the sum and the factor
    with which Q <- factor Q + sum.
    """
    rank, counts = ranks_in_groups(group)
    decay = (1 - rate) ** (counts[group] - 1 - rank).to(returns.dtype)
    zeros = torch.zeros(len(counts), device=returns.device, dtype=returns.dtype)
    moved = zeros.index_add(0, group, rate * decay * returns)
    initial = zeros.index_add(0, group, torch.where(rank == 0, decay, rate * decay) * returns)
    return initial, moved, (1 - rate) ** counts.to(returns.dtype)


def ranks_in_groups(
    group: Int64[Tensor, " M"],
) -> tuple[Int64[Tensor, " M"], Int64[Tensor, " U"]]:
    """Return how many elements of its group are before each element, and the groups' sizes."""
    order, counts = group.argsort(stable=True), torch.bincount(group)
    first = counts.cumsum(0) - counts  # where each group begins in the order
    rank = torch.empty_like(group)
    rank[order] = torch.arange(len(order), device=group.device) - first[group[order]]
    return rank, counts
