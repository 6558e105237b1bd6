"""Runs of which the replay alone is lost: continued without it on demand, and they say so."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from killed_runs import CATCH, LOGGED

from reverie import TrainOptions, train
from reverie.agents.episodic.nec import NECConfig
from reverie.agents.networks import MLPConfig
from reverie.envs.errors import RunError, UsageError
from reverie.experiments.cli.main import main
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.runs import blocks as blocks_module
from reverie.experiments.runs import packed_state
from reverie.experiments.runs.packed_state import names_of_files, sizes_of_blocks
from reverie.experiments.runs.run import Run
from reverie.experiments.runs.scores import read_scores
from reverie.experiments.sessions.lost_replays import without_replays
from reverie.experiments.training.train_together import train_together

HALF, END, LONGER = 240, 480, 720
OPTIONS = replace(LOGGED, eval_every=0)
WITHOUT = replace(OPTIONS, resume="without-replay")
NEC = NECConfig(
    network=MLPConfig(), key_size=64, capacity=300, buffer_size=500, learning_starts=50,
    num_neighbors=5,
)  # fmt: skip
EXPERIMENTS = {"dqn": CATCH, "nec": replace(CATCH, agent=NEC)}


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (blocks_module, packed_state):
            patch.setattr(module, "BLOCK_SIZE", 1 << 11)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_blocks: None) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trained")
    for name, experiment in EXPERIMENTS.items():
        for steps in (HALF, END):
            train(replace(experiment, total_timesteps=steps), folder / name, OPTIONS)
    return {name: folder / name for name in EXPERIMENTS}


def longer(name: str) -> Experiment:
    return replace(EXPERIMENTS[name], total_timesteps=LONGER)


def lose(folder: Path, part: str = "replay") -> None:
    """Remove the blocks of the replay, those of another part if it is named, and all parities."""
    checkpoints = Run(folder).checkpoints
    for step in checkpoints.steps():
        packed = checkpoints.read_packed(step)
        state = without_replays(packed.state)
        state = state | {"agent": {k: x for k, x in state["agent"].items() if k != part}}
        for name in names_of_files(packed) - {
            *sizes_of_blocks(packed._replace(state=state, groups=[]))
        }:
            (checkpoints.blocks.folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["dqn", pytest.param("nec", marks=pytest.mark.long)])
def test_a_run_continues_without_its_replay_and_says_so(
    name: str, trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(trained[name], tmp_path / "run"))
    lose(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=rf"step {END} the replay alone.* --resume without-replay"):
        train(longer(name), folder, OPTIONS)
    assert main(["check", str(folder)]) == 1
    assert "--resume without-replay" in " ".join(capsys.readouterr().out.split())
    unlocked = {x: y for x, y in before.items() if x.name != "lock"}
    assert {x: x.read_bytes() for x in folder.rglob("*") if x in unlocked} == unlocked
    assert main(["evaluate", str(folder), "--episodes", "2"]) == 0
    assert read_scores(folder / "scores.json").resumes == ()

    run = train(longer(name), folder, WITHOUT)
    assert "not exact" in capsys.readouterr().err
    assert run.finished
    assert run.checkpoints.load() is not None
    assert main(["check", str(folder)]) == 0, capsys.readouterr().out
    assert main(["evaluate", str(folder), "--episodes", "2"]) == 0
    shown = capsys.readouterr().out
    note = f"without-replay at step {END}"
    assert note in shown
    assert read_scores(folder / "scores.json").resumes == (note,)
    sessions = json.loads((folder / "provenance.json").read_text())["sessions"]
    assert [x.get("resume") for x in sessions] == [None, None, "without-replay"]
    assert main(["report", str(folder), "--out", str(tmp_path / "report.html")]) == 0
    assert note in (tmp_path / "report.md").read_text()

    train(replace(longer(name), total_timesteps=LONGER + 80), folder, OPTIONS)
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--episodes", "2"]) == 0
    assert note in capsys.readouterr().out  # also after an exact continuation


def test_a_whole_replay_is_kept_and_the_flag_is_said_to_have_no_effect(
    trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = []
    for i, options in enumerate((OPTIONS, WITHOUT)):
        folder = Path(shutil.copytree(trained["dqn"], tmp_path / str(i)))
        runs.append(train(longer("dqn"), folder, options))
    assert "without-replay has no effect" in capsys.readouterr().err
    rows = [(run.folder / "episodes.jsonl").read_text() for run in runs]
    assert rows[0] == rows[1]
    assert runs[1].inexact_resumes(LONGER) == ()
    fresh = train(longer("dqn"), tmp_path / "fresh", WITHOUT)
    assert fresh.finished
    assert not capsys.readouterr().err


def test_an_older_whole_checkpoint_is_preferred(
    trained: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(trained["dqn"], tmp_path / "run"))
    checkpoints = Run(folder).checkpoints
    older, newest = (names_of_files(checkpoints.read_packed(step)) for step in (HALF, END))
    for name in newest - older:
        (checkpoints.blocks.folder / name).unlink()
    run = train(longer("dqn"), folder, WITHOUT)
    assert "no effect" in capsys.readouterr().err
    assert run.inexact_resumes(LONGER) == ()


def test_tables_and_weights_are_not_left_out(trained: dict[str, Path], tmp_path: Path) -> None:
    for name, part in (("nec", "tables"), ("dqn", "q_network")):
        folder = Path(shutil.copytree(trained[name], tmp_path / part))
        lose(folder, part)
        with pytest.raises(UsageError, match=rf"does not help: agent\.{part}.* is lost too"):
            train(longer(name), folder, WITHOUT)
        with pytest.raises(UsageError, match=r"move the folder away to start again\.$"):
            train(longer(name), folder, OPTIONS)


def test_seeds_of_which_one_lost_its_replay_do_not_train_together(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    other = replace(CATCH, seed=1)
    train(other, tmp_path / "other", OPTIONS)
    folder = Path(shutil.copytree(trained["dqn"], tmp_path / "run"))
    lose(folder)
    options = TrainOptions(device="cpu", threads=1, quiet=True, resume="without-replay")
    experiments = [replace(x, total_timesteps=LONGER) for x in (other, CATCH)]
    with pytest.raises(RunError, match="replays of different lengths"):
        train_together(experiments, [tmp_path / "other", folder], options)
