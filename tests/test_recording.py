"""Recordings: what was played is what is read, twins agree, and damage is named."""

import errno
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.loop import interact
from agents.policies import RandomPolicy
from envs import dice
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.errors import FolderBusy, NumericalError, UsageError
from envs.gym import GymConfig
from envs.interface import EnvConfig, Metrics, Transition
from envs.protocol import PROTOCOLS
from envs.stream import Stream
from experiments import cli, recorder
from experiments.batches import Batches
from experiments.collect import collect
from experiments.pretraining import Pretraining, PretrainOptions, pretrain
from experiments.recorder import Recorder, room_for
from experiments.recording import Recording
from experiments.run import Run

PONG = AtariConfig("pong", replace(PROTOCOLS["nature"], frames_cap=400, sticky=0.25))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recorder, "SHARD_ROWS", 100)
    monkeypatch.chdir(tmp_path)


def played(env: EnvConfig, ticks: int, streams: int) -> Iterator[Transition]:
    """The ticks that ``collect`` records."""
    stream = Stream(env.build(streams, threads=1), purpose="collect")
    policy = RandomPolicy(stream.spec.num_actions)
    start = stream.reset(), {"dice": dice.keys(0, "collect", streams)}
    return islice(interact(stream, policy, start=start), ticks)


@pytest.mark.parametrize(
    "env", [CatchConfig(), PONG, GymConfig("worlds:Counter-v0")], ids=lambda env: env.title
)
def test_what_was_played_is_what_is_read(env: EnvConfig) -> None:
    """Looks, actions, rewards and discounts, over episodes and shards, in any order."""
    actions = 6 if env.title == "pong" else 3
    collect(RandomPolicy(actions), env, "data", frames=604, streams=2)
    ticks = list(played(env, 301, 2))
    for memory in (0.0, 1e9):
        check_read(Recording("data", memory=memory), ticks, 4 if env == PONG else 1)


