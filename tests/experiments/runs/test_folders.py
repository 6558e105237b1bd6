"""Folders in which somebody else has written: links, foreign files, lost rows, a removed lock."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from reverie import TrainOptions, train
from reverie.agents.networks import MLPConfig
from reverie.agents.ppo import PPOConfig
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import FolderBusy, RunError, UsageError
from reverie.experiments.cli.main import main
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.runs.blocks import Blocks
from reverie.experiments.runs.checkpoints import Checkpoints
from reverie.experiments.runs.disk_errors import reporting_disk_errors
from reverie.experiments.runs.files import make_folder, open_own
from reverie.experiments.runs.folder_lock import is_locked, locked
from reverie.experiments.runs.jsonl import Marker, is_intact
from reverie.experiments.sessions.callbacks import Callback

OPTIONS = TrainOptions(device="cpu", threads=1, quiet=True, random_play_seconds=0, log_every=40)


def experiment(steps: int) -> Experiment:
    agent = PPOConfig(network=MLPConfig(), num_steps=5)
    return Experiment(agent, CatchConfig(), num_envs=4, total_timesteps=steps)


def test_a_mark_holds_for_what_was_written_before_it(tmp_path: Path) -> None:
    path, marker = tmp_path / "rows", Marker(tmp_path / "rows")
    assert is_intact(path, marker.mark()), "there is no file yet"
    for text in ("one\n", "two\n"):
        with open(path, "a") as file:
            file.write(text)
        mark = marker.mark()
    assert mark["size"] == 8
    with open(path, "a") as file:
        file.write("more\n")
    assert is_intact(path, mark)
    path.write_bytes(b"one\n\0\0\0\0more\n")
    assert not is_intact(path, mark), "a page of zeros, as a power failure leaves it"
    path.write_bytes(b"one\n")
    assert not is_intact(path, mark)
    path.unlink()
    assert not is_intact(path, mark)


@pytest.mark.parametrize("name", ["episodes.jsonl", "metrics.jsonl"])
def test_rows_lost_before_a_checkpoint_are_reported(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(experiment(200), tmp_path, OPTIONS)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-30])
    train(experiment(400), tmp_path, replace(OPTIONS, quiet=True))
    errors = capsys.readouterr().err
    assert f"{name} in {tmp_path} lost rows that were written before" in errors
    train(experiment(600), tmp_path, replace(OPTIONS, quiet=True))
    assert "lost rows" not in capsys.readouterr().err


class RemoveLock(Callback):
    """Replaces the lock of the run's folder, as `git clean` and a second trainer do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_start(self, step: int) -> None:
        (self.folder / "lock").unlink()
        (self.folder / "lock").write_text("somebody else\n")


def test_a_process_whose_lock_was_removed_stops_without_writing(tmp_path: Path) -> None:
    train(experiment(200), tmp_path, OPTIONS)
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").rglob("*.*")}
    with pytest.raises(RunError, match=r"lock was removed or replaced .* stops without writing"):
        train(experiment(400), tmp_path, OPTIONS, [RemoveLock(tmp_path)])
    assert before == {path: path.read_bytes() for path in (tmp_path / "checkpoints").rglob("*.*")}
    assert train(experiment(400), tmp_path, OPTIONS).finished


def test_only_one_process_holds_a_lock(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "new")
    with locked(tmp_path / "new", "training") as lock:
        assert lock.is_held()
        assert is_locked(tmp_path / "new")
        with pytest.raises(FolderBusy), locked(tmp_path / "new", "training"):
            pass
    assert not is_locked(tmp_path / "new")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["lock", "metrics.jsonl"])
def test_nothing_is_written_through_a_name_of_somebody_else(
    name: str, kind: str, tmp_path: Path
) -> None:
    other, folder = tmp_path / "other", tmp_path / "run"
    other.write_text("precious")
    folder.mkdir()
    match kind:
        case "link":
            (folder / name).symlink_to(other)
        case "pipe":
            os.mkfifo(folder / name)
        case "folder":
            (folder / name).mkdir()
    with pytest.raises((UsageError, RunError, OSError)):
        train(experiment(200), folder, OPTIONS)
    assert other.read_text() == "precious"


def test_a_link_in_the_place_of_what_is_replaced_is_replaced_itself(tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "run"
    other.write_text("precious")
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "learning_curve.png").symlink_to(other)
    os.mkfifo(folder / "finished")
    assert train(experiment(200), folder, OPTIONS).finished
    assert other.read_text() == "precious"
    assert (folder / "figures" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "finished").read_text() == "200"


