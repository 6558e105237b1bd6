"""Recordings: reading returns what was recorded, formats agree, and errors name the damage."""

import errno
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie import register
from reverie.agents.interface import ActOutput
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs import prng
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.atari.ram import RAM
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import FolderBusy, NumericalError, UsageError
from reverie.envs.gym import GymConfig
from reverie.envs.interface import Carry, EnvConfig, Metrics, TimeStep, Transition
from reverie.experiments.cli import main as cli
from reverie.experiments.config.serialization import read_experiment, read_job
from reverie.experiments.datasets import writer
from reverie.experiments.datasets.batches import Batches
from reverie.experiments.datasets.collect import collect
from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.datasets.writer import Manifest, Recorder
from reverie.experiments.runs.files import write_file
from reverie.experiments.runs.folder_lock import locked
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.options import PretrainOptions
from reverie.experiments.training.pretrain import Pretraining, pretrain
from reverie.world_models.precision import FLOAT32, Precision

import sample_envs  # noqa: F401  # registers Counter-v0

PONG = AtariConfig("pong", replace(PROTOCOLS["nature"], frames_cap=400, sticky=0.25))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(writer, "SHARD_ROWS", 100)
    monkeypatch.chdir(tmp_path)


def random_play(env: EnvConfig, num_timesteps: int, num_envs: int) -> Iterator[Transition]:
    """Yield the transitions that ``collect`` records."""
    envs = BatchedEnv(env.build(num_envs, threads=1, privileged=True), purpose=prng.Purpose.COLLECT)
    policy = RandomPolicy(envs.spec.num_actions)
    start = envs.reset(), {"rng": prng.initial_rng(0, prng.Purpose.COLLECT, num_envs)}
    return islice(interact(envs, policy, start=start), num_timesteps)


@pytest.mark.parametrize(
    "env", [CatchConfig(), PONG, GymConfig("sample_envs:Counter-v0")], ids=lambda env: env.env_name
)
def test_a_recording_equals_the_transitions_of_the_loop(env: EnvConfig) -> None:
    """Observations, actions, rewards, discounts and true states, across episodes and shards."""
    num_actions = 6 if env.env_name == "pong" else 3
    privileged = env == PONG
    collect(RandomPolicy(num_actions), env, "data", frames=604, num_envs=2, privileged=privileged)
    transitions = list(random_play(env, 301, 2))
    for cache_bytes in (0.0, 1e9):
        recording = Recording("data", cache_bytes=cache_bytes)
        check_recording(recording, transitions, 4 if env == PONG else 1)