def check_read(data: Recording, ticks: list[Transition], stack: int) -> None:
    assert len(data) == 604
    assert len(data.manifest.shards) == 7
    rows = torch.randperm(602)[:90]
    looks = torch.cat([t.step.obs for t in ticks])
    assert torch.equal(data.looks(rows, stack), looks[rows])
    for part in ("train", "held-out"):
        rows = data.rows(part, length=6)
        piece = data.segments(rows, 6, stack)
        assert not piece.last[:, :-1].any()
        assert not piece.first[:, 1:].any(), "no segment crosses an episode's end"
        for column, of in (("action", "action"), ("reward", "reward"), ("discount", "discount")):
            each = [t.action if of == "action" else getattr(t.next_step, of) for t in ticks]
            played_ = torch.stack(each)  # [T, N]
            for i in range(6):
                expected = played_[rows // 2 + i, rows % 2]
                assert torch.equal(getattr(piece, column)[:, i], expected)
        for i in range(7):
            assert torch.equal(piece.obs[:, i], looks_at(ticks, rows // 2 + i, rows % 2))
        assert bool(piece.last[:, -1].any()), "pieces reach an episode's end"


def looks_at(ticks: list[Transition], tick: Tensor, stream: Tensor) -> Tensor:
    looks = torch.stack([*(t.step.obs for t in ticks), ticks[-1].next_step.obs])
    return looks[tick, stream]


def test_a_twin_draws_the_same_game_in_colour() -> None:
    """Rewards, ends and actions agree with the grey recording; pixels are the emulator's."""
    for format in ("own", "rgb"):
        collect(RandomPolicy(6), PONG, format, frames=600, streams=2, format=format)
    grey, colour = Recording("own"), Recording("rgb")
    assert grey.frame_shape == (1, 84, 84)
    assert colour.frame_shape == (3, 210, 160)
    for name in ("action", "reward", "discount", "first", "last"):
        assert torch.equal(grey.columns[name], colour.columns[name])
    assert grey.columns["last"].any()
    rows = torch.arange(0, 600, 37)
    bright = colour.frames(rows).float().mean((1, 2, 3)), grey.frames(rows).float().mean((1, 2, 3))
    assert float(torch.corrcoef(torch.stack(bright))[0, 1]) > 0.9
    assert colour.frames(rows)[:, :, 100].float().std(1).max() > 5, "channels differ"


def test_parts_share_no_episode_and_leave_nothing_out() -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=2000, streams=4)
    data = Recording("data")
    train, held = data.rows("train"), data.rows("held-out")
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(2000))
    episode = data.columns["episode"]
    assert not set(episode[train].tolist()) & set(episode[held].tolist())
    assert 0.1 <= len(held) / 2000 < 0.11
    assert torch.equal(held, data.rows("held-out"))
    assert not torch.equal(held, data.rows("held-out", seed=1))


def test_several_recordings_are_read_as_one() -> None:
    for seed, streams in ((0, 4), (1, 8)):
        collect(RandomPolicy(3), CatchConfig(), str(seed), frames=400, streams=streams, seed=seed)
    both = Recording("0", "1")
    one, other = Recording("0"), Recording("1")
    assert len(both) == 800
    assert both.num_episodes == one.num_episodes + other.num_episodes
    rows = other.rows("train", length=3)[:7]
    pairs = both.segments(rows + 400, 3, 2), other.segments(rows, 3, 2)
    assert torch.equal(pairs[0].obs, pairs[1].obs)


def test_a_shuffle_never_repeats_and_resumes() -> None:
    rows = torch.arange(100, 120)
    batches = Batches(rows, 6, lambda chosen: chosen.tolist(), seed=1)
    epochs = [[next(batches) for _ in range(3)] for _ in range(4)]
    for epoch in epochs:
        seen = [*chain(*epoch)]
        assert len(set(seen)) == 18
        assert set(seen) <= set(rows.tolist())
    assert len({tuple(chain(*epoch)) for epoch in epochs}) == 4
    again = Batches(rows, 6, lambda chosen: chosen.tolist(), seed=1)
    again.load_state_dict({"count": 4})
    assert [next(again) for _ in range(5)] == [*chain(*epochs)][4:9]
    assert batches.state_dict() == {"count": 12}
    with pytest.raises(UsageError, match="20 places to start from, fewer than a batch of 32"):
        Batches(rows, 32, lambda chosen: chosen)


def damage(kind: str) -> None:
    shard, table = Path("data/00001.frames"), Path("data/00001.npz")
    if kind == "shortened":
        shard.write_bytes(shard.read_bytes()[:-7])
    elif kind == "missing":
        shard.unlink()
    elif kind == "table cut":
        table.write_bytes(table.read_bytes()[:80])
    elif kind == "flipped":
        shard.write_bytes(bytes(len(shard.read_bytes())))
    else:
        Path("data/manifest.json").write_text('{"format": "other"}')


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("shortened", "00001.frames is truncated"),
        ("missing", "00001 is truncated or missing"),
        ("table cut", "00001 is truncated or missing"),
        ("flipped", "00001.frames is damaged"),
        ("manifest", "is no reverie-recording-1 manifest"),
    ],
)
def test_a_damaged_shard_is_refused_by_name(kind: str, says: str) -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, streams=4)
    damage(kind)
    with pytest.raises(UsageError, match=says):
        Recording("data").frames(torch.arange(400))


def test_a_full_disk_stops_a_recording_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["collect", "random", "env:catch", "--streams", "4", "--folder", "data"]
    write, writes = Path.write_bytes, count()

    def full(self: Path, data: bytes) -> int:
        if next(writes) == 1:  # the second shard
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert cli.main([*words, "--frames", "400"]) == 1
    said = capsys.readouterr().err
    assert "The disk of data is full; a recording cannot go on." in said
    assert "Traceback" not in said
    assert cli.main([*words, "--frames", "80"]) == 0
    assert len(Recording("data")) >= 80


