"""``reverie runs --tidy`` frees space, and every run continues as if it had not."""

import fcntl
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from killed_runs import CATCH

from reverie import train
from reverie.experiments.cli import main as cli
from reverie.experiments.runs import packed_state
from reverie.experiments.runs.checkpoints import Checkpoints
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.throughput import without_machine_metrics

from sample_agents import OPTIONS, equal

ROWS = replace(OPTIONS, log_every=40)


def make_run(folder: Path) -> Run:
    """Train a run of two checkpoints, and leave what a killed process could have left."""
    for steps in (120, 240):
        run = train(replace(CATCH, total_timesteps=steps), folder, ROWS)
    for place in (folder, folder / "checkpoints", folder / "checkpoints" / "blocks"):
        place.mkdir(exist_ok=True)
        (place / f"config.json.{'0f' * 16}.tmp").write_bytes(b"half")
    (folder / "checkpoints" / "blocks" / ("ab" * 32)).write_bytes(b"no checkpoint needs it")
    (folder / "notes.tmp").write_text("mine")
    for name in ("@eaDir", "notes"):
        (folder / "checkpoints" / "blocks" / name).write_text("of somebody else")
    return run


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores tensors of small runs in blocks, as those of large runs are."""
    monkeypatch.setattr(packed_state, "BLOCK_SIZE", 1 << 14)


def test_tidied_runs_continue_as_if_they_had_not_been(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train(CATCH, tmp_path / "elsewhere", ROWS)
    root = tmp_path / "runs"
    done, left, damaged = make_run(root / "done"), Run(root / "left"), Run(root / "torn")
    for copy in (left, damaged):
        shutil.copytree(done.folder, copy.folder)
    (left.folder / "finished").unlink()  # as of a run that stopped at its time limit
    damaged.checkpoints.path(240).write_bytes(b"torn")
    before = {x for x in root.rglob("*") if x.is_file()}
    capsys.readouterr()
    assert cli.main(["runs", str(root), "--tidy"]) == 2  # nobody can be asked
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert {x for x in root.rglob("*") if x.is_file()} == before
    assert cli.main(["runs", str(root), "--tidy", "--yes"]) == 0
    after = {x for x in root.rglob("*") if x.is_file()}
    gone = {x.relative_to(root).as_posix() for x in before - after}
    assert {x for x in gone if x.endswith(".pt")} == {"done/checkpoints/000000000120.pt"}
    assert {x for x in gone if "left" in x or "torn" in x if "blocks/abab" not in x} == {
        f"{name}/{place}config.json.{'0f' * 16}.tmp"
        for name in ("left", "torn")
        for place in ("", "checkpoints/", "checkpoints/blocks/")
    }
    assert "torn/checkpoints/blocks/" + "ab" * 32 not in gone, "a damaged run keeps its blocks"
    assert (done.folder / "notes.tmp").exists()
    assert not any(x.endswith(("@eaDir", "notes")) for x in gone)
    for run in (done, left):
        train(CATCH, run.folder, ROWS)
        assert equal(run.checkpoints.load(), whole.checkpoints.load())
        rows = map(without_machine_metrics, run.read_lines("metrics.jsonl"))
        assert list(rows) == list(map(without_machine_metrics, whole.read_lines("metrics.jsonl")))
    capsys.readouterr()
    assert cli.main(["runs", str(root), "--where", "seed=1", "--tidy"]) == 0
    assert "No file of them is spare" in capsys.readouterr().out
    assert cli.main(["runs", str(root), "--tidy", "--delete", "--yes"]) == 2
    assert done.folder.exists()


def test_nothing_is_deleted_if_the_newest_checkpoint_is_damaged_or_in_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run")
    command = ["runs", str(tmp_path), "--tidy", "--yes"]
    files = {x for x in tmp_path.rglob("*") if x.is_file()}
    with open(run.folder / "lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert cli.main(command) == 0
        assert {x for x in tmp_path.rglob("*") if x.is_file()} == files
    names = Checkpoints(run.folder / "checkpoints").unneeded(0)
    kept = [x for x in names if x not in run.checkpoints.unneeded(1) and x.suffix == ""]
    assert kept
    kept[0].write_bytes(b"other")
    capsys.readouterr()
    assert cli.main(command) == 1
    assert "its newest checkpoint is damaged" in " ".join(capsys.readouterr().err.split())
    assert {x for x in tmp_path.rglob("*") if x.is_file()} == files
