"""Nothing lost: checkpoints whole or passed over, one process a folder, lost numbers noticed."""

import errno
import json
import os
import random
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.summary.writer.record_writer import RecordWriter
from test_agents import equal
from test_exploring import OPTIONS
from torch import Tensor

from agents.dqn import DoubleDQN, DQNConfig
from agents.networks import MLPConfig
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.errors import NumericalError, RunError, UsageError
from envs.stream import Stream
from experiments import checkpoints, generators, training
from experiments.checkpoints import BLOCK, Checkpoints
from experiments.config import Experiment
from experiments.doctor import doctor
from experiments.run import Run
from experiments.trackers import Log
from experiments.training import train

ROOT = Path(__file__).parent.parent
CATCH = Experiment(
    DQNConfig(MLPConfig((16,)), capacity=4000, learning_starts=10, epsilon_steps=100),
    CatchConfig(),
    steps=400,
    streams=4,
)


def state_of(seed: int, rows: int = 3) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    large = torch.randint(0, 256, (rows, BLOCK), dtype=torch.uint8, generator=generator)
    return {
        "large": large,
        "half": torch.randn(BLOCK, generator=generator).bfloat16().view(2, -1),
        "odd": large[1:, 5:].t(),  # a view, and no whole number of blocks
        "small": [torch.arange(3), (1, None, "word", 0.5, True)],
        "none": torch.zeros(0, 4),
    }


def test_a_checkpoint_gives_back_what_was_saved(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "new")
    assert kept.load() is None
    state = state_of(0)
    kept.save(7, state)
    loaded = kept.load()
    assert loaded is not None
    assert equal(loaded, state | {"small": [torch.arange(3), [1, None, "word", 0.5, True]]})
    assert kept.steps() == [7]
    loaded["large"][:] = 0
    again = kept.load()
    assert again is not None
    assert torch.equal(again["large"], state["large"])


def test_only_what_is_new_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, written = Checkpoints(tmp_path), []
    write = checkpoints._written

    def counted(path: Path) -> Any:
        written.append(path.name)
        return write(path)

    monkeypatch.setattr(checkpoints, "_written", counted)
    ring = torch.arange(8 * BLOCK, dtype=torch.int64).remainder(251).to(torch.uint8).view(8, -1)
    ring += torch.arange(8, dtype=torch.uint8)[:, None]
    kept.save(1, {"ring": ring})
    assert len(written) == 8 + 1
    written.clear()
    ring[3, 17] += 1
    kept.save(2, {"ring": ring})
    assert len(written) == 1 + 1
    ring[5:] = 9
    kept.save(3, {"ring": ring})
    assert kept.steps() == [2, 3]
    assert len(list(kept.blocks.iterdir())) == 8 + 1, "three equal rows are one block"
    loaded = kept.load()
    assert loaded is not None
    assert torch.equal(loaded["ring"], ring)


@pytest.mark.parametrize("damage", ["cut", "changed", "no block", "cut block", "changed block"])
def test_a_damaged_checkpoint_is_passed_over_and_said(damage: str, tmp_path: Path) -> None:
    kept, said = Checkpoints(tmp_path), list[str]()
    kept.save(1, state_of(1))
    before = set(kept.blocks.iterdir())
    kept.save(2, state_of(2))
    path = min(set(kept.blocks.iterdir()) - before) if "block" in damage else kept.path(2)
    if damage == "no block":
        path.unlink()
    elif "cut" in damage:
        path.write_bytes(path.read_bytes()[:-1])
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    loaded = kept.load(said.append)
    assert loaded is not None
    assert torch.equal(loaded["large"], state_of(1)["large"])
    assert len(said) == 1
    assert str(kept.path(2)) in said[0]
    assert "continuing from the one of step 1" in said[0]
    assert kept.steps() == [1, 2], "loading changes nothing"
    kept.save(2, state_of(3))
    loaded = kept.load()
    assert loaded is not None
    assert torch.equal(loaded["large"], state_of(3)["large"])


def test_a_damaged_block_is_written_again(tmp_path: Path) -> None:
    """A block found on the disk may be the one that the last process passed over."""
    kept = Checkpoints(tmp_path)
    kept.save(1, state_of(1))
    before = set(kept.blocks.iterdir())
    kept.save(2, state_of(2))
    block = min(set(kept.blocks.iterdir()) - before)
    block.write_bytes(bytes(BLOCK))
    again = Checkpoints(tmp_path)
    again.load()
    for step in (2, 3):
        again.save(step, state_of(2))
    loaded = Checkpoints(tmp_path).load()
    assert loaded is not None
    assert torch.equal(loaded["large"], state_of(2)["large"])


