"""Checkpoints, locks and numerical checks: no process, kill or full disk destroys a run."""

import errno
import json
import os
import random
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.agents.bonuses.bonus import BonusConfig
from reverie.agents.dqn import DQN, DQNConfig
from reverie.agents.networks import MLPConfig
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.batched_env import EmulatorEnvs
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import NumericalError, RunError, UsageError
from reverie.envs.interface import EnvSpec, Transition
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.config.registry import BONUSES
from reverie.experiments.config.serialization import read_experiment
from reverie.experiments.doctor import doctor
from reverie.experiments.runs import blocks as blocks_module
from reverie.experiments.runs import checkpoints as checkpoints_module
from reverie.experiments.runs.blocks import BLOCK_SIZE
from reverie.experiments.runs.checkpoints import Checkpoints
from reverie.experiments.runs.files import FORMAT, replacing
from reverie.experiments.runs.folder_lock import locked
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions import random_state
from reverie.experiments.sessions.event_log import EventLog
from reverie.experiments.sessions.throughput import without_machine_metrics
from reverie.experiments.training.train import train

from sample_agents import OPTIONS as QUIET
from sample_agents import equal

OPTIONS = replace(QUIET, log_every=200)
ROOT = Path(__file__).parents[3]
CATCH = Experiment(
    DQNConfig(MLPConfig((16,)), buffer_size=4000, learning_starts=10, exploration_steps=100),
    CatchConfig(),
    total_timesteps=400,
    num_envs=4,
)


def random_state_dict(seed: int, rows: int = 3) -> dict[str, Any]:
    """Return tensors of several sizes, dtypes and layouts, and plain values."""
    generator = torch.Generator().manual_seed(seed)
    large = torch.randint(0, 256, (rows, BLOCK_SIZE), dtype=torch.uint8, generator=generator)
    return {
        "large": large,
        "half": torch.randn(BLOCK_SIZE, generator=generator).bfloat16().view(2, -1),
        "odd": large[1:, 5:].t(),  # a view, not a multiple of the block size
        "small": [torch.arange(3), (1, None, "word", 0.5, True)],
        "none": torch.zeros(0, 4),
    }


def test_checkpoint_restores_the_saved_state(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "new")
    assert checkpoints.load() is None
    state = random_state_dict(0)
    checkpoints.save(7, state)
    loaded = checkpoints.load()
    assert loaded is not None
    assert equal(loaded, state | {"small": [torch.arange(3), [1, None, "word", 0.5, True]]})
    assert checkpoints.steps() == [7]
    loaded["large"][:] = 0
    again = checkpoints.load()
    assert again is not None
    assert torch.equal(again["large"], state["large"])


def test_only_changed_blocks_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints, written = Checkpoints(tmp_path), []
    write = replacing

    def record(path: Path, **settings: bool) -> Any:
        written.append(path.name)
        return write(path, **settings)

    for module in (checkpoints_module, blocks_module):
        monkeypatch.setattr(module, "replacing", record)
    ring = (
        torch.arange(8 * BLOCK_SIZE, dtype=torch.int64).remainder(251).to(torch.uint8).view(8, -1)
    )
    ring += torch.arange(8, dtype=torch.uint8)[:, None]
    checkpoints.save(1, {"ring": ring})
    assert len(written) == 8 + 1 + 1, "eight blocks, their parity and the checkpoint's own file"
    written.clear()
    ring[3, 17] += 1
    checkpoints.save(2, {"ring": ring})
    assert len(written) == 1 + 1 + 1
    ring[5:] = 9
    checkpoints.save(3, {"ring": ring})
    assert checkpoints.steps() == [2, 3]
    assert len(list(checkpoints.blocks.folder.iterdir())) == 8 + 1 + 2, "equal rows are one block"
    loaded = checkpoints.load()
    assert loaded is not None
    assert torch.equal(loaded["ring"], ring)


@pytest.mark.parametrize("damage", ["cut", "changed", "no block", "cut block", "changed block"])
def test_damaged_checkpoint_is_reported_and_skipped(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, random_state_dict(1))
    before = set(checkpoints.blocks.folder.iterdir())
    checkpoints.save(2, random_state_dict(2))
    paths = [checkpoints.path(2)]
    if "block" in damage:  # one alone is restored from its group
        paths = sorted(set(checkpoints.blocks.folder.iterdir()) - before)[:2]
    for path in paths:
        if damage == "no block":
            path.unlink()
        elif "cut" in damage:
            path.write_bytes(path.read_bytes()[:-1])
        else:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
    loaded = checkpoints.load()
    assert loaded is not None
    assert torch.equal(loaded["large"], random_state_dict(1)["large"])
    (warning,) = capsys.readouterr().err.splitlines()
    assert str(checkpoints.path(2)) in warning
    assert "continuing from the one of step 1" in warning
    assert checkpoints.steps() == [1, 2], "loading changes nothing"
    checkpoints.save(2, random_state_dict(3))
    loaded = checkpoints.load()
    assert loaded is not None
    assert torch.equal(loaded["large"], random_state_dict(3)["large"])


