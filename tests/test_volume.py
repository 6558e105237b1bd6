"""The model of a disk that loses power, on files whose states are known."""

import os
import random
from pathlib import Path

import pytest
from file_layer import Operation, watching
from volume import Recorder, Volume


def states(folder: Path, tmp_path: Path, recorder: Recorder, name: str) -> set[bytes | None]:
    """Return every content that a file may have after the power is lost now; None for no file."""
    volume, found = Volume(folder), set[bytes | None]()
    for operation in recorder.operations:
        volume.apply(operation)
    for number in range(200):
        out = tmp_path / f"crash-{number}"
        volume.crash(random.Random(number), out)
        path = out / name
        found.add(path.read_bytes() if path.exists() else None)
    return found


def test_what_was_not_synced_may_be_lost_and_the_rest_is_kept(tmp_path: Path) -> None:
    before, folder, recorder = tmp_path / "before", tmp_path / "now", Recorder()
    before.mkdir()
    folder.mkdir()
    with watching(folder, recorder):
        (folder / "a").write_bytes(b"1234")
        assert states(before, tmp_path / "1", recorder, "a") == {
            *(None, b"", b"1234", b"12", bytes(4)),
        }
        with open(folder / "a", "ab") as file:
            os.fsync(file.fileno())
        assert states(before, tmp_path / "2", recorder, "a") == {None, b"1234"}
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        assert states(before, tmp_path / "3", recorder, "a") == {b"1234"}
        (folder / "b").write_bytes(b"56")
        (folder / "b").replace(folder / "a")
        after = states(before, tmp_path / "4", recorder, "a")
        assert after == {b"1234", b"", b"5", b"56", bytes(2)}, "a rename without a sync"
        (folder / "a").unlink()
        assert None in states(before, tmp_path / "5", recorder, "a")


def test_every_operation_below_the_folder_is_seen_and_no_other(tmp_path: Path) -> None:
    names: list[tuple[str, str]] = []

    class Names(Recorder):
        def before(self, operation: Operation) -> None:
            names.append((operation.name, operation.path))

    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    with watching(tmp_path / "in", Names()):
        (tmp_path / "out/x").write_text("1")
        (tmp_path / "in/x").write_text("1")
        assert (tmp_path / "in/x").read_text() == "1"
        assert os.listdir(tmp_path / "in") == ["x"]
        (tmp_path / "in/x").unlink()
    seen = [name for name, path in names if path in ("x", ".")]
    assert [x for x in seen if x not in ("stat", "read")] == (
        ["open", "write", "open", "list", "unlink"]
    )
    assert "read" in seen
    assert open(tmp_path / "out/x").read() == "1", "and afterwards none"  # noqa: SIM115


def test_a_refused_operation_is_not_done(tmp_path: Path) -> None:
    class Full(Recorder):
        def before(self, operation: Operation) -> int | None:
            if operation.name == "write" and len(self.operations) > 1:
                raise OSError(28, "full")
            return 2 if operation.name == "write" else None

    with watching(tmp_path, Full()):
        file = open(tmp_path / "x", "wb", buffering=0)  # noqa: SIM115
        assert file.write(b"123") == 2, "a short write"
        with pytest.raises(OSError, match="full"):
            file.write(b"3")
        file.close()
    assert (tmp_path / "x").read_bytes() == b"12"
