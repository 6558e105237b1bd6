"""Outputs are tried before a long computation, and kept elsewhere if they fail after it."""

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest

from reverie.envs.errors import RunError, UsageError
from reverie.experiments.runs.files import read_json
from reverie.experiments.runs.outputs import check_writable, write_or_keep


def test_a_file_that_can_be_written_leaves_no_trace_of_the_trial(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    check_writable(tmp_path / "a" / "b" / "new.json", tmp_path / "old.json", remedy="none")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "old"


@pytest.mark.parametrize("name", ["folder", "file/new.json", "file/a/new.json", "/proc/new.json"])
def test_a_file_that_cannot_be_written_is_named_with_the_remedy(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    path = tmp_path / name
    with pytest.raises(UsageError, match=rf"{path} cannot be written \(.*\); choose another --out"):
        check_writable(tmp_path / "good.json", path, remedy="choose another --out")


def fill(monkeypatch: pytest.MonkeyPatch, folder: Path, *, free: int = 0) -> None:
    """Make a folder a full disk: files in it are no longer synced after ``free`` ones."""
    sync, left = os.fsync, [free]

    def full(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if path.startswith(str(folder)) and not os.path.isdir(path):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)


def test_the_content_of_a_file_that_failed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, elsewhere = tmp_path / "full" / "scores.json", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    fill(monkeypatch, path.parent)
    with pytest.raises(RunError, match="cannot be written \\(No space left") as raised:
        write_or_keep(path, '{"mean": 3}')
    kept = re.search(r"its content is in (\S+)\.$", str(raised.value))
    assert kept
    assert Path(kept[1]).is_relative_to(elsewhere)
    assert read_json(Path(kept[1])) == {"mean": 3}
    assert not path.exists()

    def refuse(*args: Any, **options: Any) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(RunError, match="nor can the folder of temporary files \\(Permission"):
        write_or_keep(path, "text")