def check_recording(recording: Recording, transitions: list[Transition], stack: int) -> None:
    assert len(recording) == 604
    assert len(recording.manifest.shards) == 7
    rows = torch.randperm(602)[:90]
    obs = torch.cat([t.step.obs for t in transitions])
    assert torch.equal(recording.observations(rows, stack), obs[rows])
    for split in ("train", "held-out"):
        rows = recording.start_indices(split, length=6)
        segments = recording.segments(rows, 6, stack)
        assert not segments.last[:, :-1].any()
        assert not segments.first[:, 1:].any(), "no segment crosses an episode's end"
        for name in ("action", "reward", "discount"):
            values = [
                t.action if name == "action" else getattr(t.next_step, name) for t in transitions
            ]
            expected = torch.stack(values)  # [T, N]
            for i in range(6):
                column = getattr(segments, name)[:, i]
                assert torch.equal(column, expected[rows // 2 + i, rows % 2])
        for i in range(7):
            timestep, env = rows // 2 + i, rows % 2
            assert torch.equal(segments.obs[:, i], shown(transitions, "obs")[timestep, env])
            if segments.privileged is not None:
                expected = shown(transitions, "privileged")[timestep, env]
                assert torch.equal(segments.privileged[:, i], expected)
        assert bool(segments.last[:, -1].any()), "segments reach an episode's end"
        has_state = transitions[0].step.privileged is not None
        assert (segments.privileged is not None) == has_state == bool(recording.manifest.privileged)


def test_a_segment_longer_than_its_episode_repeats_the_end() -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=50, num_envs=2)
    recording = Recording("data")
    rows, left = torch.arange(48), recording.columns["steps_left"][:48]
    segments, rest = recording.segments(rows, 12), left[:, None]
    ahead = torch.arange(13)
    ends = rows + 2 * left
    expected = torch.where(ahead <= rest, rows[:, None] + 2 * ahead, ends[:, None])
    assert torch.equal(segments.obs, recording.observations(expected))
    assert torch.equal(segments.last, ahead >= rest)
    assert torch.equal(segments.valid, ahead[:-1] < rest)
    starts = rows[left >= 3]
    recorded = recording.columns["last"][starts[:, None] + 2 * ahead[:4]]
    assert torch.equal(recording.segments(starts, 3).last, recorded)


def shown(transitions: list[Transition], name: str) -> Tensor:
    """Return a field of all time steps, [T + 1, N, ...]."""
    steps = [*(t.step for t in transitions), transitions[-1].next_step]
    return torch.stack([step.columns()[name] for step in steps])


def test_another_format_has_the_true_state_of_the_policys_env() -> None:
    for format in ("own", "rgb"):
        collect(
            RandomPolicy(6), PONG, format, frames=300, num_envs=2, format=format, privileged=True
        )
    own, color = (Recording(format).columns["privileged"] for format in ("own", "rgb"))
    assert torch.equal(own, color)
    assert own.shape == (300, len(RAM["pong"]))
    assert len(torch.unique(own, dim=0)) > 100
    collect(RandomPolicy(6), PONG, "plain", frames=20, num_envs=1)
    with pytest.raises(UsageError, match=r"own and plain differ .privileged: .*player_x.*, not"):
        Recording("own", "plain")


class Sampling(RandomPolicy):
    """Acts at random if it explores, else moves left."""

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        output = super().act(step, carry)
        return output if explore else replace(output, action=torch.zeros_like(output.action))


@pytest.mark.parametrize("greedy", [False, True])
def test_a_policy_is_recorded_with_its_own_randomness_unless_it_is_greedy(greedy: bool) -> None:
    collect(Sampling(3), CatchConfig(), "data", frames=404, num_envs=4, greedy=greedy)
    recording = Recording("data")
    assert recording.manifest.greedy == greedy
    assert set(recording.columns["action"].tolist()) == ({0} if greedy else {0, 1, 2})


def test_formats_record_the_same_game_in_gray_and_color() -> None:
    """Rewards, episode ends and actions are equal; the frames' brightness is correlated."""
    for format in ("own", "rgb"):
        collect(RandomPolicy(6), PONG, format, frames=600, num_envs=2, format=format)
    gray, color = Recording("own"), Recording("rgb")
    assert gray.frame_shape == (1, 84, 84)
    assert color.frame_shape == (3, 210, 160)
    for name in ("action", "reward", "discount", "first", "last"):
        assert torch.equal(gray.columns[name], color.columns[name])
    assert gray.columns["last"].any()
    rows = torch.arange(0, 600, 37)
    brightness = [x.frames(rows).float().mean((1, 2, 3)) for x in (color, gray)]
    assert float(torch.corrcoef(torch.stack(brightness))[0, 1]) > 0.9
    assert color.frames(rows)[:, :, 100].float().std(1).max() > 5, "channels differ"


def test_splits_share_no_episode_and_cover_the_recording() -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=2000, num_envs=4)
    recording = Recording("data")
    train, held_out = recording.start_indices("train"), recording.start_indices("held-out")
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(2000))
    episode = recording.columns["episode"]
    assert not set(episode[train].tolist()) & set(episode[held_out].tolist())
    assert 0.1 <= len(held_out) / 2000 < 0.11
    assert torch.equal(held_out, recording.start_indices("held-out"))
    assert not torch.equal(held_out, recording.start_indices("held-out", seed=1))


def test_several_recordings_are_read_as_one() -> None:
    for seed, num_envs in ((0, 4), (1, 8)):
        collect(RandomPolicy(3), CatchConfig(), str(seed), frames=400, num_envs=num_envs, seed=seed)
    both = Recording("0", "1")
    first, second = Recording("0"), Recording("1")
    assert len(both) == 800
    assert both.num_episodes == first.num_episodes + second.num_episodes
    rows = second.start_indices("train", length=3)[:7]
    segments = both.segments(rows + 400, 3, 2), second.segments(rows, 3, 2)
    assert torch.equal(segments[0].obs, segments[1].obs)


