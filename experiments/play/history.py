"""The recent history of play, which the timeline shows."""

from collections import deque
from dataclasses import dataclass
from typing import Any

MAX_BYTES = 128_000_000
"""Of packed views; at 15 kB each these are 8,500 timesteps, ten minutes in real time."""

Event = tuple[int, float, float | None, bool]
"""Timestep, reward, value estimate, and whether the episode ended."""


@dataclass(slots=True)
class Entry:
    """One displayed timestep."""

    timestep: int
    state: dict[str, Any]
    packed_view: bytes
    reward: float
    value: float | None
    last: bool

    @property
    def event(self) -> Event:
        """The part of the entry that the timeline draws."""
        return self.timestep, self.reward, self.value, self.last


class History:
    """Entries of consecutive timesteps; the oldest are dropped beyond ``max_bytes``."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes, self.num_bytes = max_bytes, 0
        self.entries: deque[Entry] = deque()

    def add(self, entry: Entry) -> None:
        """Append an entry; replace the newest one if it has the same timestep."""
        if self.entries and self.entries[-1].timestep == entry.timestep:
            self.num_bytes -= len(self.entries.pop().packed_view)
        self.entries.append(entry)
        self.num_bytes += len(entry.packed_view)
        while self.num_bytes > self.max_bytes and len(self.entries) > 1:
            self.num_bytes -= len(self.entries.popleft().packed_view)

    @property
    def oldest(self) -> int:
        """The oldest kept timestep."""
        return self.entries[0].timestep

    def at(self, timestep: int) -> Entry:
        """Return the kept entry nearest to a timestep."""
        return self.entries[min(max(timestep - self.oldest, 0), len(self.entries) - 1)]

    def events_since(self, timestep: int) -> list[Event]:
        """Return the events of all kept timesteps after this one."""
        events = []
        for entry in reversed(self.entries):
            if entry.timestep <= timestep:
                break
            events.append(entry.event)
        return events[::-1]