def test_a_pipe_named_as_the_end_of_a_run_is_not_waited_for(tmp_path: Path) -> None:
    train(experiment(200), tmp_path, OPTIONS)
    (tmp_path / "finished").unlink()
    os.mkfifo(tmp_path / "finished")
    assert train(experiment(200), tmp_path, OPTIONS).finished
    assert (tmp_path / "finished").read_text() == "200"


@pytest.mark.parametrize("name", ["checkpoints", "figures", "videos"])
def test_training_does_not_go_on_through_a_linked_folder(name: str, tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "run"
    other.mkdir()
    folder.mkdir()
    (folder / name).symlink_to(other)
    with pytest.raises(UsageError, match="is a link, and a run reads and writes only in its own"):
        train(experiment(200), folder, OPTIONS)
    assert not [*other.iterdir()]


def test_a_grid_does_not_train_in_a_linked_run_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = "ablate ppo env:catch agent.network:mlp --total-timesteps 400 --seeds 1 --dry-run "
    argv += f"--steps-per-second 9 --folder {tmp_path}/grid"
    (tmp_path / "other").mkdir()
    (tmp_path / "grid").mkdir()
    assert main(argv.split()) == 0
    (tmp_path / "grid" / "ppo-catch-s0-mlp").symlink_to(tmp_path / "other")
    assert main(argv.split()) == 2
    assert "is a link" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["r", "a", "a+", "rb"])
def test_only_regular_files_are_opened(mode: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with open_own(tmp_path / "file", mode) as file:
        assert file.name
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=r"symbolic|not a regular file|No such device"):
            open_own(tmp_path / name, mode)


def test_foreign_files_among_checkpoints_and_blocks_are_left_alone(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": 1})
    foreign = [
        *(tmp_path / name for name in ("٣.pt", "²².pt", "000000000009.pt.bak", "note.tmp")),
        *(tmp_path / "blocks" / name for name in ("@eaDir", ".snapshot", "x.tmp", "0" * 63)),
    ]
    for path in foreign:
        path.touch()
    (tmp_path / "000000000007.pt").symlink_to(tmp_path / "000000000001.pt")
    (tmp_path / "blocks" / "folder.tmp").mkdir()
    for step in (2, 3, 4):
        checkpoints.save(step, {"a": step})
    assert Checkpoints(tmp_path).steps() == [3, 4]
    assert all(path.exists() for path in foreign)
    unused = "0" * 64
    (tmp_path / "blocks" / unused).touch()
    Blocks(tmp_path / "blocks").remove_others(set())
    assert not (tmp_path / "blocks" / unused).exists()


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "The disk of {0} is full; it is kept; make room, and go on."),
        (errno.EACCES, "{0}/x cannot be read or written (Permission denied); it is kept; give"),
        (errno.EFBIG, "{0}/x cannot be read or written (File too large); it is kept; raise"),
        (errno.EROFS, "{0}/x cannot be read or written (Read-only file system); it is kept; make"),
        (errno.ENOTDIR, "{0}/x cannot be read or written (Not a directory); it is kept; mend"),
    ],
)
def test_the_advice_fits_the_error(number: int, sentence: str, tmp_path: Path) -> None:
    with (
        pytest.raises(RunError) as raised,
        reporting_disk_errors(tmp_path, "it is kept", "go on"),
    ):
        raise OSError(number, os.strerror(number), str(tmp_path / "x"))
    assert str(raised.value).startswith(sentence.format(tmp_path))


def test_errors_of_other_files_are_not_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), reporting_disk_errors(tmp_path / "run"):
        (tmp_path / "run-of-mine" / "file").read_bytes()
    with pytest.raises(ConnectionError), reporting_disk_errors(tmp_path / "run"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")
    with pytest.raises(RunError), reporting_disk_errors(tmp_path / "run"):
        raise OSError(errno.EIO, "Input/output error")


def test_an_unreadable_checkpoint_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(experiment(200), tmp_path, OPTIONS)

    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("reverie.experiments.runs.checkpoints.open_own", refuse)
    assert main(["evaluate", str(tmp_path), "--episodes", "1", "--device", "cpu"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "cannot be read or written (Permission denied)" in error
    assert "give this user the right" in error
    assert "damaged" not in error


def test_new_folders_are_made_below_each_other(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=r"exists|Not a directory"):
            make_folder(path)