def test_an_epoch_repeats_no_index_and_resumes() -> None:
    indices = torch.arange(100, 120)
    batches = Batches(indices, 6, lambda rows: rows.tolist(), seed=1)
    epochs = [[next(batches) for _ in range(3)] for _ in range(4)]
    for epoch in epochs:
        drawn = [*chain(*epoch)]
        assert len(set(drawn)) == 18
        assert set(drawn) <= set(indices.tolist())
    assert len({tuple(chain(*epoch)) for epoch in epochs}) == 4
    resumed = Batches(indices, 6, lambda rows: rows.tolist(), seed=1)
    resumed.load_state_dict({"count": 4})
    assert [next(resumed) for _ in range(5)] == [*chain(*epochs)][4:9]
    assert batches.state_dict() == {"count": 12}
    with pytest.raises(UsageError, match="20 start indices, fewer than a batch of 32"):
        Batches(indices, 32, lambda rows: rows)


def test_a_fraction_of_a_minibatch_are_events() -> None:
    """Drawn anew for each minibatch, and again by a resumed run."""
    indices, events = torch.arange(100, 140), torch.tensor([101, 120, 133])

    def batches(fraction: float, events: Tensor = events) -> Batches[list[int]]:
        return Batches(indices, 8, lambda x: x.tolist(), events=events, event_fraction=fraction)

    some, uniform = batches(0.4), batches(0.0)
    drawn = [next(some) for _ in range(6)]
    assert {len(x) for x in drawn} == {8}
    assert all(set(x[:3]) <= {101, 120, 133} for x in drawn)
    assert len({tuple(x[:3]) for x in drawn}) > 1
    assert [x[3:] for x in drawn] == [next(uniform)[3:] for _ in range(6)]
    resumed = batches(0.4)
    resumed.load_state_dict({"count": 4})
    assert [next(resumed), next(resumed)] == drawn[4:]
    assert next(batches(0.4, events=events[:0])) == next(batches(0.0))


def test_the_events_of_segments() -> None:
    """Every episode of Catch has a reward and a termination at its end."""
    collect(RandomPolicy(3), CatchConfig(), "data", frames=200, num_envs=2)
    recording = Recording("data")
    for length in (1, 4):
        rows = recording.start_indices("train", length=length)
        segments = recording.segments(rows, length)
        found = recording.has_event(rows, length)
        assert torch.equal(found, ((segments.reward != 0) | (segments.discount == 0)).any(1))
        assert torch.equal(found, recording.columns["steps_left"][rows] <= length)
        assert 0 < found.sum() < len(rows)


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
    ("kind", "message"),
    [
        ("shortened", "00001.frames is truncated"),
        ("missing", "00001 is truncated or missing"),
        ("table cut", "00001 is truncated or missing"),
        ("flipped", "00001.frames is damaged"),
        (
            "manifest",
            "has format other, and this version .* reads format [0-9]+; .* or record it again",
        ),
    ],
)
def test_a_damaged_shard_is_refused_by_name(kind: str, message: str) -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, num_envs=4)
    damage(kind)
    with pytest.raises(UsageError, match=message):
        Recording("data").frames(torch.arange(400))