def test_where_no_checkpoint_is_whole_the_run_is_refused(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    for step in (1, 2):
        kept.save(step, state_of(step))
        kept.path(step).write_bytes(b"nothing")
    with pytest.raises(UsageError, match="No other is left, and nothing was changed"):
        kept.load()


def test_a_killed_write_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file was being written; what it left behind is cleared by the next."""
    kept = Checkpoints(tmp_path)
    kept.save(1, state_of(1))
    replaced = Path.replace
    for survived in range(4):
        calls = count()

        def dies(self: Path, target: Path) -> Path:
            if next(calls) >= survived:  # noqa: B023
                raise KeyboardInterrupt
            return replaced(self, target)

        monkeypatch.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            kept.save(2, state_of(2))
        loaded = kept.load()
        assert loaded is not None
        assert torch.equal(loaded["large"], state_of(1)["large"])
    monkeypatch.undo()
    for path in (kept.path(2), kept.blocks / ("0" * 64)):
        path.with_name(f"{path.name}.7.tmp").write_bytes(b"killed here")
    kept.save(3, state_of(1))
    assert not list(tmp_path.rglob("*.tmp"))
    used = len(list(kept.blocks.iterdir()))
    kept.save(4, state_of(1))
    assert len(list(kept.blocks.iterdir())) == used


def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(replace(CATCH, steps=200), tmp_path, OPTIONS)

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="is full; the last checkpoint is whole"):
        train(CATCH, tmp_path, OPTIONS)
    monkeypatch.undo()
    assert Run(tmp_path).checkpoints.steps() == [200]
    assert not list(tmp_path.rglob("*.tmp"))
    assert train(CATCH, tmp_path, OPTIONS).finished


@pytest.mark.parametrize("where", ["model", "metrics", "board"])
def test_a_full_disk_is_said_whoever_comes_upon_it(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Torch, which raises an error of its own, the rows of metrics, and TensorBoard's thread."""
    train(replace(CATCH, steps=200), tmp_path, OPTIONS)
    writes = count()

    def full(self: Any, data: bytes) -> int:
        if next(writes):  # there was room for one
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(data)

    class Full(Log):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.metrics.close()
            self.metrics = open("/dev/full", "a")  # noqa: SIM115

    if where == "metrics":
        monkeypatch.setattr(training, "Log", Full)
    else:
        kind = checkpoints._Hashed if where == "model" else RecordWriter
        monkeypatch.setattr(kind, "write", full)
    with pytest.raises(RunError, match="is full; the last checkpoint is whole"):
        train(CATCH, tmp_path, OPTIONS)
    monkeypatch.undo()
    assert "Traceback" not in capfd.readouterr().err
    assert train(CATCH, tmp_path, OPTIONS).finished


def test_rows_are_dropped_at_once_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path = Run(tmp_path), tmp_path / "metrics.jsonl"
    whole = "".join(f'{{"step": {step}, "frames": 4}}\n' for step in range(4))
    path.write_text(whole + '{"step": 4, "fra')

    def killed(self: Path, *arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run.truncate_lines("metrics.jsonl", 1)
    assert path.read_text().startswith(whole)
    monkeypatch.undo()
    run.truncate_lines("metrics.jsonl", 3)
    assert path.read_text() == whole, "what was cut short is dropped"
    before = path.stat().st_ino
    run.truncate_lines("metrics.jsonl", 3)
    assert path.stat().st_ino == before, "nothing is written where no row is dropped"
    run.truncate_lines("metrics.jsonl", 1)
    assert [row["step"] for row in run.read_lines("metrics.jsonl")] == [0, 1]


def test_a_second_process_on_a_folder_is_refused_by_its_number(tmp_path: Path) -> None:
    said = rf"Process {os.getpid()} on .* is training in"
    with Run.open(tmp_path, CATCH).locked(), pytest.raises(UsageError, match=said):
        train(CATCH, tmp_path, OPTIONS)
    assert (tmp_path / "lock").read_text(), "what a dead process leaves behind is no lock"
    assert train(CATCH, tmp_path, OPTIONS).finished


def test_what_is_refused_or_finished_leaves_the_config_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="There is no game 'pnog'"):
        train(replace(CATCH, env=AtariConfig("pnog")), tmp_path, OPTIONS)
    assert not (tmp_path / "config.json").exists()
    run = train(replace(CATCH, steps=200), tmp_path, OPTIONS)
    with run.locked(), pytest.raises(UsageError, match="is training in"):
        train(CATCH, tmp_path, OPTIONS)
    assert run.experiment().steps == 200
    capsys.readouterr()
    assert train(replace(CATCH, steps=100), tmp_path, replace(OPTIONS, quiet=False)).finished
    assert f"{tmp_path} is finished at step 200" in capsys.readouterr().out
    assert run.experiment().steps == 200


def test_provenance_knows_every_sitting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And of those whose checkpoint was lost, or never made, none."""
    spoken, path = replace(OPTIONS, quiet=False), tmp_path / "provenance.json"
    monkeypatch.setattr("experiments.run.code", lambda: {"commit": "c0ffee", "modified": True})
    run = train(replace(CATCH, steps=200), tmp_path, spoken)
    monkeypatch.setattr("experiments.run.code", lambda: {"commit": "beef", "modified": False})
    train(replace(CATCH, steps=300), tmp_path, spoken)
    assert "not exact" not in capsys.readouterr().out
    train(CATCH, tmp_path, replace(spoken, precision="bf16"))
    assert "not exact: precision was fp32 and is bf16." in capsys.readouterr().out
    about = json.loads(path.read_text())
    assert (about["commit"], about["modified"], about["precision"]) == ("beef", True, "bf16")
    assert about["pipeline"] == 1
    assert [sitting["from_step"] for sitting in about["sittings"]] == [0, 200, 300]
    assert [sitting["modified"] for sitting in about["sittings"]] == [True, False, False]
    run.checkpoints.path(400).unlink()
    train(CATCH, tmp_path, OPTIONS)
    about = json.loads(path.read_text())
    assert [sitting["precision"] for sitting in about["sittings"]] == ["fp32"] * 3


def test_lost_parameters_are_noticed_before_they_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(replace(CATCH, steps=200), tmp_path, OPTIONS)
    act = DoubleDQN.act

    def corrupting(self: DoubleDQN, *arguments: Any, **options: Any) -> Any:
        with torch.no_grad():
            self.target.head.bias[0] = torch.nan
        return act(self, *arguments, **options)

    monkeypatch.setattr(DoubleDQN, "act", corrupting)
    with pytest.raises(NumericalError, match=r"The checkpoint of step 200 .* is whole"):
        train(CATCH, tmp_path, OPTIONS)
    assert Run(tmp_path).checkpoints.steps() == [200]


def test_a_lost_loss_is_named_with_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = DoubleDQN.update

    def broken(self: DoubleDQN) -> Tensor:
        return update(self) * (torch.inf if self.updates == 40 else 1)

    monkeypatch.setattr(DoubleDQN, "update", broken)
    with pytest.raises(NumericalError, match=r"step 200\. dqn/loss came out as inf\. There was no"):
        train(CATCH, tmp_path, OPTIONS)
    assert Run(tmp_path).checkpoints.steps() == []


def test_the_processes_own_generators_continue() -> None:
    def draw() -> list[float]:
        some: list[float] = np.random.rand(3).tolist()  # noqa: NPY002
        return [random.random(), *some, *torch.rand(3).tolist()]

    state = generators.states()
    drawn = draw()
    assert draw() != drawn
    generators.restore(state)
    assert draw() == drawn


def test_a_world_that_does_not_replay_continues_with_new_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        np.random, "default_rng", lambda seed=None: np.random.Generator(np.random.MT19937())
    )
    train(replace(CATCH, steps=200), tmp_path, OPTIONS)
    with pytest.raises(UsageError, match=r"does not replay.* --resume fresh-episodes"):
        train(CATCH, tmp_path, OPTIONS)
    run = train(CATCH, tmp_path, replace(OPTIONS, resume="fresh-episodes"))
    assert run.finished
    state = run.checkpoints.load()
    assert state is not None
    assert (state["stream"]["number"] >= 1).all(), "on seeds of their own"
    lengths = [row["length"] for row in run.read_lines("episodes.jsonl")]
    assert set(lengths) == {9}, "no half episode is scored"


def test_the_doctor_finds_this_machine_well_and_says_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("experiments.doctor.pick_threads", lambda threads: 1)
    assert doctor(tmp_path / "runs", "cpu", seconds=0.1) == 0
    said = capsys.readouterr().out
    assert "No problems found." in said
    assert len(said.splitlines()) <= 24, "one screen"
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("experiments.doctor.all_games", lambda: ["pong"])
    monkeypatch.setattr(Stream, "load_state_dict", lambda self, state: torch.rand(4))
    assert doctor(tmp_path, "cpu", seconds=0.1) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "no ROM for alien" in said
    assert "does not replay: runs will not resume exactly" in said
    assert "2 problems found." in said