def test_damaged_block_is_written_again(tmp_path: Path) -> None:
    """A block on disk is not trusted before it is read, as it may be damaged."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, random_state_dict(1))
    before = set(checkpoints.blocks.folder.iterdir())
    checkpoints.save(2, random_state_dict(2))
    block = min(set(checkpoints.blocks.folder.iterdir()) - before)
    block.write_bytes(bytes(BLOCK_SIZE))
    again = Checkpoints(tmp_path)
    again.load()
    for step in (2, 3):
        again.save(step, random_state_dict(2))
    loaded = Checkpoints(tmp_path).load()
    assert loaded is not None
    assert torch.equal(loaded["large"], random_state_dict(2)["large"])


def test_run_without_an_undamaged_checkpoint_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, random_state_dict(step))
        checkpoints.path(step).write_bytes(b"nothing")
    with pytest.raises(UsageError, match="There is no other checkpoint, and nothing was changed"):
        checkpoints.load()


def test_checkpoint_of_another_format_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not damaged, so an earlier one is not tried."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, random_state_dict(1))
    monkeypatch.setattr(checkpoints_module, "FORMAT", FORMAT + 1)
    checkpoints.save(2, random_state_dict(2))
    with pytest.raises(UsageError, match=rf"{2:012d}.pt has format {FORMAT + 1}, and this version"):
        checkpoints.load()


def test_killed_write_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill the write of each file; the next checkpoint removes partly written files."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, random_state_dict(1))
    replace_file = Path.replace
    for num_written in range(4):
        calls = count()

        def kill(self: Path, target: Path) -> Path:
            if next(calls) >= num_written:  # noqa: B023
                raise KeyboardInterrupt
            return replace_file(self, target)

        monkeypatch.setattr(Path, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(2, random_state_dict(2))
        loaded = checkpoints.load()
        assert loaded is not None
        assert torch.equal(loaded["large"], random_state_dict(1)["large"])
    monkeypatch.undo()
    for path in (checkpoints.path(2), checkpoints.blocks.folder / ("0" * 64)):
        path.with_name(f"{path.name}.{'7' * 32}.tmp").write_bytes(b"killed here")
    checkpoints.save(3, random_state_dict(1))
    assert not list(tmp_path.rglob("*.tmp"))
    used = len(list(checkpoints.blocks.folder.iterdir()))
    checkpoints.save(4, random_state_dict(1))
    assert len(list(checkpoints.blocks.folder.iterdir())) == used


def test_full_disk_stops_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(replace(CATCH, total_timesteps=200), tmp_path, OPTIONS)

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="is full; the last checkpoint is complete"):
        train(CATCH, tmp_path, OPTIONS)
    monkeypatch.undo()
    assert Run(tmp_path).checkpoints.steps() == [200]
    assert not list(tmp_path.rglob("*.tmp"))
    assert train(CATCH, tmp_path, OPTIONS).finished


@pytest.mark.parametrize("writer", ["metrics", "tensorboard"])
def test_full_disk_is_reported_by_every_writer(
    writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A row of metrics.jsonl, and TensorBoard's events."""
    train(replace(CATCH, total_timesteps=200), tmp_path, OPTIONS)

    def fill(self: EventLog, step: int) -> None:
        self.file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115  # closed by close

    def append_to_full(self: Run, name: str, rows: Any) -> None:
        with open("/dev/full", "a") as file:
            file.write(f"{list(rows)}\n")

    if writer == "metrics":
        monkeypatch.setattr(Run, "append_lines", append_to_full)
    else:
        monkeypatch.setattr(EventLog, "on_start", fill)
    with pytest.raises(RunError, match="is full; the last checkpoint is complete"):
        train(CATCH, tmp_path, OPTIONS)
    monkeypatch.undo()
    assert "Traceback" not in capfd.readouterr().err
    assert train(CATCH, tmp_path, OPTIONS).finished


