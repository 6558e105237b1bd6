"""The differentiable neural dictionary of NEC (Pritzel et al. 2017, section 3.1).

Its keys and values are moved by gradients, too, each by an RMSProp that keeps one mean square per
key and per value.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.optim import Optimizer

from .kernels import kernel_weights
from .neighbor_tables import NeighborTables

RMS_DECAY, RMS_EPSILON = 0.95, 0.01
"""Of the RMSProp of Kaixhin/EC, also for the network; epsilon is added to the mean square."""


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The entries that some lookups read: each entry once, and where each lookup finds its own."""

    action: Int64[Tensor, " U"]
    index: Int64[Tensor, " U"]
    keys: Float[Tensor, "U D"]
    """A leaf, which gathers the gradient of all lookups."""
    values: Float[Tensor, " U"]
    """A leaf as well."""
    entry: Int64[Tensor, "B k"]
    """Of each lookup: rows of the above."""
    known: Bool[Tensor, "B k"]
    """Whether a lookup has the neighbor."""


class NeuralDictionary(NeighborTables):
    """Up to ``capacity`` keys per action with their values; the least recently used are replaced.

    A key is used if it is written, or a neighbor of a state in which the agent acts.

    Example::

        import torch
        from reverie.agents.episodic.neural_dictionary import NeuralDictionary

        tables = NeuralDictionary(2, 64, capacity=1_000, num_neighbors=50, update_rate=0.1)
        keys, digests = torch.randn(100, 64), torch.arange(100)
        tables.update(0, keys, digests, returns=torch.randn(100))
        q_values, neighbors = tables.values(keys)  # [2, 100], 0 for the action without keys
    """

    def __init__(
        self,
        num_actions: int,
        dim: int,
        *,
        capacity: int,
        num_neighbors: int,
        update_rate: float,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(
            num_actions,
            dim,
            capacity=capacity,
            num_neighbors=num_neighbors,
            kernel="inverse-distance",
            update_rate=update_rate,
            refresh_keys=True,
            device=device,
        )
        self.key_squares = torch.empty(num_actions, 0, device=device)
        self.value_squares = torch.empty(num_actions, 0, device=device)
        self.columns += ["key_squares", "value_squares"]

    def values(
        self, queries: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "A B"], Int64[Tensor, "A k B"]]:
        """Return Q(s, a) of each action, 0 if it has no keys, and its neighbors' indices.

            Q(s, a) = sum_i w_i v_i,  w_i = k(h, h_i) / sum_j k(h, h_j)    (eq. 1 and 2)

        The kernel is k(h, h_i) = 1 / (squared distance + 0.001) (eq. 5).
        """
        shape = len(self.sizes), self.num_neighbors, len(queries)
        if not any(self.sizes):
            index = torch.zeros(shape, dtype=torch.int64, device=queries.device)
            return torch.zeros_like(index[:, 0], dtype=queries.dtype), index
        distances, indices = self.search(queries)
        weights = kernel_weights(self.kernel, distances)
        values = self.returns.gather(1, indices.flatten(1)).view(shape)
        return (weights * torch.where(weights > 0, values, 0.0)).sum(1), indices

    def neighbors(
        self,
        queries: Float[Tensor, "B D"],
        action: Int64[Tensor, " B"],
        digests: Int64[Tensor, " B"],
    ) -> Neighbors:
        """Return the nearest entries of one action per state, without the state's own entry.

        That entry would be at distance 0, where a key has no gradient, and hold the target.
        """
        k = self.num_neighbors + 1
        index = torch.zeros(len(queries), k, dtype=torch.int64, device=queries.device)
        known = torch.zeros_like(index, dtype=torch.bool)
        for one in action.unique().tolist():
            if not self.sizes[one]:
                continue
            rows = (action == one).nonzero()[:, 0]
            distances, index[rows] = self.keys.search_action(queries[rows], one, self.sizes[one], k)
            others = self.digests[one, index[rows]] != digests[rows, None]
            others &= distances.isfinite()
            known[rows] = others & (others.cumsum(1) <= self.num_neighbors)
        num_rows = self.keys.num_rows
        cell = (action[:, None] * num_rows + index)[known]
        cell, inverse = cell.unique(return_inverse=True)
        entry = torch.zeros_like(index)
        entry[known] = inverse
        where = cell // num_rows, cell % num_rows
        return Neighbors(
            *where,
            keys=self.keys[where].requires_grad_(),
            values=self.returns[where].requires_grad_(),
            entry=entry,
            known=known,
        )

    def descend(self, neighbors: Neighbors, learning_rate: float) -> None:
        """Update keys and values against the gradients of their leaves.

            m <- 0.95 m + 0.05 |g|^2 / D,  h <- h - learning_rate g / sqrt(m + 0.01)

        m is one number for the D numbers of a key, and one for its value.
        """
        where = neighbors.action, neighbors.index
        assert neighbors.keys.grad is not None
        assert neighbors.values.grad is not None
        key_step = _rms_step(self.key_squares, where, neighbors.keys.grad)
        value_step = _rms_step(self.value_squares, where, neighbors.values.grad[:, None])
        self.keys[where] = neighbors.keys.detach() - learning_rate * key_step
        self.returns[where] = neighbors.values.detach() - learning_rate * value_step[:, 0]

    def _allocate(self, action: int, count: int) -> Int64[Tensor, " {count}"]:
        index = super()._allocate(action, count)
        self.key_squares[action, index] = self.value_squares[action, index] = 0.0
        return index


def lookup(
    queries: Float[Tensor, "B D"],
    keys: Float[Tensor, "B k D"],
    values: Float[Tensor, "B k"],
    known: Bool[Tensor, "B k"],
) -> Float[Tensor, " B"]:
    """Return the kernel-weighted mean of the neighbors' values, differentiable in all but known.

    It is 0 without neighbors (Pritzel et al. 2017, eq. 1, 2 and 5).
    """
    distances = (queries[:, None] - keys).square().sum(2)
    distances = torch.where(known, distances, torch.inf)
    weights = kernel_weights("inverse-distance", distances[..., None])[..., 0]
    return (weights * values).sum(1)


def _rms_step(
    squares: Float[Tensor, "A n"],
    where: tuple[Int64[Tensor, " U"], Int64[Tensor, " U"]],
    gradient: Float[Tensor, "U D"],
) -> Float[Tensor, "U D"]:
    """Update the mean squares and return the gradients divided by their roots."""
    squares[where] = torch.lerp(gradient.square().mean(1), squares[where], RMS_DECAY)
    return gradient * (squares[where] + RMS_EPSILON).rsqrt()[:, None]


class RMSprop(Optimizer):
    """RMSProp with epsilon inside the root, as in TensorFlow: g / sqrt(mean(g^2) + epsilon)."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move each parameter that has a gradient."""
        for group in self.param_groups:
            for x in group["params"]:
                if x.grad is not None:
                    if "square" not in self.state[x]:
                        self.state[x]["square"] = torch.zeros_like(x)
                    square: Tensor = self.state[x]["square"]
                    square.lerp_(x.grad.square(), 1 - RMS_DECAY)
                    x.addcmul_(x.grad, (square + RMS_EPSILON).rsqrt(), value=-group["lr"])
