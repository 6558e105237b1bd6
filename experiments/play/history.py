"""The recent history of play, which the timeline shows."""

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

MAX_BYTES = 128_000_000
"""Of packed views; at 20 kB each these are 6,400 timesteps, seven minutes in real time."""


class Event(NamedTuple):
    """What the timeline draws of a timestep."""

    timestep: int
    reward: float
    value: float | None
    last: bool
    life_lost: bool = False
    """Whether the player lost a life, but not the last one."""


@dataclass(slots=True)
class Entry:
    """One displayed timestep."""

    event: Event
    state: dict[str, Any]
    packed_view: bytes


class History:
    """Entries of consecutive timesteps; the oldest are dropped beyond ``max_bytes``."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes, self.num_bytes = max_bytes, 0
        self.entries: deque[Entry] = deque()

    def add(self, entry: Entry) -> None:
        """Append an entry; replace the newest one if it has the same timestep."""
        if self.entries and self.entries[-1].event.timestep == entry.event.timestep:
            self.num_bytes -= len(self.entries.pop().packed_view)
        self.entries.append(entry)
        self.num_bytes += len(entry.packed_view)
        while self.num_bytes > self.max_bytes and len(self.entries) > 1:
            self.num_bytes -= len(self.entries.popleft().packed_view)

    @property
    def oldest(self) -> int:
        """The oldest kept timestep."""
        return self.entries[0].event.timestep

    def at(self, timestep: int) -> Entry:
        """Return the kept entry nearest to a timestep."""
        return self.entries[min(max(timestep - self.oldest, 0), len(self.entries) - 1)]

    def events_since(self, timestep: int) -> list[Event]:
        """Return the events of all kept timesteps after this one."""
        begin = max(timestep + 1 - self.oldest, 0)
        return [entry.event for entry in islice(self.entries, begin, None)]
