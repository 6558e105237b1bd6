"""Ranks: the processes of one run, each with its share of the envs, that learn as one.

In a process alone every method returns what it is given, so that an agent has one code for both.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor, distributed

from .errors import LostRank

T = TypeVar("T")

IN_PLACE = 1 << 16
"""Numbers of a tensor from which two copies, to share a message, cost more than its own message."""


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that share a run; by default it is alone.

    Rank r of R has the envs r N / R to (r + 1) N / R - 1 of N. Methods that exchange anything are
    collective: all ranks call them in the same order. They need torch's default process group, and
    raise LostRank if another rank has ended.

    Example::

        import torch
        from reverie.envs.ranks import Ranks

        ranks = Ranks()
        ranks.rows(8)  # slice(0, 8): all envs
        ranks.sum(torch.ones(()))  # 1
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """The rank among those of this machine."""
    local_size: int = 1
    _sum_in_place: ClassVar[Any]
    """The function, only where there are other ranks: to leave it out of compilation imports the
    compiler, which takes seconds."""

    def __post_init__(self) -> None:
        if not self.alone:
            sum_in_place = torch.compiler.disable(_sum_in_place)
            object.__setattr__(self, "_sum_in_place", sum_in_place)

    @property
    def first(self) -> bool:
        """Whether it is the rank that writes files and messages."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether the run has no other process."""
        return self.size == 1

    def rows(self, num_envs: int) -> slice:
        """Return the slice of this rank's envs among ``num_envs``."""
        share = num_envs // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def own(self, rows: Int64[Tensor, " B"], share: int) -> Int64[Tensor, " b"]:
        """Return those of a batch's rows that this rank has, counted from its first one.

        Each rank has ``share`` rows, in the order of the envs.
        """
        if self.alone:
            return rows
        return rows[rows // share == self.rank] - self.rank * share

    def sum(self, x: Shaped[Tensor, "*s"]) -> Shaped[Tensor, "*s"]:
        """Return the sum of a tensor over all ranks; no gradient flows through it."""
        if self.alone:
            return x
        total: Tensor = self._sum_in_place(x.detach().clone())
        return total

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Set each tensor to its sum over all ranks: large ones in place, the others at once."""
        if self.alone:
            return
        small: list[Tensor] = []
        for x in tensors:
            if x.numel() < IN_PLACE or not x.is_contiguous():
                small.append(x.detach())
            else:
                self._sum_in_place(x.detach())
        if not small:
            return
        total = self._sum_in_place(torch.cat([x.reshape(-1) for x in small]))
        for x, summed in zip(small, total.split([x.numel() for x in small]), strict=True):
            x.copy_(summed.view(x.shape))

    def gather(self, x: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "N ..."]:
        """Concatenate the rows of all ranks, in the order of the envs."""
        if self.alone:
            return x
        own = x.contiguous()
        parts = [torch.empty_like(own) for _ in range(self.size)]
        with _connected():
            distributed.all_gather(parts, own)
        return torch.cat(parts)

    def collect(self, value: T) -> list[T]:
        """Return the values of all ranks on the first one, and an empty list on the others."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.size
        with _connected():
            distributed.gather_object(value, values if self.first else None)
        return values if self.first else []

    def broadcast(self, value: T) -> T:
        """Return the first rank's value."""
        if self.alone:
            return value
        values: list[Any] = [value]
        with _connected():
            distributed.broadcast_object_list(values)
        received: T = values[0]
        return received

    def maximum(self, values: list[int]) -> list[int]:
        """Return the maximum of each number over all ranks."""
        if self.alone:
            return values
        greatest = torch.tensor(values)
        with _connected():
            distributed.all_reduce(greatest, distributed.ReduceOp.MAX)
        numbers: list[int] = greatest.tolist()
        return numbers


ALONE = Ranks()
"""The rank of a run in one process."""


@runtime_checkable
class DataParallel(Protocol):
    """An agent that makes the same updates in several ranks as in one process with all envs.

    It learns from its share of the envs, and sums over ``ranks`` what its updates depend on:
    gradients, means, the number of steps. Between two rollouts its state is the same in each rank.
    """

    ranks: Ranks


@contextmanager
def _connected() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostRank("Another process of this run has ended.") from error


def _sum_in_place(x: Tensor) -> Tensor:
    with _connected():
        distributed.all_reduce(x)
    return x
