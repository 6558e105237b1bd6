"""The last minutes of play, for the timeline: every tick as it was shown, and what it was worth."""

from collections import deque
from dataclasses import dataclass
from typing import Any

BYTES = 128_000_000
"""Of packed views; at 15 kB each these are 8,500 ticks, ten minutes in real time."""


@dataclass(slots=True)
class Entry:
    """A tick as it was shown."""

    tick: int
    about: dict[str, Any]
    body: bytes
    reward: float
    value: float | None
    last: bool

    @property
    def event(self) -> tuple[int, float, float | None, bool]:
        """What the timeline draws of it."""
        return self.tick, self.reward, self.value, self.last


class History:
    """Entries of consecutive ticks, the oldest forgotten first."""

    def __init__(self, limit: int = BYTES) -> None:
        self.limit, self.size = limit, 0
        self.entries: deque[Entry] = deque()

    def add(self, entry: Entry) -> None:
        """Keep a tick; one that is already there is replaced."""
        if self.entries and self.entries[-1].tick == entry.tick:
            self.size -= len(self.entries.pop().body)
        self.entries.append(entry)
        self.size += len(entry.body)
        while self.size > self.limit and len(self.entries) > 1:
            self.size -= len(self.entries.popleft().body)

    @property
    def oldest(self) -> int:
        return self.entries[0].tick

    def at(self, tick: int) -> Entry:
        """The kept entry nearest to a tick."""
        return self.entries[min(max(tick - self.oldest, 0), len(self.entries) - 1)]

    def events_since(self, tick: int) -> list[tuple[int, float, float | None, bool]]:
        """Of all kept ticks after this one."""
        events = []
        for entry in reversed(self.entries):
            if entry.tick <= tick:
                break
            events.append(entry.event)
        return events[::-1]