def test_an_interrupted_recording_is_refused_and_begun_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    append, ticks = Recorder.append, count()

    def interrupted(self: Recorder, *tick: Any) -> None:
        if next(ticks) == 60:  # in the third shard
            raise KeyboardInterrupt
        append(self, *tick)

    monkeypatch.setattr(Recorder, "append", interrupted)
    words = ["collect", "random", "env:catch", "--streams", "4", "--folder", "data"]
    assert cli.main([*words, "--frames", "400"]) == 130
    assert Path("data/00001.frames").exists()
    with pytest.raises(UsageError, match="interrupted before its end; the same"):
        Recording("data")
    with room_for(Path("data")), pytest.raises(FolderBusy, match="is recording in data"):
        collect(RandomPolicy(3), CatchConfig(), "data", frames=80)
    capsys.readouterr()
    assert cli.main([*words, "--frames", "80"]) == 0
    assert "The recording data was interrupted before its end; it begins anew." in (
        capsys.readouterr().out
    )
    assert len(Recording("data")) == 80
    assert {path.name for path in Path("data").iterdir()} == {
        "00000.frames", "00000.npz", "lock", "manifest.json"
    }  # fmt: skip
    assert cli.main([*words, "--frames", "80"]) == 2


def test_recordings_of_different_worlds_are_refused_by_what_differs() -> None:
    collect(RandomPolicy(3), CatchConfig(), "catch", frames=80)
    collect(RandomPolicy(3), CatchConfig(rows=6), "lower", frames=80)
    collect(RandomPolicy(6), PONG, "pong", frames=20, streams=1)
    collect(RandomPolicy(6), PONG, "rgb", frames=20, streams=1, format="rgb")
    full = AtariConfig("pong", replace(PONG.protocol, full_actions=True))
    collect(RandomPolicy(18), full, "full", frames=20, streams=1)
    for other, says in [
        ("lower", r"frame's shape of catch is \(1, 10, 5\)"),
        ("pong", "world of catch is catch and that of pong is pong"),
    ]:
        with pytest.raises(UsageError, match=says):
            Recording("catch", other)
    with pytest.raises(UsageError, match="frame's shape of pong"):
        Recording("pong", "rgb")
    with pytest.raises(UsageError, match="number of actions of pong is 6 and that of full is 18"):
        Recording("pong", "full")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["collect"], "Name who plays"),
        (["collect", "nowhere"], "no run folder"),
        (["collect", "random", "env:catch", "--format", "rgb"], "has no format 'rgb'"),
        (["collect", "random", "env:catch", "--frames", "0"], "frames is 0"),
        (["collect", "random", "env:catch", "--frames", "9", "--folder", "data"], "already holds"),
        (["collect", "some/run", "--game", "pong"], "plays in its own world; leave out --env.game"),
        (["pretrain", "predicter:feedforward"], "as ROLE:NAME"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_word_gets_a_sentence(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data").mkdir()
    Path("data/manifest.json").write_text("{}")
    assert cli.main(words) == 2
    assert says in capsys.readouterr().err
    assert not Path("runs").exists()


def test_collecting_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["env:catch", "--steps", "80", "--streams", "4", "--folder", "run"]
    quiet = ["--quiet", "--bare-seconds", "0", "--device", "cpu", "--threads", "1"]
    assert cli.main(["train", "episodic", *small, *quiet]) == 0
    assert cli.main(["collect", "run", "--frames", "400", "--epsilon", "0.3"]) == 0
    assert "400 frames 1x10x5 in" in capsys.readouterr().out
    manifest = json.loads(Path("runs/data/catch-run-own-s0/manifest.json").read_text())
    assert (manifest["policy"], manifest["epsilon"], manifest["world"]) == ("run", 0.3, "catch")
    assert manifest["provenance"]["torch"] == torch.__version__


class Mean:
    """A model whose one number walks to the mean of what it sees."""

    def __init__(self) -> None:
        self.value, self.steps = torch.zeros(()), 0

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value, self.steps = state["value"].clone(), state["steps"]


@dataclass(frozen=True)
class MeanPretraining(Pretraining):
    lost_at: int = -1

    @property
    def model_name(self) -> str:
        return "mean"

    def build(self, recording: Recording, device: torch.device) -> Mean:
        return Mean()

    def phase(self, model: Any) -> bool:
        return bool(model.steps >= 20)

    def batches(self, recording: Recording, model: Any) -> Batches[Tensor]:
        batch = self.batch // 2 if self.phase(model) else self.batch
        return Batches(recording.rows("train"), batch, recording.frames, seed=self.seed)

    def update(self, model: Any, batch: Tensor, device: torch.device) -> Metrics:
        model.value += 0.1 * (batch.float().mean() - model.value)
        model.steps += 1
        return {"loss": model.value if model.steps != self.lost_at else float("nan")}

    def evaluate(self, model: Any, recording: Recording, device: torch.device) -> Metrics:
        return {
            "error": (recording.frames(recording.rows("held-out")).float().mean() - model.value)
        }


OPTIONS = PretrainOptions(device="cpu", threads=1, log_every=10, quiet=True)


def test_pretraining_resumes_as_if_never_stopped() -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, streams=4)
    job = MeanPretraining(data=("data",), steps=50, batch=16)
    straight = pretrain(job, "straight", OPTIONS)
    pretrain(replace(job, steps=23), "halved", OPTIONS)
    halved = pretrain(job, "halved", OPTIONS)
    states = [run.checkpoints.load() for run in (straight, halved)]
    assert states[0] is not None
    assert states[1] is not None
    assert torch.equal(states[0]["model"]["value"], states[1]["model"]["value"])
    rows = straight.read_lines("metrics.jsonl")
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50]
    assert [row["frames"] for row in rows] == [160, 320, 400, 480, 560]
    assert halved.read_lines("metrics.jsonl")[-1]["frames"] == 560
    assert {"loss", "held-out/error"} <= rows[-1].keys()
    assert isinstance(Run("straight").job(), MeanPretraining)
    with pytest.raises(UsageError, match="holds the pretraining of a model"):
        Run("straight").experiment()
    with pytest.raises(UsageError, match="holds another experiment"):
        pretrain(replace(job, seed=1), "straight", OPTIONS)


