"""Shuffled minibatches of a recording, in an order that a resumed run repeats."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor

from ...envs import prng
from ...envs.errors import UsageError
from ...world_models.state import HasState

T = TypeVar("T")


class Batches(HasState, Generic[T]):
    """Endless iterator over minibatches; each epoch is a permutation of ``indices`` of its own.

    ``load`` reads the minibatch at some indices; the next ``prefetch`` minibatches are loaded ahead
    in a thread. The state counts the minibatches handed out, so a resumed run continues with the
    minibatches of an uninterrupted one. The first ``event_fraction`` of a minibatch are replaced
    by random ones of the indices ``events``, if there are any. Raises UsageError if ``batch_size``
    is less than 1 or greater than the number of indices.
    """

    STATE = ("count",)

    def __init__(
        self,
        indices: Int64[Tensor, " M"],
        batch_size: int,
        load: Callable[[Int64[Tensor, " B"]], T],
        *,
        seed: int = 0,
        prefetch: int = 2,
        events: Int64[Tensor, " E"] | None = None,
        event_fraction: float = 0.0,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}; it must be 1 or more.")
        if len(indices) < batch_size:
            raise UsageError(
                f"The recording has {len(indices)} start indices, fewer than a batch of "
                f"{batch_size}; record more or choose a smaller batch."
            )
        self.indices, self.batch_size, self.load = indices, batch_size, load
        self.seed, self.prefetch = seed, prefetch
        self.events = indices[:0] if events is None else events
        self.num_events = round(event_fraction * batch_size) if len(self.events) else 0
        self.count = 0  # minibatches handed out
        self._epoch, self._permuted = -1, indices
        self._pending: deque[Future[T]] = deque()
        self._thread = ThreadPoolExecutor(1)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        while len(self._pending) <= self.prefetch:
            indices = self.batch_indices(self.count + len(self._pending))
            self._pending.append(self._thread.submit(self.load, indices))
        self.count += 1
        return self._pending.popleft().result()

    @property
    def epochs(self) -> int:
        """Number of permutations that have been handed out as a whole."""
        return self.count // (len(self.indices) // self.batch_size)

    def batch_indices(self, number: int) -> Int64[Tensor, " B"]:
        """Return the indices of a minibatch; the incomplete last one of an epoch is dropped."""
        epoch, position = divmod(number, len(self.indices) // self.batch_size)
        first_key = prng.initial_rng(self.seed, prng.Purpose.REPLAY, 1)
        if self._epoch != epoch:
            key = first_key + epoch
            generator = torch.Generator().manual_seed(int(prng.splitmix64(key)))
            permutation = torch.randperm(len(self.indices), generator=generator)
            self._epoch, self._permuted = epoch, self.indices[permutation]
        batch = self._permuted[position * self.batch_size : (position + 1) * self.batch_size]
        if not self.num_events:
            return batch
        bits = prng.bits(first_key + number, self.num_events, prng.Purpose.SAMPLE)[0]
        events = self.events[prng.to_randint(bits, len(self.events))]
        return torch.cat([events, batch[self.num_events :]])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._pending.clear()
