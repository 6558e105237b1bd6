"""The options of ``reverie gallery``, and the sizes of its measurements."""

import os
from dataclasses import dataclass
from pathlib import Path

from ...envs.checks import above, at_least, check
from ...envs.errors import UsageError
from ..sessions.options import Imports

QUICK_MINUTES, QUICK_MOST = 26.0, 1.5
"""Minutes of two cores in which all models are trained and measured by ``quick``, and the most that
one of them is trained."""


@dataclass(frozen=True)
class Sizes:
    """How much each column measures."""

    held_out: int = 500
    """Held-out frames that are scored."""
    samples: int = 128
    """Frames sampled for the two-sample test."""
    completed: int = 16
    """Frames that are completed."""
    posterior: int = 8
    """Completions sampled of each."""
    coded: int = 100
    """Frames that are compressed."""
    visits: int = 1000
    """Visited states of DeepSea."""
    probed: int = 500
    """Timesteps of eight envs whose positions are predicted."""
    refined: int = 64
    """Frames whose posteriors are refined."""


QUICK = Sizes(
    held_out=200,
    samples=64,
    completed=4,
    posterior=4,
    coded=32,
    visits=300,
    probed=150,
    refined=16,
)


@dataclass(frozen=True)
class GalleryOptions:
    """Train every density on the same frames for the same time, and show what each can do.

    Example: reverie gallery --games pong --models histogram,cts --minutes 1
    """

    games: str = ""
    """Atari games, separated by commas, also atari26, atari57 or hard; by default pong,ms_pacman.
    Frames of random play are collected once."""
    data: tuple[Path, ...] = ()
    """Recordings to use instead, as by reverie collect; several of one env are mixed."""
    models: str = ""
    """Densities by name, separated by commas; by default all of them."""
    frames: int = 20_000
    """Frames that are collected in each game."""
    minutes: float = 10.0
    """Minutes of updates of each model, on one thread."""
    updates: int = 0
    """Updates of each model, instead of equal minutes."""
    measure_minutes: float = 10.0
    """Minutes in which a model is measured; a column that is slow measures fewer frames."""
    quick: bool = False
    """Fit all of it into half an hour of two cores, by shorter training and smaller
    measurements."""
    seed: int = 0
    """Seed of the frames, the models and the batches."""
    folder: Path = Path("runs/gallery")
    """Folder of the recordings, the runs and the report; finished runs are not repeated."""
    save: str = ""
    """Name under which the numbers are committed, as experiments/results/gallery/NAME.json."""
    workers: int = 0
    """Processes at a time, each of one thread; 0 for as many as there are cores."""
    dry_run: bool = False
    """Print what would be trained, and the hours; run none of it."""
    imports: Imports = ()
    """Module with densities of your own; may be repeated."""

    def __post_init__(self) -> None:
        check(self, "", at_least(0), "updates", "workers", "seed")
        check(self, "", above(0), "minutes", "measure_minutes")
        check(self, "", at_least(100), "frames")
        if self.games and self.data:
            raise UsageError(
                f"--games is {self.games} and --data names recordings; give one of them."
            )

    @property
    def sizes(self) -> Sizes:
        """How much each column measures."""
        return QUICK if self.quick else Sizes()

    @property
    def num_workers(self) -> int:
        """Processes at a time."""
        return self.workers or len(os.sched_getaffinity(0))

    def limits(self, num_tasks: int) -> tuple[float, float]:
        """Return the minutes of training and of measuring that each of the tasks gets."""
        if not self.quick:
            return self.minutes, self.measure_minutes
        share = QUICK_MINUTES * 2 / num_tasks / 2
        return min(share, self.minutes, QUICK_MOST), min(share, self.measure_minutes)
