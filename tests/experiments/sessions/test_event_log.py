"""TensorBoard's events: rows, episodes and evaluations, once each, however a run is killed."""

import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from killed_runs import CATCH, LOGGED, SETTINGS, Kill, Killed, run_with_kills, scalars
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reverie import train
from reverie.agents.ppo import PPOConfig
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions import event_log

from sample_agents import DQN, SMALL_PPO, equal


def texts(folder: Path) -> list[str]:
    board = EventAccumulator(str(folder), size_guidance=SETTINGS).Reload()
    assert board.Tags()["tensors"] == ["hyperparameters/text_summary"]
    events = board.Tensors("hyperparameters/text_summary")
    return [event.tensor_proto.string_val[0].decode() for event in events]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(CATCH, tmp_path_factory.mktemp("runs") / "whole", LOGGED)


def test_every_episode_row_and_evaluation_is_an_event(whole: Run) -> None:
    board = scalars(whole.folder)
    episodes, rows = whole.read_lines("episodes.jsonl"), whole.read_lines("metrics.jsonl")
    assert board["charts/episodic_return"] == [(row["step"], row["score"]) for row in episodes]
    assert board["charts/episodic_length"] == [(row["step"], row["length"]) for row in episodes]
    name = "charts/mean_episodic_return"
    expected = [(row["step"], row[name]) for row in rows if name in row]
    np.testing.assert_allclose(board[name], expected, rtol=1e-6)
    evaluations = whole.read_lines("evaluations.jsonl")
    assert [row["step"] for row in evaluations] == [120, 240, 360, 480]
    assert board["eval/return"] == [(row["step"], row["mean"]) for row in evaluations]
    assert board["eval/length"] == [(120 * i, 4.0) for i in (1, 2, 3, 4)]
    (text,) = texts(whole.folder)
    assert "|agent.learning_rate|0.002|" in text
    assert "|command|reverie" in text


@pytest.mark.parametrize(
    "kills",
    [
        [(0, 100)],  # before the first checkpoint
        [(0, 100), (0, 60), (80, 84), (160, 400)],
        [(120, 124), (240, 356)],  # an evaluation at the checkpoint, and after it
    ],
    ids=["before the first checkpoint", "several", "at an evaluation"],
)
def test_a_killed_run_has_the_events_of_an_uninterrupted_one(
    kills: list[tuple[int, int]], whole: Run, tmp_path: Path
) -> None:
    run = run_with_kills(tmp_path, CATCH, LOGGED, kills)
    assert scalars(run.folder) == scalars(whole.folder)
    assert run.read_lines("evaluations.jsonl") == whole.read_lines("evaluations.jsonl")
    assert len(texts(run.folder)) == 1


def test_names_in_bytes_that_are_no_text_are_logged(tmp_path: Path) -> None:
    """Of an ASCII locale, in which é is two bytes without a meaning, and of no locale."""
    names = [x.decode("ascii", "surrogateescape") for x in ("é".encode(), b"\xff")]
    log = event_log.EventLog(tmp_path, dict(zip("ab", names, strict=True)))
    log.on_start(0)
    log.close()
    (text,) = texts(tmp_path)
    assert "|a|é|" in text
    assert "|b|\ufffd|" in text


def test_an_event_that_was_written_in_part_hides_no_other(whole: Run, tmp_path: Path) -> None:
    train(replace(CATCH, total_timesteps=240), tmp_path, LOGGED)
    with pytest.raises(Killed):
        train(CATCH, tmp_path, LOGGED, [Kill(400)])
    newest = max(tmp_path.glob(event_log.PATTERN))
    newest.write_bytes(newest.read_bytes()[:-7])
    train(CATCH, tmp_path, LOGGED)
    assert scalars(tmp_path) == scalars(whole.folder)


def test_a_clock_that_is_set_back_leaves_the_order_of_events(whole: Run, tmp_path: Path) -> None:
    """A session whose clock was a day ahead is killed, and another one continues."""
    day = 86_400.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_log, "time", SimpleNamespace(time=lambda: time.time() + day))
        train(replace(CATCH, total_timesteps=240), tmp_path, LOGGED)
        with pytest.raises(Killed):
            train(CATCH, tmp_path, LOGGED, [Kill(400)])
    for path in tmp_path.glob(event_log.PATTERN):
        os.utime(path, (time.time() + day,) * 2)
    train(CATCH, tmp_path, LOGGED)
    assert scalars(tmp_path) == scalars(whole.folder)
    board = EventAccumulator(str(tmp_path), size_guidance=SETTINGS).Reload()
    for name in board.Tags()["scalars"]:
        times = [event.wall_time for event in board.Scalars(name)]
        assert times == sorted(times), name
        assert times[-1] < time.time() + day + 60


@pytest.mark.parametrize("agent", [DQN, SMALL_PPO], ids=["dqn", "ppo"])
def test_an_evaluation_does_not_disturb_training(agent: Any, tmp_path: Path) -> None:
    experiment = replace(CATCH, agent=agent, total_timesteps=160)
    without = train(experiment, tmp_path / "without", replace(LOGGED, eval_every=0))
    run = train(experiment, tmp_path / "with", replace(LOGGED, eval_every=20))
    states = [x.checkpoints.load() or {} for x in (without, run)]
    assert equal(states[0], states[1])
    assert without.read_lines("episodes.jsonl") == run.read_lines("episodes.jsonl")
    assert len(run.read_lines("evaluations.jsonl")) == 8
    assert not without.read_lines("evaluations.jsonl")


def test_an_interrupted_evaluation_is_made_by_the_next_session(whole: Run, tmp_path: Path) -> None:
    from reverie.experiments.training.train import AgentTraining

    def interrupted(self: AgentTraining) -> Any:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AgentTraining, "evaluate", interrupted)
        run = train(CATCH, tmp_path, LOGGED)
    assert run.interrupted
    assert run.checkpoints.steps() == [120], "the run stopped where the evaluation was due"
    assert not run.read_lines("evaluations.jsonl")
    train(CATCH, tmp_path, LOGGED)
    assert run.read_lines("evaluations.jsonl") == whole.read_lines("evaluations.jsonl")
    assert scalars(tmp_path) == scalars(whole.folder)


def test_pipelined_envs_are_evaluated_where_no_action_is_pending(tmp_path: Path) -> None:
    ppo = PPOConfig(num_steps=8, num_minibatches=2, network=SMALL_PPO.network)
    experiment = replace(CATCH, agent=ppo, total_timesteps=96)
    run = train(experiment, tmp_path, replace(LOGGED, pipeline=2, eval_every=40))
    assert [row["step"] for row in run.read_lines("evaluations.jsonl")] == [64, 96]
