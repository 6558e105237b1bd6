"""Evaluations of episodes without an end, and of runs whose folder cannot be written."""

import errno
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import imageio.v3 as imageio
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from reverie import Experiment, evaluate, train
from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.catch import CatchConfig
from reverie.envs.gym import GymConfig
from reverie.experiments.cli import main as cli
from reverie.experiments.evaluation.evaluate import longest_episode
from reverie.experiments.runs import live_line
from reverie.experiments.runs.run import Run
from reverie.experiments.runs.scores import Scores

from sample_agents import DQN, OPTIONS


class Endless(gymnasium.Env[Any, Any]):
    """Pays 1 a step; an episode whose first observation is odd never ends."""

    observation_space = Box(0, 255, (6, 5, 3), np.uint8)
    action_space = Discrete(2)
    always = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps, self.kind = 0, int(self.np_random.integers(256)) | self.always
        return np.full((6, 5, 3), self.kind, np.uint8), {}

    def step(self, action: int) -> Any:
        self.steps += 1
        done = self.steps == 3 and self.kind % 2 == 0
        return np.full((6, 5, 3), self.kind, np.uint8), 1.0, done, False, {}


class AlwaysEndless(Endless):
    always = True


gymnasium.register("Endless-v0", entry_point=lambda **settings: Endless())
gymnasium.register("AlwaysEndless-v0", entry_point=lambda **settings: AlwaysEndless())


@pytest.mark.parametrize("num_envs", [2, 8])
def test_an_episode_without_an_end_is_cut_off_and_marked(num_envs: int) -> None:
    """Also if an env has more episodes to play, for which it is reset."""
    env = GymConfig("Endless-v0")
    scores = evaluate(RandomPolicy(2), env, episodes=8, num_envs=num_envs, max_steps=20, seed=1)
    assert set(zip(scores.scores, scores.lengths, scores.truncated, strict=True)) == {
        (3.0, 3, False),
        (20.0, 20, True),
    }
    assert scores.episodes == 8
    cut = sum(scores.truncated)
    assert f"truncated: {cut} of 8 episodes, {cut} of them after --max-steps 20" in str(scores)
    assert Scores.from_json(json.loads(json.dumps(scores.to_json()))) == scores
    again = evaluate(RandomPolicy(2), env, episodes=8, num_envs=num_envs, max_steps=20, seed=1)
    assert again == scores


def test_every_episode_of_an_endless_env_starts_from_a_reset(tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    env = GymConfig("AlwaysEndless-v0")
    scores = evaluate(
        RandomPolicy(2), env, episodes=6, num_envs=2, max_steps=7, video=video, seed=3
    )
    assert scores.lengths == (7,) * 6
    assert scores.distinct_starts > 4
    assert len(imageio.imread(video, plugin="pyav")) == 7


def test_a_time_limit_of_the_env_is_marked_too() -> None:
    short = AtariConfig("pong", replace(PROTOCOLS["nature"], frames_cap=40, noops=0))
    scores = evaluate(RandomPolicy(6), short, episodes=2, threads=1)
    assert scores.truncated == (True, True)
    assert "truncated: 2 of 2 episodes\n" in f"{scores}\n"
    assert not any(evaluate(RandomPolicy(3), CatchConfig(), episodes=4).truncated)


def test_the_default_cap_leaves_atari_protocols_as_they_are() -> None:
    assert longest_episode(CatchConfig()) == 27_000
    for skip in (1, 4):
        protocol = replace(PROTOCOLS["machado"], skip=skip)
        assert longest_episode(AtariConfig("pong", protocol)) > 108_000 / skip


@pytest.mark.parametrize("live", [False, True])
def test_a_long_evaluation_shows_its_progress(
    live: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("LIVE_SECONDS", "PLAIN_SECONDS", "FIRST_SECONDS"):
        monkeypatch.setattr(live_line, name, 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: live)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    env = GymConfig("AlwaysEndless-v0")
    evaluate(RandomPolicy(2), env, episodes=1, max_steps=3)
    out, err = capsys.readouterr()
    assert not out
    assert "AlwaysEndless-v0: 0 of 1 episodes, longest now 2 of 3 steps" in err
    if live:
        shown = re.sub(r"\x1b\[[?\d;]*\w", "\n", err).replace("\r", "\n")
        assert max(map(len, shown.splitlines())) <= 60, "a longer line would not be overwritten"
        assert err.endswith("\x1b[2K"), "the line is erased"
    else:
        assert err.count("\n") == 3
    told: list[str] = []
    evaluate(RandomPolicy(2), env, episodes=1, max_steps=3, tell=told.append)
    assert len(told) == 3
    assert not capsys.readouterr().err


@pytest.fixture
def catch_run(tmp_path: Path) -> Run:
    experiment = Experiment(DQN, CatchConfig(), total_timesteps=80, num_envs=4)
    return train(experiment, tmp_path / "run", OPTIONS)


def test_an_evaluation_that_cannot_be_written_does_not_begin(
    catch_run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("reverie.experiments.evaluation.evaluate.interact", None)  # no step
    (catch_run.folder / "scores.json").mkdir()
    assert cli.main(["evaluate", str(catch_run.folder)]) == 2
    assert "run/scores.json cannot be written (Is a directory); make" in capsys.readouterr().err
    (catch_run.folder / "scores.json").rmdir()
    for path in (catch_run.folder / "videos").iterdir():
        path.unlink()
    (catch_run.folder / "videos").rmdir()
    (catch_run.folder / "videos").touch()
    assert cli.main(["evaluate", str(catch_run.folder), "--video"]) == 2
    assert "videos/evaluation.mp4 cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["scores.json", "evaluation.mp4"])
def test_scores_survive_a_disk_that_fills_up_during_the_evaluation(
    lost: str,
    catch_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sync = os.fsync

    def full(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if lost in path and "/run/" in path:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    arguments = ["--episodes", "3", "--video", "--device", "cpu", "--threads", "1"]
    assert cli.main(["evaluate", str(catch_run.folder), *arguments]) == 1
    out, err = capsys.readouterr()
    assert "catch: mean" in out
    assert f"{lost} cannot be written (No space left on device)" in err
    (found,) = tmp_path.rglob("scores.json")
    assert found.is_relative_to(catch_run.folder) == (lost != "scores.json")
    assert len(json.loads(found.read_text())["scores"]) == 3
    if lost == "scores.json":
        assert f"its content is in {found}." in err
