"""`reverie check`: every single damage of a run is found, and a repaired run goes on."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from file_layer import Operation, Watcher, watching
from killed_runs import CATCH, LOGGED

from reverie import train
from reverie.experiments.cli.main import main
from reverie.experiments.integrity.checkpoint_files import check_checkpoints
from reverie.experiments.integrity.event_records import read_events, read_pieces
from reverie.experiments.integrity.integrity import check_folder
from reverie.experiments.runs import blocks as blocks_module
from reverie.experiments.runs import packed_state
from reverie.experiments.runs.checkpoints import Checkpoints
from reverie.experiments.runs.folder_lock import locked
from reverie.experiments.runs.json_values import MAX_BYTES
from reverie.experiments.runs.packed_state import names_of_files
from reverie.experiments.runs.run import Run
from reverie.experiments.text.terminal_text import file_size

HALF, END = 240, 480


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (blocks_module, packed_state):
            patch.setattr(module, "BLOCK_SIZE", 1 << 13)
        patch.setattr(blocks_module, "GROUP_SIZE", 4)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, small_blocks: None) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    for steps in (HALF, END):
        train(replace(CATCH, total_timesteps=steps), folder, LOGGED)
    assert main(["evaluate", str(folder), "--episodes", "2"]) == 0
    return folder


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def blocks_of(folder: Path, step: int) -> set[str]:
    return names_of_files(Checkpoints(folder / "checkpoints").read_packed(step))


def find_files(folder: Path) -> dict[str, Path]:
    """Return a file of every kind of a run."""
    blocks, events = folder / "checkpoints" / "blocks", sorted(folder.glob("events.*"))
    older, newest = (
        {x for x in blocks_of(folder, step) if not x.endswith("parity")} for step in (HALF, END)
    )
    return {
        **{
            name: folder / name
            for name in ("config.json", "provenance.json", "scores.json", "finished")
        },
        **{f"{x}.jsonl": folder / f"{x}.jsonl" for x in ("metrics", "episodes", "evaluations")},
        "first events": events[0],
        "last events": events[-1],
        "newest checkpoint": folder / "checkpoints" / f"{END:012d}.pt",
        "older checkpoint": folder / "checkpoints" / f"{HALF:012d}.pt",
        "shared block": blocks / min(older & newest),
        "newest block": blocks / min(newest - older),
        "older block": blocks / min(older - newest),
        "parity": min(blocks.glob("*.parity")),
    }


UNKNOWN = {("scores.json", remove), ("older checkpoint", remove), ("finished", remove)}
"""Removed files that a run may lack as well."""


CONTINUED = (
    "config.json",
    "provenance.json",
    "episodes.jsonl",
    "newest checkpoint",
    "newest block",
)
"""Files after whose damage training goes on in a test."""


@pytest.mark.parametrize(
    "damage", [flip, *(pytest.param(x, marks=pytest.mark.long) for x in (remove, truncate))]
)
def test_every_single_damage_is_found_and_a_repaired_run_goes_on(
    damage: Callable[[Path], None],
    whole: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in find_files(whole):
        folder = tmp_path / name.replace(" ", "-")
        shutil.copytree(whole, folder)
        damage(find_files(folder)[name])
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        found = main(["check", str(folder)])
        shown = capsys.readouterr().out
        assert found == ((name, damage) not in UNKNOWN), (name, shown)
        assert {x: x.read_bytes() for x in folder.rglob("*") if x.is_file()} == before
        again = main(["check", str(folder), "--repair"])
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= max(80, len(str(folder)) + 60)
        assert again == 0 or "--repair" not in shown, "what can be repaired is"
        if "block" in name or name == "parity":
            assert again == 0
            assert {x.name for x in (folder / "checkpoints/blocks").iterdir()} == {
                x.name for x in (whole / "checkpoints/blocks").iterdir()
            }
        start = HALF if name == "newest checkpoint" else END
        assert f"of step {start}." in shown.replace("\n", " "), (name, shown)
        if damage is not flip or name not in CONTINUED:
            assert Run(folder).checkpoints.load() is not None
            continue
        assert train(replace(CATCH, total_timesteps=520), folder, LOGGED).finished, name
        sessions = json.loads((folder / "provenance.json").read_text())["sessions"]
        assert sessions[-1]["from_step"] == start, name
        assert main(["check", str(folder)]) == 0, (name, capsys.readouterr().out)
        capsys.readouterr()


def test_two_lost_blocks_of_a_group_cost_the_newest_checkpoint_alone(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    for name in blocks_of(folder, END) - blocks_of(folder, HALF):
        (folder / "checkpoints" / "blocks" / name).unlink()
    assert check_checkpoints(Run(folder).checkpoints).whole == [HALF]
    assert main(["check", str(folder), "--repair"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{END:012d}.pt was renamed to {END:012d}.pt.unreadable." in shown
    assert f"continues from the checkpoint of step {HALF}." in shown
    assert train(CATCH, folder, LOGGED).finished
    assert main(["check", str(folder)]) == 0


def test_nothing_is_changed_where_no_checkpoint_is_whole(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    for path in (folder / "checkpoints").glob("*.pt"):
        flip(path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["check", str(folder), "--repair"]) == 1
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after | {folder / "lock": b""} == before | {folder / "lock": b""}


def test_the_tail_of_a_killed_process_is_kept_aside(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    logs = [folder / "metrics.jsonl", max(folder.glob("events.*"))]
    before = [path.read_bytes() for path in logs]
    for path in logs:
        with path.open("ab") as file:
            file.write(b'{"step": 500, "fra')
    partial = folder / "checkpoints" / "blocks" / f"{'ab' * 32}.{'0f' * 16}.tmp"
    partial.touch()
    (folder / "checkpoints" / "blocks" / "@eaDir").mkdir()
    assert main(["check", str(folder)]) == 1
    assert main(["check", str(folder), "--repair"]) == 0
    assert [path.read_bytes() for path in logs] == before
    assert not partial.exists()
    asides = sorted(folder.glob("*.unreadable"))
    assert len(asides) == 2
    assert all(b'{"step": 500, "fra' in path.read_bytes() for path in asides)
    assert not any("tfevents" in path.name for path in asides), "TensorBoard would read them"
    assert "foreign file" in capsys.readouterr().out


class Unreadable(Watcher):
    """A disk that gives no file's content for now."""

    def before(self, operation: Operation) -> int | None:
        if operation.name == "read":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return None


