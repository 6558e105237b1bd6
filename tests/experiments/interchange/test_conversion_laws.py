"""Conversion: what comes back from another format is the recording, bit for bit."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import h5py
import minari
import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.gym import GymConfig
from reverie.envs.interface import EnvConfig
from reverie.envs.minatar import MinAtarConfig
from reverie.experiments.datasets import writer
from reverie.experiments.datasets.collect import Format, collect
from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.interchange import recording_writer
from reverie.experiments.interchange.conversion import (
    Target,
    convert,
    find_source,
    find_target,
    provenance_of,
    read_source,
)
from reverie.experiments.interchange.recorded_episodes import Episode, read_episode, spans_of
from reverie.experiments.interchange.replay_check import replay_recording

import sample_envs  # noqa: F401  # registers Counter-v0

PONG = AtariConfig("pong", replace(PROTOCOLS["nature"], frames_cap=160, sticky=0.25))
BREAKOUT = AtariConfig("breakout", replace(PROTOCOLS["nature"], frames_cap=1200))
RECORDINGS: dict[str, tuple[EnvConfig, int, Format]] = {
    "catch": (CatchConfig(), 2, "own"),
    "minatar": (MinAtarConfig(), 3, "own"),
    "counter": (GymConfig("sample_envs:Counter-v0"), 2, "own"),
    "breakout": (BREAKOUT, 1, "own"),
    "pong": (PONG, 2, "rgb"),
}
Record = Callable[[str], Recording]
FILES: dict[Target, str] = {"hdf5": "episodes.hdf5", "minari": "sets/random-v0"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Records each env once."""

    @cache
    def record(name: str) -> Path:
        folder = tmp_path_factory.mktemp("recordings") / name
        env, num_envs, format = RECORDINGS[name]
        num_actions = {"minatar": 6, "breakout": 4, "pong": 6}.get(name, 3)
        collect(
            RandomPolicy(num_actions),
            env,
            folder,
            frames=122 if name == "pong" else 242,
            num_envs=num_envs,
            format=format,
            privileged=name in ("minatar", "pong"),
        )
        return folder

    return record


@pytest.fixture(autouse=True)
def small_shards(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recorded: Callable[[str], Path]
) -> None:
    for module in (writer, recording_writer):
        monkeypatch.setattr(module, "SHARD_ROWS", 50)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def record(recorded: Callable[[str], Path]) -> Callable[[str], Recording]:
    """Copies the recording of an env to ``data``."""

    def copy(name: str) -> Recording:
        shutil.copytree(recorded(name), "data")
        return Recording("data", cache_bytes=0)

    return copy


def converted(source: str, target: str, to: Target) -> Path:
    convert(read_source(*find_source(Path(source))), Path(target), to)
    return Path(target)


def episodes_of(recording: Recording) -> Iterator[Episode]:
    return (read_episode(recording, span) for span in spans_of(recording).all)


@pytest.mark.parametrize("to", FILES)
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_comes_back_bit_for_bit(name: str, to: Target, record: Record) -> None:
    recording = record(name)
    back = Recording(converted(str(converted("data", FILES[to], to)), "back", "own"))
    rows = torch.arange(len(recording))
    assert recording.columns.keys() == back.columns.keys()
    for column, x in recording.columns.items():
        assert torch.equal(x, back.columns[column]), column
        assert x.dtype == back.columns[column].dtype
    assert torch.equal(recording.frames(rows), back.frames(rows))
    assert back.manifest == recording.manifest
    assert len(back.manifest.shards) > 1
    assert provenance_of(Path("back")).items() > provenance_of(Path("data")).items()
    files = (sorted(Path(x).glob("0*")) for x in ("data", "back"))
    assert [x.read_bytes() for x in next(files)] == [x.read_bytes() for x in next(files)]


def test_recordings_of_the_laws_have_what_could_be_lost(recorded: Callable[[str], Path]) -> None:
    """Deaths, time-outs, lost lives, episodes that are cut, and one that is cut after a frame."""
    found = set()
    for name in ("catch", "breakout", "pong"):
        for episode in episodes_of(Recording(recorded(name), cache_bytes=0)):
            found.add("death" if episode.terminated else "time-out" if episode.ended else "cut")
            lives = (episode.discount == 0).sum() - episode.terminated
            found |= {"life"} if lives else set()
            found |= {"frame"} if not len(episode.reward) else set()
    assert found == {"death", "time-out", "cut", "life", "frame"}


def test_minari_loads_what_was_recorded(monkeypatch: pytest.MonkeyPatch, record: Record) -> None:
    recording = record("pong")
    monkeypatch.setenv("MINARI_DATASETS_PATH", os.path.abspath("sets"))
    converted("data", "sets/pong/random-v3", "minari")
    dataset = minari.load_dataset("pong/random-v3")
    expected = [x for x in episodes_of(recording) if len(x.reward)]
    assert dataset.total_episodes == len(expected)
    assert dataset.total_steps == sum(len(x.reward) for x in expected)
    assert dataset.observation_space.shape == (3, 210, 160)
    assert dataset.env_spec is not None
    assert dataset.env_spec.id == "ALE/Pong-v5"
    assert dataset.env_spec.kwargs["repeat_action_probability"] == 0.25
    for found, episode in zip(dataset.iterate_episodes(), expected, strict=True):
        assert np.array_equal(found.observations, episode.frames)
        assert np.array_equal(found.actions, episode.action[:-1])
        assert np.array_equal(found.rewards, episode.reward)
        assert found.terminations.tolist() == [False] * (len(episode.reward) - 1) + [
            episode.terminated
        ]
        assert bool(found.truncations[-1]) == (not episode.terminated)
    assert list(minari.list_local_datasets()) == ["pong/random-v3"]
    assert find_source(Path("pong/random-v3")) == ("minari", Path("sets/pong/random-v3").resolve())


