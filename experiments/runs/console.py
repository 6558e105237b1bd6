"""The console of a run, which may be closed or no longer read."""

import errno
import signal
import sys
from contextlib import suppress
from typing import Any

from rich.console import Console

from .output import discard_output


class CommandConsole(Console):
    """A console whose unread output ends the command as any other does.

    Rich's own ends the process with status 1 and without a word.
    """

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "the output is not read")


def progress_console() -> Console:
    """Return a console on stderr."""
    return CommandConsole(stderr=True, **notebook_settings())


def notebook_settings() -> dict[str, Any]:
    """Return settings of a console that prints plain lines in a notebook, as in a file.

    Rich takes a notebook's output for a terminal, and would display every line as a picture.
    """
    return {"force_jupyter": False, "force_terminal": False} if Console().is_jupyter else {}


class RunConsole(Console):
    """A console on which a run survives the end of its output.

    If a pipe is no longer read, the run is interrupted, by SIGPIPE among its ``signals``. If a
    terminal has been closed, the run goes on, unless SIGHUP interrupts it.
    """

    def __init__(self, signals: list[int], *, quiet: bool, **settings: Any) -> None:
        super().__init__(quiet=quiet, **notebook_settings(), **settings)
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
