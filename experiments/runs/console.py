"""The console of a run, which may be closed or no longer read."""

import errno
import signal
import sys
from contextlib import suppress
from typing import Any

from rich.console import Console

from .output import discard_output


class RunConsole(Console):
    """A console on which a run survives the end of its output.

    If a pipe is no longer read, the run is interrupted, by SIGPIPE among its ``signals``. If a
    terminal has been closed, the run goes on, unless SIGHUP interrupts it.
    """

    def __init__(self, signals: list[int], *, quiet: bool, **settings: Any) -> None:
        super().__init__(quiet=quiet, **settings)
        self.signals, self.quiet = signals, quiet

    def on_broken_pipe(self) -> None:
        self.quiet = True
        self.signals.append(signal.SIGPIPE)
        discard_output()
        with suppress(OSError):
            print("The output is no longer read; the run ends with a checkpoint.", file=sys.stderr)

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self.quiet = True
            discard_output()