def test_rows_are_truncated_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, path = Run(tmp_path), tmp_path / "metrics.jsonl"
    rows = "".join(f'{{"step": {step}, "frames": 4}}\n' for step in range(4))
    path.write_text(rows + '{"step": 4, "fra')

    def kill(self: Path, *arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", kill)
    with pytest.raises(KeyboardInterrupt):
        run.truncate_lines("metrics.jsonl", 1)
    assert path.read_text().startswith(rows)
    monkeypatch.undo()
    run.truncate_lines("metrics.jsonl", 3)
    assert path.read_text() == rows
    assert (tmp_path / "metrics.jsonl.unreadable").read_text() == '{"step": 4, "fra\n'
    before = path.stat().st_ino
    run.truncate_lines("metrics.jsonl", 3)
    assert path.stat().st_ino == before, "the file is not rewritten if no row is removed"
    run.truncate_lines("metrics.jsonl", 1)
    assert [row["step"] for row in run.read_lines("metrics.jsonl")] == [0, 1]


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": 2, "score": Infinity}',
        b'{"step": 2, "score": 1e999}',
        b'{"step": 2, "score": null}',
        b'{"step": 2}',
        b'{"step": 2, "sc\xff',
        b"\0" * 40,
        b"[" * 5_000,
        '{"step": 2, "score": \u2028'.encode(),
    ],
    ids=range(8),
)
def test_an_unreadable_row_is_kept_aside_and_costs_no_other_row(
    line: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, path = Run(tmp_path), tmp_path / "episodes.jsonl"
    rows = [b'{"step": %d, "score": 1.50, "length":  9}' % step for step in range(9)]
    path.write_bytes(b"\n".join([*rows[:3], line, *rows[3:5], line, *rows[5:]]))
    before = run.read_lines("episodes.jsonl")
    assert len(before) == 9
    run.truncate_lines("episodes.jsonl", 6)
    assert run.read_lines("episodes.jsonl") == before[:7]
    assert path.read_bytes() == b"".join(row + b"\n" for row in rows[:7]), "as they were written"
    aside = tmp_path / "episodes.jsonl.unreadable"
    assert aside.read_bytes() == 2 * (line + b"\n")
    assert "2 of the 11 lines of" in capsys.readouterr().err
    with path.open("ab") as file:
        file.write(line + b"\n")
    run.truncate_lines("episodes.jsonl", 6)
    assert aside.read_bytes() == 3 * (line + b"\n")
    assert run.read_lines("episodes.jsonl") == before[:7]


def test_second_process_in_a_folder_is_refused_with_the_id_of_the_first(tmp_path: Path) -> None:
    message = rf"Process {os.getpid()} on .* is training in"
    with locked(tmp_path, "training"), pytest.raises(UsageError, match=message):
        train(CATCH, tmp_path, OPTIONS)
    assert (tmp_path / "lock").read_text(), "the file of a dead process is no lock"
    assert train(CATCH, tmp_path, OPTIONS).finished


def test_refused_or_finished_training_does_not_change_the_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="There is no game 'pnog'"):
        train(replace(CATCH, env=AtariConfig("pnog")), tmp_path, OPTIONS)
    assert not (tmp_path / "config.json").exists()
    run = train(replace(CATCH, total_timesteps=200), tmp_path, OPTIONS)
    with locked(run.folder, "training"), pytest.raises(UsageError, match="is training in"):
        train(CATCH, tmp_path, OPTIONS)
    assert read_experiment(run.folder).total_timesteps == 200
    capsys.readouterr()
    assert train(
        replace(CATCH, total_timesteps=100), tmp_path, replace(OPTIONS, quiet=False)
    ).finished
    assert f"{tmp_path} is finished at step 200" in capsys.readouterr().out
    assert read_experiment(run.folder).total_timesteps == 200