def test_a_full_disk_ends_a_recording_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["collect", "random", "env:catch", "--num-envs", "4", "--folder", "data"]

    def fail_at_second_shard(path: Path, data: bytes) -> None:
        if path.name == "00001.frames":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_file(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_file", fail_at_second_shard)
        assert cli.main([*argv, "--frames", "400"]) == 1
    error = capsys.readouterr().err
    assert "The disk of data is full; a recording cannot be resumed; make room" in error
    assert "Traceback" not in error
    assert cli.main([*argv, "--frames", "80"]) == 0
    assert len(Recording("data")) >= 80


def test_an_interrupted_recording_is_refused_and_restarts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    append, calls = Recorder.append, count()

    def interrupt_in_third_shard(self: Recorder, *args: Any) -> None:
        if next(calls) == 60:
            raise KeyboardInterrupt
        append(self, *args)

    monkeypatch.setattr(Recorder, "append", interrupt_in_third_shard)
    argv = ["collect", "random", "env:catch", "--num-envs", "4", "--folder", "data"]
    assert cli.main([*argv, "--frames", "400"]) == 130
    assert Path("data/00001.frames").exists()
    with pytest.raises(UsageError, match="interrupted before its end; run the same"):
        Recording("data")
    with locked(Path("data"), "recording"), pytest.raises(FolderBusy, match="is recording in data"):
        collect(RandomPolicy(3), CatchConfig(), "data", frames=80)
    capsys.readouterr()
    assert cli.main([*argv, "--frames", "80"]) == 0
    assert "The recording data was interrupted before its end; it restarts." in (
        capsys.readouterr().out
    )
    assert len(Recording("data")) == 80
    assert {path.name for path in Path("data").iterdir()} == {
        "00000.frames", "00000.npz", "lock", "manifest.json"
    }  # fmt: skip
    assert cli.main([*argv, "--frames", "80"]) == 2


def test_recordings_of_different_envs_are_refused_by_their_difference() -> None:
    collect(RandomPolicy(3), CatchConfig(), "catch", frames=80)
    collect(RandomPolicy(3), CatchConfig(rows=6), "lower", frames=80)
    collect(RandomPolicy(6), PONG, "pong", frames=20, num_envs=1)
    collect(RandomPolicy(6), PONG, "rgb", frames=20, num_envs=1, format="rgb")
    full = AtariConfig("pong", replace(PONG.protocol, full_actions=True))
    collect(RandomPolicy(18), full, "full", frames=20, num_envs=1)
    for other, message in [
        ("lower", r"env.rows: 10, not 6; frame_shape: .1, 10, 5., not .1, 6, 5."),
        ("pong", "catch and pong differ .env: CatchConfig, not AtariConfig;"),
    ]:
        with pytest.raises(UsageError, match=message):
            Recording("catch", other)
    with pytest.raises(UsageError, match=r"frame_shape: \[1, 84, 84\], not \[3, 210, 160\]"):
        Recording("pong", "rgb")
    with pytest.raises(UsageError, match="num_actions: 6, not 18"):
        Recording("pong", "full")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["collect"], "Name the player first"),
        (["collect", "nowhere"], "no run folder"),
        (["collect", "random", "env:catch", "--format", "rgb"], "has no format 'rgb'"),
        (["collect", "random", "env:catch", "--frames", "0"], "frames is 0"),
        (["collect", "random", "--game", "breakout", "--privileged"], "offers no true state"),
        (["collect", "random", "env:catch", "--frames", "9", "--folder", "data"], "already holds"),
        (["collect", "some/run", "--game", "pong"], "plays in its own env; leave out --env.game"),
        (["pretrain", "predicter:feedforward"], "Did you mean predictor?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_refused_with_one_sentence(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data").mkdir()
    Path("data/manifest.json").write_text("{}")
    assert cli.main(argv) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


def test_collecting_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["env:catch", "--total-timesteps", "80", "--num-envs", "4", "--folder", "run"]
    quiet = ["--quiet", "--random-play-seconds", "0", "--device", "cpu", "--threads", "1"]
    assert cli.main(["train", "mfec", *small, *quiet]) == 0
    flags = ["--frames", "400", "--epsilon", "0.3", "--greedy"]
    assert cli.main(["collect", "run", *flags]) == 0
    printed = capsys.readouterr().out
    counts = re.search(r"400 frames 1x10x5 in (\d+) whole and (\d+) unfinished", printed)
    assert counts
    assert re.search(r"[1-9][\d.]* kB$", printed.strip())
    assert cli.main(["data", "show", "runs/data/catch-run-own-s0"]) == 0
    shown = capsys.readouterr().out
    assert f"{counts[1]} whole (" in shown
    assert f"{counts[2]} unfinished" in shown
    manifest = json.loads(Path("runs/data/catch-run-own-s0/manifest.json").read_text())
    assert (manifest["policy"], manifest["epsilon"], manifest["env_name"]) == ("run", 0.3, "catch")
    assert manifest["greedy"]
    assert manifest["privileged"] == ["ball_row", "ball_column", "paddle"]
    assert manifest["provenance"]["torch"] == torch.__version__


class Mean:
    """A model with one parameter, which approaches the mean of the frames."""

    def __init__(self) -> None:
        self.value, self.num_updates = torch.zeros(()), 0

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "num_updates": self.num_updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value, self.num_updates = state["value"].clone(), state["num_updates"]


@register("mean")
@dataclass(frozen=True)
class MeanPretraining(Pretraining):
    nan_at: int = -1

    @property
    def model_name(self) -> str:
        return "mean"

    def build(
        self, manifest: Manifest, device: torch.device, precision: Precision = FLOAT32
    ) -> Mean:
        return Mean()

    def phase(self, model: Any) -> bool:
        return bool(model.num_updates >= 20)

    def batches(self, recording: Recording, model: Any) -> Batches[Tensor]:
        batch_size = self.batch_size // 2 if self.phase(model) else self.batch_size
        indices = recording.start_indices("train")
        return Batches(indices, batch_size, recording.frames, seed=self.seed)

    def update(self, model: Any, batch: Tensor) -> Metrics:
        model.value += 0.1 * (batch.float().mean() - model.value)
        model.num_updates += 1
        return {"loss": model.value if model.num_updates != self.nan_at else float("nan")}

    def evaluate(self, model: Any, recording: Recording) -> Metrics:
        held_out = recording.frames(recording.start_indices("held-out"))
        return {"error": held_out.float().mean() - model.value}