def test_files_that_a_disk_does_not_give_for_now_are_left(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    before = {path.name for path in folder.iterdir()}
    with watching(folder, Unreadable()):
        assert main(["check", str(folder), "--repair"]) == 1
    assert {path.name for path in folder.iterdir()} == before, "no name was changed"
    assert not check_folder(folder).damages


def test_a_description_too_large_to_be_ours_is_set_aside(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    os.truncate(folder / "scores.json", MAX_BYTES + 1)
    assert main(["check", str(folder), "--repair"]) == 0
    assert (folder / "scores.json.unreadable").exists()


def test_damaged_events_cost_no_other_event(whole: Path) -> None:
    data = bytearray(read_events(max(whole.glob("events.*"))))
    pieces = list(read_pieces(bytes(data)))
    assert len(pieces) > 4
    assert all(good for *_, good in pieces)
    assert pieces[-1][1] == len(data)
    for offset in (0, 9, 14):  # in the length, its CRC and the data of the third record
        torn = bytearray(data)
        torn[pieces[2][0] + offset] ^= 1
        found = list(read_pieces(bytes(torn)))
        assert [(a, b) for a, b, good in found if good] == [
            (a, b) for i, (a, b, _) in enumerate(pieces) if i != 2
        ]


def test_a_folder_in_which_a_process_works_is_refused(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / "busy"
    shutil.copytree(whole, folder)
    with locked(folder, "training"):
        for flags in ([], ["--repair"]):
            assert main(["check", str(folder), *flags]) == 2
            assert str(folder) in capsys.readouterr().err
        assert main(["check", str(folder.parent)]) == 1
    assert "not checked" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_names_of_somebody_else_are_found_and_left(kind: str, whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("precious")
    for name in ("config.json", "metrics.jsonl", "finished", "scores.json", "provenance.json"):
        folder = tmp_path / f"of-{name}"
        shutil.copytree(whole, folder)
        (folder / name).unlink()
        match kind:
            case "link":
                (folder / name).symlink_to(other)
            case "pipe":
                os.mkfifo(folder / name)
            case "folder":
                (folder / name).mkdir()
        assert check_folder(folder).damages, name
        assert main(["check", str(folder), "--repair"]) == 1
        assert other.read_text() == "precious"


@pytest.mark.parametrize("damage", [remove, truncate, flip])
def test_damages_of_recordings_are_found(
    damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "recordings"
    argv = ["collect", "random", "env:catch", "--frames", "60", "--folder", str(root / "a")]
    assert main(argv) == 0
    assert main(["check", str(root / "a")]) == 0
    for name in ("manifest.json", "00000.frames", "00000.npz"):
        folder = root / f"without-{name}"
        shutil.copytree(root / "a", folder)
        damage(folder / name)
        if name != "manifest.json" or damage is truncate:  # it is in no checkpoint
            assert main(["check", str(folder)]) == 1, name
    capsys.readouterr()
    assert main(["check", str(root)]) == 1
    assert "whole" in capsys.readouterr().out


def test_a_list_cuts_no_name_short(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"pretrain-predictor-small-of-a-long-name-n_step={i}-gamma=0.99" for i in (3, 5)]
    for name in names:
        shutil.copytree(whole, tmp_path / name)
    truncate(tmp_path / names[0] / "config.json")
    assert main(["check", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert f"{tmp_path / names[0]} is damaged" in text.replace("\n", " ")
    rows = text[text.index("state ") :]
    assert "…" not in rows
    assert all(len(line) <= 80 for line in rows.splitlines())
    assert "3-gamma=0.99" in "".join(line[40:].strip() for line in rows.splitlines())


def test_sizes_below_a_megabyte_are_not_zero() -> None:
    assert [file_size(x) for x in (0, 999, 12_400, 3_400_000)] == [
        "0 bytes", "999 bytes", "12.4 kB", "3.4 MB"
    ]  # fmt: skip