def test_provenance_lists_every_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sessions whose checkpoint was lost or never written are not listed."""
    verbose, path = replace(OPTIONS, quiet=False), tmp_path / "provenance.json"
    monkeypatch.setattr(
        "reverie.experiments.runs.provenance.code_version",
        lambda: {"commit": "c0ffee", "modified": True},
    )
    run = train(replace(CATCH, total_timesteps=200), tmp_path, verbose)
    monkeypatch.setattr(
        "reverie.experiments.runs.provenance.code_version",
        lambda: {"commit": "beef", "modified": False},
    )
    train(replace(CATCH, total_timesteps=300), tmp_path, verbose)
    assert "not exact" not in capsys.readouterr().err
    train(CATCH, tmp_path, replace(verbose, precision="bf16"))
    assert "not exact: precision was fp32 and is bf16." in capsys.readouterr().err
    provenance = json.loads(path.read_text())
    assert (provenance["commit"], provenance["modified"], provenance["precision"]) == (
        "beef",
        True,
        "bf16",
    )
    assert provenance["pipeline"] == 1
    assert [session["from_step"] for session in provenance["sessions"]] == [0, 200, 300]
    assert [session["modified"] for session in provenance["sessions"]] == [True, False, False]
    run.checkpoints.path(400).unlink()
    train(CATCH, tmp_path, OPTIONS)
    provenance = json.loads(path.read_text())
    assert [session["precision"] for session in provenance["sessions"]] == ["fp32"] * 3


def test_nonfinite_parameters_are_detected_before_they_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(replace(CATCH, total_timesteps=200), tmp_path, OPTIONS)
    act = DQN.act

    def corrupt(self: DQN, *arguments: Any, **options: Any) -> Any:
        with torch.no_grad():
            self.target_network.head.bias[0] = torch.nan
        return act(self, *arguments, **options)

    monkeypatch.setattr(DQN, "act", corrupt)
    with pytest.raises(NumericalError, match=r"The checkpoint of step 200 .* is complete"):
        train(CATCH, tmp_path, OPTIONS)
    assert Run(tmp_path).checkpoints.steps() == [200]


def test_nonfinite_loss_is_named_with_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = DQN.update

    def diverge(self: DQN) -> Tensor:
        return update(self) * (torch.inf if self.schedule.count == 40 else 1)

    monkeypatch.setattr(DQN, "update", diverge)
    with pytest.raises(
        NumericalError, match=r"step 200\. The metric losses/td_loss is inf: .*\. There"
    ):
        train(CATCH, tmp_path, OPTIONS)
    assert Run(tmp_path).checkpoints.steps() == []


def test_global_random_generators_are_restored() -> None:
    def draw() -> list[float]:
        values: list[float] = np.random.rand(3).tolist()  # noqa: NPY002
        return [random.random(), *values, *torch.rand(3).tolist()]

    state = random_state.capture()
    drawn = draw()
    assert draw() != drawn
    random_state.restore(state)
    assert draw() == drawn


class GlobalNoise:
    """A bonus that draws from the process-wide generators."""

    def __call__(self, t: Transition) -> Tensor:
        noise = random.random() + np.random.rand()  # noqa: NPY002
        return torch.rand(len(t.action)) + noise

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@dataclass(frozen=True)
class GlobalNoiseConfig(BonusConfig):
    def build(self, spec: EnvSpec, **settings: Any) -> GlobalNoise:
        return GlobalNoise()


def test_draws_from_the_global_generators_depend_on_the_seed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a resumed run, and whatever was drawn before, as by the timed random play."""
    monkeypatch.setitem(BONUSES, "global-noise", GlobalNoiseConfig)
    noisy = replace(CATCH, bonus=GlobalNoiseConfig())
    options = replace(OPTIONS, random_play_seconds=0.01)

    def end(name: str, experiment: Experiment) -> Any:
        random.random(), torch.rand(3)
        run = train(experiment, tmp_path / name, options)
        rows = [without_machine_metrics(row) for row in run.read_lines("metrics.jsonl")]
        state = run.checkpoints.load()
        assert state is not None
        return {"rows": rows, "agent": state["agent"], "random_state": state["random_state"]}

    first = end("first", noisy)
    assert equal(end("second", noisy), first)
    end("resumed", replace(noisy, total_timesteps=200))
    assert equal(end("resumed", noisy), first)
    assert not equal(end("other", replace(noisy, seed=1)), first)


def test_env_that_does_not_replay_continues_with_new_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        np.random, "default_rng", lambda seed=None: np.random.Generator(np.random.MT19937())
    )
    train(replace(CATCH, total_timesteps=200), tmp_path, OPTIONS)
    with pytest.raises(UsageError, match=r"does not replay.* --resume fresh-episodes"):
        train(CATCH, tmp_path, OPTIONS)
    run = train(CATCH, tmp_path, replace(OPTIONS, resume="fresh-episodes"))
    assert run.finished
    state = run.checkpoints.load()
    assert state is not None
    assert (state["envs"]["seed_index"] >= 1).all(), "new seeds"
    lengths = [row["length"] for row in run.read_lines("episodes.jsonl")]
    assert set(lengths) == {9}, "only complete episodes are scored"


def test_doctor_passes_on_this_machine_and_names_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("reverie.experiments.doctor.pick_threads", lambda threads: 1)
    assert doctor(tmp_path / "runs", "cpu", seconds=0.1) == 0
    output = capsys.readouterr().out
    assert "No problems found." in output
    assert len(output.splitlines()) <= 24, "one screen"
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("reverie.experiments.doctor.all_games", lambda: ["pong"])
    for check in ("_emulators", "_protocols"):  # they passed above
        monkeypatch.setattr(f"reverie.experiments.doctor.{check}", lambda *args: "")
    monkeypatch.setattr(EmulatorEnvs, "load_state_dict", lambda self, state: torch.rand(4))
    assert doctor(tmp_path, "cpu", seconds=0.1) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "no ROM for alien" in output
    assert "so runs cannot resume exactly" in output
    assert "2 problems found." in output
