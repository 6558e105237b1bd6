"""Batches of a recording, in an order that a resumed run repeats."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor

from envs import dice
from envs.errors import UsageError

T = TypeVar("T")


class Batches(Generic[T]):
    """Endless batches of a recording: every row once an epoch, each epoch in an order of its own.

    ``draw`` makes a batch of rows; the next ones are made ahead in a thread. The state is that of
    the batches handed out, so a resumed run sees what the uninterrupted one would have seen.
    """

    def __init__(
        self,
        rows: Int64[Tensor, " M"],
        batch: int,
        draw: Callable[[Int64[Tensor, " B"]], T],
        *,
        seed: int = 0,
        ahead: int = 2,
    ) -> None:
        if batch < 1:
            raise UsageError(f"batch is {batch}; it must be 1 or more.")
        if len(rows) < batch:
            raise UsageError(
                f"The recording has {len(rows)} places to start from, fewer than a batch of "
                f"{batch}; record more or take a smaller batch."
            )
        self.rows, self.batch, self.draw, self.seed, self.ahead = rows, batch, draw, seed, ahead
        self.count = 0  # batches handed out
        self._order: tuple[int, Tensor] = -1, rows
        self._made: deque[Future[T]] = deque()
        self._thread = ThreadPoolExecutor(1)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        while len(self._made) <= self.ahead:
            chosen = self.places(self.count + len(self._made))
            self._made.append(self._thread.submit(self.draw, chosen))
        self.count += 1
        return self._made.popleft().result()

    def places(self, number: int) -> Int64[Tensor, " B"]:
        """The rows of the ``number``-th batch; what an epoch has beyond whole batches is left."""
        epoch, place = divmod(number, len(self.rows) // self.batch)
        if self._order[0] != epoch:
            key = dice.keys(self.seed, "replay", 1) + epoch
            generator = torch.Generator().manual_seed(int(dice.splitmix64(key)))
            self._order = epoch, self.rows[torch.randperm(len(self.rows), generator=generator)]
        return self._order[1][place * self.batch : (place + 1) * self.batch]

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._made.clear()
        self.count = state["count"]
