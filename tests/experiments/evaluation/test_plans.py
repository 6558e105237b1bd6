"""Plans: lengths by hand, the junction test against scipy, the figure and the video."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom

from reverie import Experiment, TrainOptions, evaluate, train
from reverie.agents.interface import ActOutput
from reverie.agents.loop import interact
from reverie.agents.networks import MLPConfig
from reverie.agents.ppo import PPOConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.interface import Carry, TimeStep, Transition
from reverie.envs.maze import MazeConfig
from reverie.experiments.evaluation import plan_drawings
from reverie.experiments.evaluation.mazes import evaluate_mazes, junction_test, rollout_mazes
from reverie.experiments.evaluation.plan_drawings import (
    ROW,
    TEXT_COLOR,
    paint_cells,
    plan_panel,
    rgb,
    with_plan,
)
from reverie.experiments.evaluation.plans import (
    PlanLengths,
    PlanTrace,
    follow_plan,
)
from reverie.experiments.evaluation.screen import enlarged, screen_of
from reverie.world_models.planning.straw import STRAWConfig

from sample_agents import ShortestPath

AGENT = PPOConfig(
    network=MLPConfig(hidden=(16,)),
    planner=STRAWConfig(length=8, filters=3, initial_replan_logit=0.0),
    num_steps=8,
    num_minibatches=2,
    bptt_length=8,
)


def transition(replanned: list[bool], first: list[bool], last: list[bool]) -> Transition:
    n = len(replanned)
    obs, zero = torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.zeros(n)
    step = TimeStep(obs, zero.double(), zero + 1, torch.tensor(first), torch.tensor(last), obs)
    extras = {"replanned": torch.tensor(replanned)}
    return Transition(step, {}, torch.zeros(n).long(), extras, step, {}, zero)


def test_lengths_of_plans_by_hand() -> None:
    """Two envs; the first is committed for three timesteps, the second replans at its reset."""
    no, yes = [False, False], [True, True]
    histogram, resumed = PlanLengths(2), PlanLengths(2)
    assert not len(histogram.pop())
    for t in (
        transition(yes, first=yes, last=no),
        transition([False, True], first=no, last=no),
        transition(no, first=no, last=no),
    ):
        histogram.update(t)
    resumed.load_state_dict(histogram.state_dict())
    for lengths in (histogram, resumed):
        lengths.update(transition(yes, first=no, last=[False, True]))
        lengths.update(transition(yes, first=[False, True], last=no))
        metrics = lengths.metrics()
        # Of the first env 3 and 1; of the second 1, then a plan cut short by the episode's end.
        assert torch.as_tensor(metrics.pop("plan/length")).tolist() == [0, 2, 0, 1]
        assert metrics == {
            "plan/mean_length": pytest.approx(5 / 3),
            "plan/share_of_length_1": pytest.approx(2 / 3),
        }
        assert lengths.metrics() == {}
    histogram.update(transition(yes, first=no, last=no), torch.tensor([False, True]))
    assert histogram.pop().tolist() == [0, 1], "of the counted envs alone"


def test_a_followed_plan_ages_and_its_window_shifts() -> None:
    carry = {"plan": torch.zeros(1, 2, 4), "replan_prob": torch.ones(1, 4)}
    plan, windows = None, torch.eye(4)
    for replanned, window, age, position in (
        (True, 2, 0, 2), (False, 0, 1, 1), (False, 0, 2, 0), (True, 3, 0, 3), (True, 1, 0, 1)
    ):  # fmt: skip
        extras = {"replanned": torch.tensor([replanned]), "window": windows[window][None]}
        plan = follow_plan(plan, carry, extras)
        assert plan is not None
        assert (plan.age, int(plan.window.argmax())) == (age, position)
        assert plan.written
    committed = follow_plan(None, {}, {"replanned": torch.tensor([True])})
    assert committed is not None
    assert not committed.written, "FiGAR writes no plan"
    assert follow_plan(None, {}, {}) is None


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

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        replans = step.first | torch.from_numpy(self.env.num_exits >= 3)
        return replace(super().act(step, carry), extras={"replanned": replans})


def test_evaluation_of_a_policy_that_replans_at_junctions(monkeypatch: pytest.MonkeyPatch) -> None:
    config = MazeConfig(rooms=5)
    env = config.build(128)
    monkeypatch.setattr(MazeConfig, "build", lambda self, n: env)
    result = rollout_mazes(ReplansAtJunctions(env), config, episodes=128)
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
    assert imageio.imread(video).shape[1] > 336 + 6 * ROW, "the plan is shown below the maze"


def test_the_panel_shows_the_plan() -> None:
    envs = BatchedEnv(MazeConfig(rooms=3, view=5).build(4))
    agent, trace = AGENT.build(envs.spec), PlanTrace()
    t = next(interact(envs, agent))
    trace.update(t)
    assert trace.plan is not None
    names = ("up", "right", "down", "left")
    panel = plan_panel(trace.plan, int(t.action[0]), 200, names)
    assert panel.shape[1] == 200
    assert (panel[5, 1] == [193, 68, 46]).all(), "the left edge marks replanning"
    bar = (panel[:, 5] == rgb(TEXT_COLOR)).all(1).nonzero()[0]
    assert bar.mean() // ROW == int(t.action[0]), "a bar marks the action taken"
    left = plan_drawings._labels((*names, "window", "replan")).shape[1]
    cells = panel[4 + ROW // 2 :: ROW, left][: len(names)].astype(int).sum(1)
    assert cells.argmin() == t.next_carry["plan"][0, :, 0].argmax(), "more probable is darker"
    label_pixels = panel[4 : 4 + ROW * 6, 12 : left - 4].reshape(6, -1).min(1)
    assert (label_pixels < 128).all(), "every row has a label"
    screen = screen_of(envs)
    image = enlarged(screen(t.next_step))
    height, width, _ = image.shape
    assert with_plan(trace, names)(image, t).shape == (height + len(panel), width, 3)
    assert with_plan(trace, names)(image[:, :4], t).shape == (height + len(panel), 160, 3)
    assert with_plan(PlanTrace(), names)(image, t).shape == (height, width, 3)


def test_cells_are_painted_from_empty_to_their_rows_color() -> None:
    levels = np.array([[0.0, 1.0], [0.5, 0.0]], np.float32)
    cells = paint_cells(
        levels, ["#c80000", "#006400"], cell=4, empty="#000014", background="#090909"
    )
    assert cells.shape == (2 * ROW, 8, 3)
    assert cells[[0, 0, ROW], [0, 4, 0]].tolist() == [[0, 0, 20], [200, 0, 0], [0, 50, 10]]
    assert (cells[[ROW - 1, 0], [0, 3]] == 9).all(), "gaps below and beside"


def test_no_figure_is_drawn_without_a_plan(tmp_path: Path) -> None:
    env = MazeConfig(rooms=3, view=5, max_episode_steps=12)
    agent = PPOConfig(network=MLPConfig(hidden=(16,))).build(BatchedEnv(env.build(1)).spec)
    evaluate(agent, env, episodes=1, figure=tmp_path / "plan.png")
    assert not (tmp_path / "plan.png").exists()
