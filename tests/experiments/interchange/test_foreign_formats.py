"""Episodes of other projects become the recording that they were written from."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reverie.agents.policies import RandomPolicy
from reverie.envs.batched_env import BatchedEnv, spec_of
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.recorded import RecordedConfig
from reverie.experiments.cli import main as cli
from reverie.experiments.datasets.collect import collect
from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.interchange.array_checks import frame_axes, to_actions
from reverie.experiments.interchange.conversion import convert, find_source, read_source
from reverie.experiments.interchange.recorded_episodes import Episode, read_episode, spans_of
from reverie.experiments.training.predictors import PredictorPretraining

from foreign_files import NUM_ACTIONS, write_d4rl, write_dopamine, write_dreamer, write_minari


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[Episode]:
    """Episodes of Catch, of which every other one is cut by a time-out, with more rewards."""
    folder = tmp_path_factory.mktemp("data") / "catch"
    collect(RandomPolicy(NUM_ACTIONS), CatchConfig(), folder, frames=300, num_envs=2)
    recording = Recording(folder)
    episodes = [read_episode(recording, x) for x in spans_of(recording).ended]
    return [_cut(x, 4 + i % 4) if i % 2 else x for i, x in enumerate(episodes)]


def _cut(x: Episode, length: int) -> Episode:
    rewards = np.arange(length) / 4
    ones = np.ones(length, np.float32)
    return Episode(x.frames[: length + 1], x.action[: length + 1], rewards, ones)


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def converted(path: str) -> list[Episode]:
    """Convert what a path holds to a recording, and return its episodes."""
    convert(read_source(*find_source(Path(path))), Path("back"), "own")
    recording = Recording("back")
    assert isinstance(recording.manifest.env, RecordedConfig)
    assert recording.num_actions == NUM_ACTIONS
    return [read_episode(recording, x) for x in spans_of(recording).all]


def check(found: Sequence[Episode], expected: Sequence[Episode]) -> None:
    for x, y in zip(found, expected, strict=True):
        assert np.array_equal(x.frames, y.frames)
        assert np.array_equal(x.action[:-1], y.action[:-1])
        assert np.array_equal(x.reward, y.reward)
        assert np.array_equal(x.discount, y.discount)
        assert (x.ended, x.terminated) == (True, y.terminated)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("per_file", [1, 8])
def test_dreamers_episodes(played: list[Episode], version: int, per_file: int) -> None:
    write_dreamer(Path("episodes"), played, version, per_file)
    check(converted("episodes"), played)
    assert {2: "before", 3: "after"}[version] in Recording("back").manifest.source


def test_an_array_of_a_discount_ends_an_episode_of_the_first_dreamer(
    played: list[Episode],
) -> None:
    write_dreamer(Path("a"), played[:1], 2, 1)
    arrays = dict(np.load("a/000.npz"))
    kept = {x: y for x, y in arrays.items() if not x.startswith("is_")}
    np.savez("a/000.npz", **kept, discount=1.0 - arrays["is_terminal"])
    check(converted("a/000.npz"), played[:1])


def test_datasets_of_minari(played: list[Episode], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", "set by the function")
    write_minari(Path("catch-v0"), played)
    check(converted("catch-v0"), played)


def test_jpegs_of_minari(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are lossy: squares of one color stay as they are, but for rounding."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", "set by the function")
    colors = np.random.default_rng(0).integers(0, 256, (4, 3, 4, 5), np.uint8)
    frames = colors.repeat(16, 2).repeat(16, 3)
    played = Episode(frames, np.array([0, 1, 2, 0]), np.ones(3), np.ones(3, np.float32))
    write_minari(Path("jpeg-v0"), [played], jpeg=True)
    (found,) = converted("jpeg-v0")
    assert found.frames.shape == frames.shape
    assert np.abs(found.frames[..., 8::16, 8::16].astype(int) - colors).max() <= 4
    assert found.action[:-1].tolist() == [0, 1, 2]


def test_d4rl_with_the_frames_after_its_actions(played: list[Episode]) -> None:
    write_d4rl(Path("a.hdf5"), played, next_observations=True)
    check(converted("a.hdf5"), played)


def test_d4rl_has_no_frame_after_the_last_action(played: list[Episode]) -> None:
    """A death repeats the last frame, and a time-out ends the episode an action earlier."""
    write_d4rl(Path("a.hdf5"), played, next_observations=False)
    check(converted("a.hdf5"), [_without_last_frame(x) for x in played])


def _without_last_frame(x: Episode) -> Episode:
    if x.terminated:
        frames = np.concatenate([x.frames[:-1], x.frames[-2:-1]])
        return Episode(frames, x.action, x.reward, x.discount)
    return _cut(x, len(x.reward) - 1)


@pytest.mark.parametrize("capacity", [500, 80])
def test_dopamines_checkpoints(played: list[Episode], capacity: int) -> None:
    """A ring that is full begins within an episode, whose earlier frames were replaced."""
    deaths = played[::2]
    write_dopamine(Path("logs"), deaths, capacity=capacity)
    write_dopamine(Path("logs"), deaths[:3], capacity=500, number=12)
    found = converted("logs")
    check(found[-3:], [_without_last_frame(x) for x in deaths[:3]])
    lengths = [len(x.reward) + 3 for x in deaths]
    if capacity == 500:
        check(found[:-3], [_without_last_frame(x) for x in deaths])
        return
    count = sum(lengths)
    assert count > 2 * capacity, "the ring was filled more than twice"
    stored = {tuple(x.frames[:-1].flatten()) for x in map(_without_last_frame, deaths)}
    whole = [x for x in found[:-3] if tuple(x.frames[:-1].flatten()) in stored]
    assert len(whole) >= capacity // max(lengths) - 2
    assert len(found[:-3]) - len(whole) <= 3, "cut at the cursor, and at the ends of the file"
    assert all(x.frames.any((1, 2, 3)).all() for x in found), "empty rows are left out"


def test_frames_are_read_by_their_axes() -> None:
    uint8 = np.dtype(np.uint8)
    shape: tuple[int, ...]
    for shape, axes in (
        ((84, 84), "HW"), ((3, 64, 64), "CHW"), ((64, 64, 3), "HWC"), ((64, 64, 1), "HWC"),
    ):  # fmt: skip
        assert frame_axes("x", shape, uint8, "") == axes
    assert frame_axes("x", (10, 10, 4), uint8, "HWC") == "HWC"
    for shape, axes in (((10, 10, 4), ""), ((3, 9, 3), ""), ((4, 84, 84, 3), ""), ((9, 9), "CHW")):
        with pytest.raises(UsageError, match="--axes CHW, HWC or HW"):
            frame_axes("x", shape, uint8, axes)
    with pytest.raises(UsageError, match="x has the type float32, and frames are images of uint8"):
        frame_axes("x", (64, 64, 3), np.dtype(np.float32), "")


@pytest.mark.parametrize(
    "actions",
    [[[0.5, 0.5]], [[1, 1, 0]], [0.5], [-1], [70_000], [np.nan], [[[1, 0]]]],
    ids=str,
)
def test_actions_that_are_no_indices_are_refused(actions: list[object]) -> None:
    with pytest.raises(UsageError, match=r"x (is continuous|has actions that are not indices)"):
        to_actions("x", np.array(actions))


def test_an_env_that_is_known_from_a_recording_has_shapes_and_cannot_be_played() -> None:
    config = RecordedConfig("doom-v1", 5, (3, 60, 80))
    spec = spec_of(config, 2)
    assert (spec.num_envs, spec.num_actions, spec.obs_shape) == (2, 5, (3, 60, 80))
    assert not spec.planes
    assert spec_of(RecordedConfig("planes", 5, (4, 10, 10))).planes
    with pytest.raises(UsageError, match="doom-v1 is known from a recording alone"):
        BatchedEnv(config.build(1)).reset()
    for wrong in ({"name": "../x"}, {"name": ""}, {"num_actions": 0}, {"shape": (1, 0, 4)}):
        with pytest.raises(UsageError, match=r"it must be|its numbers must be"):
            RecordedConfig(**wrong)


@pytest.mark.parametrize("write", [write_dreamer, write_minari])
def test_a_predictor_learns_from_converted_episodes(
    write: Callable[..., None],
    played: list[Episode],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", "set by write_minari")
    settings: dict[Any, dict[str, int]] = {
        write_dreamer: {"version": 3, "per_file": 1},
        write_minari: {},
    }
    write(Path("others-v0"), played[::2], **settings[write])
    starts = PredictorPretraining.held_out_starts
    monkeypatch.setattr(
        PredictorPretraining, "held_out_starts", lambda *x, **y: starts(*x, **y)[:4]
    )
    assert cli.main(["data", "convert", "others-v0", "data", "--name", "others catch"]) == 0
    assert "frames of others-catch" in capsys.readouterr().out
    quiet = ["--quiet", "--device", "cpu", "--threads", "1"]
    argv = ["pretrain", "predictor:tiny", "--data", "data", "--num-updates", "2", "--stack", "1"]
    assert cli.main([*argv, *quiet, "--folder", "run"]) == 0
    assert cli.main(["data", "replay", "data"]) == 2
    assert "cannot be replayed: it is of" in capsys.readouterr().err
