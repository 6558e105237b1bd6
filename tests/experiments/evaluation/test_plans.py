"""Plans: lengths by hand, the junction test against scipy, the figure and the video."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from reverie import Experiment, TrainOptions, evaluate, train
from reverie.agents.loop import interact
from reverie.agents.networks import MLPConfig
from reverie.agents.ppo import PPOConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.interface import Carry, TimeStep, Transition
from reverie.envs.maze import MazeConfig
from reverie.experiments.evaluation import plans
from reverie.experiments.evaluation.mazes import evaluate_mazes, junction_test, rollout_mazes
from reverie.experiments.evaluation.plans import (
    ROW,
    TEXT_COLOR,
    PlanLengths,
    PlanTrace,
    length_metrics,
    plan_panel,
    with_plan,
)
from reverie.experiments.evaluation.video import screen_of
from reverie.world_models.planning.straw import STRAWConfig

from sample_agents import ShortestPath

AGENT = PPOConfig(
    network=MLPConfig(hidden=(16,)),
    planner=STRAWConfig(length=8, filters=3, initial_replan_logit=0.0),
    num_steps=8,
    num_minibatches=2,
    bptt_length=8,
)


def transition(
    ages: list[int], next_ages: list[int], first: list[bool], last: list[bool]
) -> Transition:
    n = len(ages)
    obs, zero = torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.zeros(n)
    step = TimeStep(obs, zero, zero + 1, torch.tensor(first), torch.tensor(last), obs)
    carries = [{"age": torch.tensor(x)} for x in (ages, next_ages)]
    return Transition(step, carries[0], torch.zeros(n).long(), step, carries[1], zero)


def test_lengths_of_plans_by_hand() -> None:
    """At first; replanned after three timesteps; on a reset; still committed."""
    histogram = PlanLengths()
    histogram.update(
        transition(
            [9, 2, 4, 5], [0, 0, 0, 6], [True, False, False, False], [False, False, True, False]
        )
    )
    histogram.update(transition([0, 0], [0, 0], [False, False], [False, False]))
    counts = histogram.pop()
    assert np.flatnonzero(counts).tolist() == [1, 3]
    assert counts[[1, 3]].tolist() == [2, 1]
    assert length_metrics(counts) == {
        "plan/mean_length": pytest.approx(5 / 3),
        "plan/share_of_length_1": pytest.approx(2 / 3),
    }
    assert not len(histogram.pop())
    assert length_metrics(histogram.pop()) == {}


def test_junction_test_by_hand() -> None:
    """Two episodes by hand; the variance is scipy's."""
    counts = np.array([[10, 4, 5, 4], [6, 3, 2, 1], [1, 1, 1, 1]], np.float64)
    result = junction_test(counts)
    expected = 5 * 0.4 + 2 * 0.5
    variance = hypergeom(10, 4, 5).var() + hypergeom(6, 3, 2).var()
    assert result["share_of_plans"] == pytest.approx(5 / 7)
    assert result["share_by_chance"] == pytest.approx(expected / 7)
    assert result["z"] == pytest.approx((5 - expected) / variance**0.5)
    without_plans = junction_test(np.array([[5, 2, 0, 0]], np.float64))
    assert without_plans["p"] == pytest.approx(0.5)


class ReplansAtJunctions(ShortestPath):
    """A policy that takes the shortest path and replans at every junction."""

    def initial(self, n: int) -> Carry:
        return {"age": torch.zeros(n, dtype=torch.int64)}

    def act(
        self, step: TimeStep, carry: Carry, *, explore: bool = True
    ) -> tuple[torch.Tensor, Carry]:
        replans = step.first | torch.from_numpy(self.env.num_exits >= 3)
        action, _ = super().act(step, carry)
        return action, {"age": torch.where(replans, 0, carry["age"] + 1)}


