"""The progress line: it fits the console, comes by wall time, and warns of what is in vain."""

import math
import time
from dataclasses import replace
from pathlib import Path

import pytest

from reverie import Experiment, TrainOptions, train
from reverie.agents.dqn import DQNConfig
from reverie.agents.dyna import DynaConfig
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.informed import InformedConfig
from reverie.agents.networks import MLPConfig
from reverie.agents.ppo import PPOConfig
from reverie.envs.catch import CatchConfig
from reverie.experiments.runs.progress_text import duration, progress_line
from reverie.experiments.sessions.progress import Display
from reverie.world_models.representation.variational import VariationalConfig

CATCH = Experiment(DQNConfig(learning_starts=100), CatchConfig(), total_timesteps=80, num_envs=4)
QUICK = TrainOptions(device="cpu", threads=1, random_play_seconds=0)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("step", [0, 9_999_990, 10_000_000])
@pytest.mark.parametrize("rate", [0.0, 0.123, 12_345.6])
def test_the_line_fits_any_width_and_begins_with_the_score(
    width: int, step: int, rate: float
) -> None:
    scores = ("mean score -12,345.6 of 100 episodes", "score -12,345.6")
    line = progress_line(width, scores, step, 10_000_000, "step", rate)
    assert len(line) <= width
    assert line.startswith(scores)
    assert "%" in line
    assert ("ETA" in line) == (step < 10_000_000)
    assert line.endswith("/s")


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (720, "12 min"), (12_240, "3.4 h"), (1e99 * 1e300, "unk")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds).startswith(text)


def test_lines_come_by_wall_time_and_a_long_run_is_announced_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now, step = 0.0, 0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    display = Display(CATCH, lambda: (step, ("score 1.0",)), [], quiet=False)
    display.job = Experiment(total_timesteps=1_000_000)  # at ten steps a second
    display.on_start(0)
    for now in range(1, 61):  # the clock
        step = 10 * now
        display.on_metrics({})
    lines = capsys.readouterr().out.splitlines()
    progress = [line for line in lines if line.startswith("score")]
    assert len(progress) == 4
    assert "10 steps/s" in progress[-1]
    (warning,) = [i for i, line in enumerate(lines) if "takes 27.8 h more" in line]
    assert lines[warning - 1].startswith("score"), "the speed was known by then"


def test_a_pause_is_not_announced_as_a_long_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model is fitted for ten minutes, amid a run of twenty at a hundred steps a second."""
    now, step = 0.0, 0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    display = Display(CATCH, lambda: (step, ("score 1.0",)), [], quiet=False)
    display.job = Experiment(total_timesteps=120_000)
    display.on_start(0)
    for second in range(1, 121):
        now, step = second + 600.0 * (second > 60), step + 100
        display.on_metrics({})
    printed = capsys.readouterr().out
    assert "ETA 13.9 h" in printed, "the pause slows the speed that is measured just after it"
    assert "more; Ctrl-C" not in printed


def test_a_run_that_is_too_short_to_learn_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(CATCH, tmp_path / "a", QUICK)
    printed = capsys.readouterr().out
    assert "no update is made: the agent's first one is at step 104" in printed
    assert "of 80 steps (100%)" in printed


def test_the_first_update_is_known_from_the_settings() -> None:
    dqn = DQNConfig(learning_starts=1_000, replay_ratio=0.25)
    assert dqn.first_update(8) == 1_004
    assert InformedConfig(inner=dqn).first_update(8) == 1_004
    assert PPOConfig(num_steps=128).first_update(8) == 1_024
    assert MFECConfig().first_update(8) == 0
    assert MFECConfig(representation=VariationalConfig()).first_update(8) == 24_000
    dyna = DynaConfig(inner=dqn, model_learning_starts=500, imagination_envs=10, horizon=10)
    assert dyna.first_update(8) == 500 + 9 * 64


def test_a_run_that_goes_on_after_its_last_update_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ppo = PPOConfig(MLPConfig((8,)), num_steps=8, anneal_steps=48)
    train(replace(CATCH, agent=ppo), tmp_path / "a", QUICK)
    printed = capsys.readouterr().out
    assert "nothing is learned after step 48, where the learning rate has reached 0" in printed
    train(replace(CATCH, agent=replace(ppo, anneal_steps=80)), tmp_path / "b", QUICK)
    assert "nothing is learned" not in capsys.readouterr().out


def test_the_last_update_is_known_from_the_settings() -> None:
    assert DQNConfig().last_update(8) == math.inf
    assert PPOConfig(anneal_steps=0).last_update(8) == math.inf
    ppo = PPOConfig(anneal_steps=990)
    assert ppo.last_update(8) == 990
    dyna = DynaConfig(inner=ppo, model_learning_starts=500, imagination_envs=10, horizon=10)
    assert dyna.last_update(8) == 500 + 8 * 64