@register("noisy")
@dataclass(frozen=True)
class NoisyPretraining(MeanPretraining):
    """Its updates draw from the process-wide generators."""

    def update(self, model: Any, batch: Tensor) -> Metrics:
        model.value += random.random() + np.random.rand() + torch.rand(())  # noqa: NPY002
        return super().update(model, batch)


OPTIONS = PretrainOptions(device="cpu", threads=1, log_every=10, quiet=True)


def test_resumed_pretraining_equals_an_uninterrupted_one() -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, num_envs=4)
    job = MeanPretraining(data=(Path("data"),), num_updates=50, batch_size=16)
    uninterrupted = pretrain(job, "uninterrupted", OPTIONS)
    pretrain(replace(job, num_updates=23), "resumed", OPTIONS)
    resumed = pretrain(job, "resumed", OPTIONS)
    states = [run.checkpoints.load() for run in (uninterrupted, resumed)]
    assert states[0] is not None
    assert states[1] is not None
    assert torch.equal(states[0]["model"]["value"], states[1]["model"]["value"])
    rows = uninterrupted.read_lines("metrics.jsonl")
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50]
    assert [row["frames"] for row in rows] == [160, 320, 400, 480, 560]
    assert resumed.read_lines("metrics.jsonl")[-1]["frames"] == 560
    assert {"loss", "eval/error"} <= rows[-1].keys()
    assert isinstance(read_job("uninterrupted"), MeanPretraining)
    with pytest.raises(UsageError, match="holds the pretraining of a model"):
        read_experiment("uninterrupted")
    with pytest.raises(UsageError, match="holds another experiment"):
        pretrain(replace(job, seed=1), "uninterrupted", OPTIONS)


def test_draws_of_a_pretraining_depend_on_its_seed_alone() -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, num_envs=4)
    job = NoisyPretraining(data=(Path("data"),), num_updates=30, batch_size=16)

    def value(job: Pretraining, folder: str) -> float:
        torch.rand(3)
        state = pretrain(job, folder, OPTIONS).checkpoints.load()
        assert state is not None
        return float(state["model"]["value"])

    first = value(job, "first")
    assert value(job, "second") == first
    value(replace(job, num_updates=17), "resumed")
    assert value(job, "resumed") == first
    assert value(replace(job, seed=1), "other") != first


def test_a_pretraining_interrupted_in_its_last_step_is_finished_by_the_same_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, num_envs=4)
    job, finished_values = (
        MeanPretraining(data=(Path("data"),), num_updates=20, batch_size=16),
        list[float](),
    )

    def interrupt(self: Any, run: Run, model: Mean, *args: Any) -> None:
        raise KeyboardInterrupt

    def finish(self: Any, run: Run, model: Mean, *args: Any) -> None:
        finished_values.append(float(model.value))

    monkeypatch.setattr(MeanPretraining, "finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pretrain(job, "run", OPTIONS)
    monkeypatch.setattr(MeanPretraining, "finish", finish)
    for message in ("Done: 20 updates in run", "run is finished at update 20"):
        assert pretrain(job, "run", replace(OPTIONS, quiet=False)).finished
        assert message in capsys.readouterr().out
    state = Run("run").checkpoints.load()
    assert state is not None
    assert finished_values == [float(state["model"]["value"])], "once, with the trained model"
    pretrain(replace(job, num_updates=30), "run", OPTIONS)
    assert len(finished_values) == 2
    provenance = json.loads(Path("run/provenance.json").read_text())
    assert [session["from_step"] for session in provenance["sessions"]] == [0, 20]


def test_an_error_of_a_nan_loss_names_the_step_and_keeps_the_last_checkpoint() -> None:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, num_envs=4)
    job = MeanPretraining(data=(Path("data"),), num_updates=20, batch_size=16, nan_at=34)
    run = pretrain(job, "run", OPTIONS)
    before = run.checkpoints.path(20).read_bytes()
    with pytest.raises(
        NumericalError,
        match=r"stopped at update 40. The metric loss is nan.* checkpoint of update 20",
    ):
        pretrain(replace(job, num_updates=50), "run", OPTIONS)
    assert run.checkpoints.path(20).read_bytes() == before
    assert run.checkpoints.steps() == [20]