def test_evaluation_of_a_policy_that_replans_at_junctions(monkeypatch: pytest.MonkeyPatch) -> None:
    config = MazeConfig(rooms=5)
    env = config.build(128)
    monkeypatch.setattr(MazeConfig, "build", lambda self, n: env)
    result = rollout_mazes(ReplansAtJunctions(env), config, episodes=128).summary()
    assert result["share_of_best_return"] == pytest.approx(1.0, abs=1e-5)
    assert result["junctions"]["share_of_plans"] == 1.0
    assert result["junctions"]["share_by_chance"] < 0.5
    assert result["junctions"]["p"] < 1e-6
    replannings = sum(row[2] for row in result["timesteps"])
    assert replannings == sum(result["plan_lengths"]) > 50


def test_evaluation_on_held_out_and_larger_mazes() -> None:
    config = MazeConfig(rooms=3, view=9, max_episode_steps=12)
    agent = AGENT.build(BatchedEnv(config.build(4)).spec)
    report = evaluate_mazes(agent, config, episodes=32)
    assert report["held_out"]["protocol"] == "3 x 3 rooms, held-out"
    assert report["larger"]["protocol"] == "4 x 4 rooms, held-out"
    assert report["held_out"]["mean_plan_length"] >= 1
    assert all(row[2] <= row[0] for row in report["larger"]["timesteps"])


def test_a_run_reports_its_plans(tmp_path: Path) -> None:
    """Lengths as metrics and as a histogram, plans of an episode as a figure and in its video."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    env = MazeConfig(rooms=3, view=5, max_episode_steps=30)
    options = TrainOptions(device="cpu", threads=1, random_play_seconds=0, quiet=True, log_every=80)
    run = train(Experiment(AGENT, env, total_timesteps=160, num_envs=4), tmp_path, options)
    rows = run.read_lines("metrics.jsonl")
    assert all(1 <= row["plan/mean_length"] <= 8 for row in rows)
    board = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0}).Reload()
    histograms = board.Histograms("plan/length")
    assert len(histograms) == 2
    assert histograms[0].histogram_value.num > 0

    agent = AGENT.build(BatchedEnv(env.build(4)).spec)
    video, figure = tmp_path / "video.mp4", tmp_path / "plan.png"
    evaluate(agent, env, episodes=1, threads=1, video=video, figure=figure)
    assert video.stat().st_size > 1000
    import imageio.v3 as imageio

    height, width, _ = imageio.imread(figure).shape
    assert width > height > 400
    screen = screen_of(BatchedEnv(env.build(1)))
    assert imageio.imread(video).shape[1] > 336, "the plan is shown below the maze"
    assert screen is not None


def test_the_panel_shows_the_plan() -> None:
    envs = BatchedEnv(MazeConfig(rooms=3, view=5).build(4))
    agent = AGENT.build(envs.spec)
    t = next(interact(envs, agent))
    names = ("up", "right", "down", "left")
    panel = plan_panel(t, 200, names)
    assert panel.shape[1] == 200
    assert (panel[5, 1] == [193, 68, 46]).all(), "the left edge marks replanning"
    bar = (panel[:, 5] == TEXT_COLOR).all(1).nonzero()[0]
    assert bar.mean() // ROW == int(t.action[0]), "a bar marks the action taken"
    left = plans._labels((*names, "window", "replan")).shape[1]
    cells = panel[4 + ROW // 2 :: ROW, left][: len(names)].astype(int).sum(1)
    assert cells.argmin() == t.next_carry["plan"][0, :, 0].argmax(), "more probable is darker"
    label_pixels = panel[4 : 4 + ROW * 6, 12 : left - 4].reshape(6, -1).min(1)
    assert (label_pixels < 128).all(), "every row has a label"
    render = with_plan(lambda t: np.zeros((10, 200, 3), np.uint8), names)
    assert render(t).shape == ((10 + len(panel)) // 2 * 2, 200, 3)
    assert render(replace(t, next_carry={})).shape == (10, 200, 3)


def test_no_figure_is_drawn_without_a_plan(tmp_path: Path) -> None:
    envs = BatchedEnv(MazeConfig(rooms=3, view=5).build(4))
    trace = PlanTrace(("up", "right", "down", "left"))
    for t in islice(interact(envs, ShortestPath(envs.env)), 20):  # type: ignore[arg-type]
        trace.update(t)
    trace.draw(tmp_path / "plan.png", "nothing")
    assert not (tmp_path / "plan.png").exists()
