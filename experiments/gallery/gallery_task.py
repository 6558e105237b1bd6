"""A task of the gallery: the pretraining of a density in a game, and its columns.

Both continue where a killed process ended: the training from its checkpoint, the columns from the
file that each is added to.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from ...envs.errors import RunError, UsageError
from ..config.arguments import import_modules
from ..runs.runtime import pick_threads
from ..sessions.options import PretrainOptions
from ..training.densities import DensityPretraining
from ..training.pretrain import pretrain
from .columns import COLUMNS, Column
from .first_pass import FirstPass
from .gallery_options import Sizes
from .measurements import Cells, Pictures, read_cells, read_pictures, write_measurements
from .subject import Subject, TimeIsUp, updates_of_a_pass


@dataclass(frozen=True)
class GalleryTask:
    """A density in a game."""

    game: str
    model: str
    """Name of the density."""
    job: DensityPretraining
    folder: Path
    """The run folder; absolute, because other processes execute the task."""
    sizes: Sizes = Sizes()
    measure_minutes: float = 10.0
    """Minutes of all columns, of which each has an equal share, and what earlier ones left."""
    imports: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The game and the density."""
        return f"{self.game}: {self.model}"

    @property
    def cells(self) -> Cells:
        """The cells measured so far by column: None for one that the density cannot fill."""
        return read_cells(self.folder)[1]

    @property
    def pictures(self) -> Pictures:
        """The pictures by name, as in a cell."""
        quantizer = self.job.quantizer(self.job.manifest)
        return read_pictures(self.folder, quantizer.shape, quantizer.levels)

    def execute(self) -> None:
        """Train the density from its last checkpoint, and measure the columns that are missing.

        Raises KeyboardInterrupt if training is interrupted.
        """
        import_modules(self.imports)
        options = PretrainOptions(
            imports=self.imports, device="cpu", threads=1, checkpoint_minutes=0.5, quiet=True
        )
        first, begin = FirstPass(updates_of_a_pass(self.job)), time.monotonic()
        run = pretrain(self.job, self.folder, options, [first])
        run.raise_interrupted()
        if not run.finished:
            raise KeyboardInterrupt
        pick_threads(1)
        if not self.job.minutes:
            begin = time.monotonic()
        # The evaluations of the training are part of what measuring may take.
        self.measure(begin + 60 * (self.job.minutes + self.measure_minutes))

    def measure(self, deadline: float) -> None:
        """Measure the columns that are missing or failed, and store each at once.

        ``deadline`` is by ``time.monotonic``.
        """
        subject = Subject(self.job, self.folder, self.sizes)
        about = {"step": subject.state["step"], "sizes": asdict(self.sizes)}
        density, (stored, cells) = subject.density(), read_cells(self.folder)
        pictures = self.pictures
        if not pictures or any(stored.get(name) != x for name, x in about.items()):
            cells, pictures = {}, {}  # it has learned more, or they are lost
        pictures["held-out"] = subject.held_out[:1].numpy()
        missing = [x for x in COLUMNS if not self._is_settled(cells.get(x.name, {}))]
        missing.sort(key=lambda column: column.slow)
        for k, column in enumerate(missing):
            seconds = (deadline - time.monotonic()) / (len(missing) - k)
            cells[column.name], drawn = self._measured(column, subject, density, seconds)
            pictures |= {name: np.asarray(x) for name, x in drawn.items()}
            write_measurements(self.folder, about, cells, pictures)

    def _is_settled(self, cell: dict[str, Any] | None) -> bool:
        """Return whether a cell is measured; a failure is measured again, or for longer."""
        if cell is None:
            return True
        if "error" in cell:
            return bool(self.measure_minutes <= cell["minutes"])
        return bool(cell)

    def _measured(
        self, column: Column, subject: Subject, density: Any, seconds: float
    ) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """Return what is stored of a cell, and pictures.

        These are its numbers or the sentence of a failure, or None if the density, or these frames,
        cannot fill it.
        ``seconds`` are those that it may take.
        """
        begin, minutes = time.monotonic(), 0.0
        try:
            if not column.fits(density):
                return None, {}
            subject.deadline = begin + seconds / 2  # the last frames may take as long again
            with time_limit(seconds):
                cell = column.measure(subject)
            if cell is None:
                return None, {}
            duration = round(time.monotonic() - begin, 2)
            return {"shown": cell.shown, **cell.numbers, "measured_in": duration}, cell.pictures
        except TimeIsUp:
            minutes = self.measure_minutes
            sentence = f"> {seconds:.0f} s" if seconds >= 1 else "no time"
        except (UsageError, RunError) as error:
            sentence = str(error)
        except Exception as error:  # a density of a user may raise anything
            sentence = f"{type(error).__name__}: {error}"
        return {"error": sentence, "minutes": minutes}, {}


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeIsUp within the context after some seconds of wall time, in the main thread."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeIsUp

    if seconds <= 0:
        raise TimeIsUp
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