def test_an_hdf5_file_is_one_of_d4rl(record: Record) -> None:
    expected = [x for x in episodes_of(record("catch")) if len(x.reward)]
    converted("data", "catch.h5", "hdf5")
    with h5py.File("catch.h5") as file:
        arrays = {name: x[()] for name, x in file.items()}
    starts = np.cumsum([0, *(len(x.reward) for x in expected)])
    assert starts[-1] == len(arrays["observations"]) == len(arrays["terminals"])
    for episode, start, end in zip(expected, starts[:-1], starts[1:], strict=True):
        assert np.array_equal(arrays["observations"][start:end], episode.frames[:-1])
        assert np.array_equal(arrays["rewards"][start:end], episode.reward)
        assert arrays["terminals"][start:end].sum() == episode.terminated
        assert arrays["timeouts"][start:end].sum() == (not episode.terminated)


def test_a_part_of_a_recording_is_a_recording_of_one_env(record: Record) -> None:
    """Its episodes are those that are left; it cannot be replayed, as its seed is not theirs."""
    recording = record("catch")
    path = converted("data", "sets/random-v0", "minari")
    metadata = json.loads((path / "data/metadata.json").read_text())
    metadata["total_episodes"] = 7
    (path / "data/metadata.json").write_text(json.dumps(metadata))
    part = Recording(converted(str(path), "part", "own"))
    expected = list(episodes_of(recording))[:7]
    assert part.manifest.num_envs == 1
    for found, episode in zip(episodes_of(part), expected, strict=True):
        assert np.array_equal(found.frames, episode.frames)
        assert np.array_equal(found.reward, episode.reward)
        assert found.ended
    with pytest.raises(UsageError, match="part cannot be replayed: it is of some of the episodes"):
        replay_recording(part)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_is_replayed(name: str, record: Record) -> None:
    done = list[int]()
    assert replay_recording(record(name), done.append) is None
    assert done[-1] == len(Recording("data"))


@pytest.mark.parametrize("column", ["action", "reward", "last", "privileged", "frame"])
def test_a_replay_names_the_first_difference(column: str, record: Record) -> None:
    record("catch")
    path = Path("data/00001.npz")  # rows 50 to 99 of 2 envs
    with np.load(path) as file:
        arrays = dict(file)
    row, env = 44, 0  # timestep 47, in the fifth episode of its env
    if column == "frame":
        blob, ends = Path("data/00001.frames"), [0, *arrays["ends"].tolist()]
        frames = blob.read_bytes()
        swapped = frames[ends[row + 2] : ends[row + 3]]
        cut = frames[: ends[row]] + swapped + frames[ends[row + 1] :]
        arrays["ends"][row:] += len(cut) - len(frames)
        blob.write_bytes(cut)
        manifest = json.loads(Path("data/manifest.json").read_text())
        manifest["shards"][1][1] = len(cut)
        Path("data/manifest.json").write_text(json.dumps(manifest))
    elif column == "action":
        arrays[column][row] = (arrays[column][row] + 1) % 3
    else:
        x = arrays[column][row]
        arrays[column][row] = ~x if column == "last" else x + 1
    np.savez(path, **arrays)
    mismatch = replay_recording(Recording("data", cache_bytes=0))
    assert mismatch is not None
    assert mismatch.env == env
    # An action, and its reward, show at the timestep after it.
    later = column in ("action", "reward")
    assert mismatch.timestep == 47 + later
    assert (mismatch.episode, mismatch.step) == (4, 7 + later)
    assert "at timestep 4" in str(mismatch)
    assert ("pixels" in mismatch.text) == (column == "frame") or column == "action"


def test_nothing_is_overwritten_and_nothing_is_left_of_what_fails(record: Record) -> None:
    record("catch")
    kind, path = find_source(Path("data"))

    def broken(*args: object) -> Iterator[Episode]:
        yield from islice(source.episodes, 3)
        raise KeyboardInterrupt

    for target, to in (
        ("a.hdf5", "hdf5"), ("b-v0", "minari"), ("c", "own"), ("d", "mp4"), ("e.mp4", "mp4"),
    ):  # fmt: skip
        source = read_source(kind, path)
        with pytest.raises(KeyboardInterrupt):
            convert(replace(source, episodes=broken()), Path(target), to)  # type: ignore[arg-type]
        assert [x.name for x in Path().iterdir()] == ["data"]
        Path(target).touch()
        with pytest.raises(UsageError, match="exists already; remove it, or name another target"):
            find_target(Path(target), to, "hdf5")  # type: ignore[arg-type]
        Path(target).unlink()


def test_shapes_of_an_episode_are_checked() -> None:
    frames = np.zeros((3, 1, 2, 2), np.uint8)
    with pytest.raises(TypeCheckError):
        Episode(frames, np.zeros(2, np.int64), np.zeros(2), np.ones(2, np.float32))