def test_a_pretraining_killed_at_its_end_is_finished_by_the_same_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, streams=4)
    job, made = MeanPretraining(data=("data",), steps=20, batch=16), list[float]()

    def killed(self: Any, run: Run, model: Mean, *rest: Any) -> None:
        raise KeyboardInterrupt

    def finish(self: Any, run: Run, model: Mean, *rest: Any) -> None:
        made.append(float(model.value))

    monkeypatch.setattr(MeanPretraining, "finish", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(job, "run", OPTIONS)
    monkeypatch.setattr(MeanPretraining, "finish", finish)
    for _ in range(2):
        assert pretrain(job, "run", replace(OPTIONS, quiet=False)).finished
        assert "run is finished at step 20" in capsys.readouterr().out
    weights = torch.load("run/model.pt", weights_only=True)["model"]
    assert made == [float(weights["value"])], "once, of the trained model"
    pretrain(replace(job, steps=30), "run", OPTIONS)
    assert len(made) == 2
    about = json.loads(Path("run/provenance.json").read_text())
    assert [sitting["from_step"] for sitting in about["sittings"]] == [0, 20]


def test_a_diverging_loss_names_its_step_and_keeps_the_last_good_checkpoint() -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, streams=4)
    job = MeanPretraining(data=("data",), steps=20, batch=16, lost_at=34)
    run = pretrain(job, "run", OPTIONS)
    before = run.checkpoints.path(20).read_bytes()
    with pytest.raises(NumericalError, match="gradient step 34 is nan"):
        pretrain(replace(job, steps=50), "run", OPTIONS)
    assert run.checkpoints.path(20).read_bytes() == before
    assert run.checkpoints.steps() == [20]
