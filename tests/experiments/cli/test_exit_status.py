"""Exit statuses and output: documented, the same for every command, and nothing is lost."""

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reverie.envs.errors import Interrupted, RunError, UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.runs.console import CommandConsole
from reverie.experiments.runs.run import Run
from reverie.experiments.runs.runtime import interrupts
from reverie.experiments.sessions.progress import Display

ROOT = Path(__file__).parents[3]
TRAIN = (
    "train", "mfec", "env:catch", "--total-timesteps", "800", "--num-envs", "4", "--log-every",
    "40", "--random-play-seconds", "0", "--device", "cpu", "--threads", "1", "--folder", "here",
)  # fmt: skip
STATUSES = {
    0: None,
    1: RunError("failed"),
    2: UsageError("wrong"),
    129: Interrupted(signal.SIGHUP),
    130: KeyboardInterrupt(),
    141: BrokenPipeError(),
    143: Interrupted(signal.SIGTERM),
}


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@contextmanager
def output_to(raw: Any, encoding: str = "utf-8") -> Iterator[None]:
    """Replace the standard output, and leave the file open."""
    wrapper = io.TextIOWrapper(raw, encoding=encoding)
    previous, sys.stdout = sys.stdout, wrapper
    try:
        yield
    finally:
        sys.stdout = previous
    wrapper.detach()


@contextmanager
def unread_pipe() -> Iterator[None]:
    """Make the standard output a pipe whose reader has ended, as after ``| head``."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe, output_to(pipe):
        yield


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_the_documented_statuses(
    command: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(argv: list[str]) -> int:
        if error := STATUSES[status]:
            raise error
        return 0

    monkeypatch.setattr(cli, "import_module", lambda *names: SimpleNamespace(run=run))
    assert cli.main([command]) == status
    assert ("reverie: " in capsys.readouterr().err) == (status in (1, 2))


def test_the_statuses_are_those_of_the_documents() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Exit status")
    assert {int(x) for x in re.findall(r"^\| `(\d+)` \|", section, re.MULTILINE)} == {*STATUSES}


@pytest.mark.parametrize("args", [["list"], ["--help"], ["train", "mfec", "--help"]])
def test_output_that_is_not_read_ends_a_command_quietly(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with unread_pipe():
        assert cli.main(args) == 141
    assert not capsys.readouterr().err


def test_output_that_is_not_read_ends_training_with_a_checkpoint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with unread_pipe():
        assert cli.main([*TRAIN]) == 141
    (step,) = Run("here").checkpoints.steps()
    assert 0 < step < 800
    assert "the run ends with a checkpoint" in capsys.readouterr().err
    assert cli.main([*TRAIN, "--quiet"]) == 0
    assert max(Run("here").checkpoints.steps()) == 800


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_training_with_a_checkpoint(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Display, "on_row", lambda self, row: signal.raise_signal(number))
    previous = signal.signal(number, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        assert cli.main([*TRAIN]) == 128 + number
    finally:
        signal.signal(number, previous)
    assert Run("here").checkpoints.steps() == [40]
    assert "Stopped at step 40; the same command continues" in capsys.readouterr().out


def test_nohup_stays_in_effect() -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts() as received:
            signal.raise_signal(signal.SIGHUP)
        assert not received
    finally:
        signal.signal(signal.SIGHUP, previous)


@pytest.mark.parametrize("closed", ["stdout", "terminal"])
def test_training_goes_on_without_its_terminal(
    closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a background process whose terminal is closed, and with ``>&-``."""
    if closed == "stdout":
        monkeypatch.setattr(sys, "stdout", None)
        assert cli.main([*TRAIN]) == 0
    else:
        reader, writer = os.openpty()
        os.close(reader)
        with open(writer, "wb") as terminal, output_to(terminal):
            assert cli.main([*TRAIN]) == 0
    assert Run("here").checkpoints.steps() == [800]


def test_an_ascii_locale_ends_no_command() -> None:
    output = io.BytesIO()
    with output_to(output, "ascii"):
        assert cli.main([*TRAIN]) == 0
        assert cli.main(["evaluate", "here", "--episodes", "3", "--device", "cpu"]) == 0
        with pytest.raises(SystemExit):
            cli.main(["train", "mfec", "--help"])
    assert b" ? " in output.getvalue(), "the sign before a standard error"
    assert output.getvalue().isascii()


def test_no_file_gets_the_number_of_a_closed_standard_file(tmp_path: Path) -> None:
    """As C's libraries print to these numbers; a service may be started with all three closed."""
    code = (
        "import os; from reverie.experiments.cli.main import exit_status\n"
        "def run():\n"
        "    with open('number', 'w') as file:\n"
        "        file.write(str(file.fileno()))\n"
        "        file.flush()\n"
        "        os.write(2, b' from C')\n"
        "    print('unseen')\n"
        "    return 0\n"
        "raise SystemExit(exit_status(run))"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(command, cwd=tmp_path).returncode == 0
    assert int((tmp_path / "number").read_text()) > 2


def test_a_table_that_is_not_read_ends_a_command_quietly() -> None:
    """As ``reverie doctor``, whose table is printed by rich."""

    def run() -> int:
        CommandConsole().print("a table")
        return 0

    with unread_pipe():
        assert cli.exit_status(run) == 128 + signal.SIGPIPE
