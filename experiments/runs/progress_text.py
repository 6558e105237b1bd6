"""The progress of a run as one line: the score, the share done, the remaining time, the speed."""

from collections import deque
from collections.abc import Sequence

RATE_SECONDS = 30.0
"""Seconds over which the speed is measured."""


class Speed:
    """Steps per second over the last ``RATE_SECONDS`` of wall time."""

    def __init__(self) -> None:
        self.marks: deque[tuple[float, int]] = deque()

    def update(self, now: float, step: int) -> None:
        """Add the step at a time, both of which increase."""
        self.marks.append((now, step))
        while len(self.marks) > 2 and now - self.marks[1][0] >= RATE_SECONDS:
            self.marks.popleft()

    @property
    def steps_per_second(self) -> float:
        """The present speed; 0 if it is not known."""
        (start, first), (now, step) = self.marks[0], self.marks[-1]
        return (step - first) / (now - start) if now > start else 0.0


def progress_line(
    width: int, scores: Sequence[str], step: int, total: int, unit: str, rate: float
) -> str:
    """Return the most detailed line that fits ``width`` columns.

    It has the score, the progress, the remaining time if the run is not at its end, and the speed.
    """
    share = f"{int(100 * min(step / total, 1))}%"
    seconds = remaining_seconds(step, total, rate)
    eta = [f"ETA {duration(seconds)}"] if step < total else []
    speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    score, count = scores[-1], f"{step:,} of {total:,} {unit}s ({share})"
    lines = [
        *([x, count, *eta, f"{speed} {unit}s/s"] for x in scores),
        [score, f"{unit} {step:,} ({share})", *eta, f"{speed} {unit}s/s"],
        [score, share, *eta, f"{speed}/s"],
    ]
    texts = [" | ".join(parts) for parts in lines]
    return next((text for text in texts if len(text) <= width), texts[-1])[:width]


def remaining_seconds(step: int, total: int, rate: float) -> float:
    """Return the seconds until the last step at a speed; infinity if it is 0."""
    return max(total - step, 0) / rate if rate else float("inf")


def duration(seconds: float) -> str:
    """Return seconds as a short text: 45 s, 12 min, 3.4 h."""
    if seconds == float("inf"):
        return "unknown"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"
