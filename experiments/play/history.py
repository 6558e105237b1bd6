"""The recent history of play, which the timeline shows."""

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from ...envs.interface import Carry

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
    carry: Carry = field(default_factory=dict)
    """The policy's carry before this timestep."""
    episode: int = 0
    actions: list[int] = field(default_factory=list)
    """Those of the episode, which go on after this timestep, that of ``state["length"]``."""

    @property
    def num_bytes(self) -> int:
        """Bytes that the entry keeps, without the actions, which all of an episode share."""
        return len(self.packed_view) + sum(x.nbytes for x in self.carry.values())


class History:
    """Entries of consecutive timesteps; the oldest are dropped beyond ``max_bytes``."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes, self.num_bytes = max_bytes, 0
        self.entries: deque[Entry] = deque()

    def add(self, entry: Entry) -> None:
        """Append an entry; replace the newest one if it has the same timestep."""
        if self.entries and self.entries[-1].event.timestep == entry.event.timestep:
            self.num_bytes -= self.entries.pop().num_bytes
        self.entries.append(entry)
        self.num_bytes += entry.num_bytes
        while self.num_bytes > self.max_bytes and len(self.entries) > 1:
            self.num_bytes -= self.entries.popleft().num_bytes

    def drop_before(self, timestep: int) -> None:
        """Drop the entries before a timestep but the newest one."""
        while self.oldest < timestep and len(self.entries) > 1:
            self.num_bytes -= self.entries.popleft().num_bytes

    @property
    def oldest(self) -> int:
        """The oldest kept timestep."""
        return self.entries[0].event.timestep

    def at(self, timestep: int) -> Entry:
        """Return the kept entry nearest to a timestep."""
        return self.entries[min(max(timestep - self.oldest, 0), len(self.entries) - 1)]

    def before(self, timestep: int, count: int, max_bytes: int) -> list[Entry]:
        """Return up to ``count`` entries that end at a timestep, and have up to so many bytes."""
        last = min(max(timestep - self.oldest, 0), len(self.entries) - 1)
        kept: list[Entry] = []
        num_bytes = 0
        for entry in islice(reversed(self.entries), len(self.entries) - 1 - last, None):
            num_bytes += len(entry.packed_view)
            if len(kept) == count or (kept and num_bytes > max_bytes):
                break
            kept.append(entry)
        return kept[::-1]

    def events_since(self, timestep: int) -> list[Event]:
        """Return the events of all kept timesteps after this one."""
        begin = max(timestep + 1 - self.oldest, 0)
        return [entry.event for entry in islice(self.entries, begin, None)]
