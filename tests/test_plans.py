"""Looking at plans: lengths by hand, the test of junctions against scipy, a figure and a film."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import hypergeom
from test_maze import Guided

from agents.actor_critic import ActorCriticConfig
from agents.loop import interact
from agents.networks import MLPConfig
from envs.interface import Memory, Step, Transition
from envs.maze import MazeConfig
from envs.stream import Stream
from experiments import Experiment, TrainOptions, evaluate, plans, train
from experiments.mazes import at_junctions, maze_report, walk
from experiments.plans import (
    INK,
    ROW,
    PlanLengths,
    PlanTrace,
    length_metrics,
    plan_panel,
    with_plan,
)
from experiments.trackers import screen_of
from world_models.planning.straw import STRAWConfig

AGENT = ActorCriticConfig(
    network=MLPConfig(hidden=(16,)),
    planner=STRAWConfig(length=8, filters=3, reluctance=0.0),
    horizon=8,
    minibatches=2,
    backprop=8,
)


def tick(ages: list[int], following: list[int], first: list[bool], last: list[bool]) -> Transition:
    n = len(ages)
    obs, zero = torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.zeros(n)
    step = Step(obs, zero, zero + 1, torch.tensor(first), torch.tensor(last), obs)
    memories = [{"age": torch.tensor(x)} for x in (ages, following)]
    return Transition(step, memories[0], torch.zeros(n).long(), step, memories[1], zero)


def test_lengths_of_plans_by_hand() -> None:
    """Born; planned anew after three ticks; on a reset tick; still committed."""
    plans = PlanLengths()
    plans.update(
        tick([9, 2, 4, 5], [0, 0, 0, 6], [True, False, False, False], [False, False, True, False])
    )
    plans.update(tick([0, 0], [0, 0], [False, False], [False, False]))
    counts = plans.pop()
    assert np.flatnonzero(counts).tolist() == [1, 3]
    assert counts[[1, 3]].tolist() == [2, 1]
    assert length_metrics(counts) == {
        "plan/mean_length": pytest.approx(5 / 3),
        "plan/share_of_length_1": pytest.approx(2 / 3),
    }
    assert not len(plans.pop())
    assert length_metrics(plans.pop()) == {}


def test_where_plans_are_made_against_chance() -> None:
    """Two episodes by hand; the variance is scipy's."""
    ticks = np.array([[10, 4, 5, 4], [6, 3, 2, 1], [1, 1, 1, 1]], np.float64)
    found = at_junctions(ticks)
    expected = 5 * 0.4 + 2 * 0.5
    spread = hypergeom(10, 4, 5).var() + hypergeom(6, 3, 2).var()
    assert found["share_of_plans"] == pytest.approx(5 / 7)
    assert found["share_by_chance"] == pytest.approx(expected / 7)
    assert found["z"] == pytest.approx((5 - expected) / spread**0.5)
    nobody = at_junctions(np.array([[5, 2, 0, 0]], np.float64))
    assert nobody["p"] == pytest.approx(0.5)


class PlansAtJunctions(Guided):
    """Walks the shortest path, and calls it a new plan wherever there is a choice."""

    def initial(self, n: int) -> Memory:
        return {"age": torch.zeros(n, dtype=torch.int64)}

    def act(
        self, step: Step, memory: Memory, *, explore: bool = True
    ) -> tuple[torch.Tensor, Memory]:
        anew = step.first | torch.from_numpy(self.env.ways >= 3)
        action, _ = super().act(step, memory)
        return action, {"age": torch.where(anew, 0, memory["age"] + 1)}


def test_walks_of_a_policy_that_plans_at_junctions(monkeypatch: pytest.MonkeyPatch) -> None:
    config = MazeConfig(rooms=5)
    env = config.build(128)
    monkeypatch.setattr(MazeConfig, "build", lambda self, n: env)
    found = walk(PlansAtJunctions(env), config, episodes=128).summary()
    assert found["share_of_best_return"] == pytest.approx(1.0, abs=1e-5)
    assert found["junctions"]["share_of_plans"] == 1.0
    assert found["junctions"]["share_by_chance"] < 0.5
    assert found["junctions"]["p"] < 1e-6
    made = sum(row[2] for row in found["ticks"])
    assert made == sum(found["plan_lengths"]) > 50


def test_a_report_of_mazes_held_out_and_larger() -> None:
    config = MazeConfig(rooms=3, view=9, limit=12)
    agent = AGENT.build(Stream(config.build(4)).spec)
    report = maze_report(agent, config, episodes=32)
    assert report["held_out"]["protocol"] == "3 x 3 rooms, held-out"
    assert report["larger"]["protocol"] == "4 x 4 rooms, held-out"
    assert report["held_out"]["mean_commitment"] >= 1
    assert all(row[2] <= row[0] for row in report["larger"]["ticks"])


def test_a_run_shows_its_plans(tmp_path: Path) -> None:
    """Lengths as metrics and as a histogram, an episode's plans as a figure and in its film."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    env = MazeConfig(rooms=3, view=5, limit=30)
    options = TrainOptions(device="cpu", threads=1, bare_seconds=0, quiet=True, log_every=80)
    run = train(Experiment(AGENT, env, steps=160, streams=4), tmp_path, options)
    rows = run.read_lines("metrics.jsonl")
    assert all(1 <= row["plan/mean_length"] <= 8 for row in rows)
    board = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0}).Reload()
    histograms = board.Histograms("plan/length")
    assert len(histograms) == 2
    assert histograms[0].histogram_value.num > 0

    agent = AGENT.build(Stream(env.build(4)).spec)
    film, figure = tmp_path / "film.mp4", tmp_path / "plan.png"
    evaluate(agent, env, episodes=1, threads=1, video=film, figure=figure)
    assert film.stat().st_size > 1000
    import imageio.v3 as imageio

    height, width, _ = imageio.imread(figure).shape
    assert width > height > 400
    screen = screen_of(Stream(env.build(1)))
    assert imageio.imread(film).shape[1] > 336, "the plan stands below the maze"
    assert screen is not None


def test_the_panel_shows_what_is_planned() -> None:
    stream = Stream(MazeConfig(rooms=3, view=5).build(4))
    agent = AGENT.build(stream.spec)
    t = next(interact(stream, agent))
    names = ("up", "right", "down", "left")
    panel = plan_panel(t, 200, names)
    assert panel.shape[1] == 200
    assert (panel[5, 1] == [193, 68, 46]).all(), "it has just planned anew"
    bar = (panel[:, 5] == INK).all(1).nonzero()[0]
    assert bar.mean() // ROW == int(t.action[0]), "a bar beside the action done"
    left = plans._labels((*names, "window", "plan anew")).shape[1]
    cells = panel[4 + ROW // 2 :: ROW, left][: len(names)].astype(int).sum(1)
    assert cells.argmin() == t.next_memory["plan"][0, :, 0].argmax(), "likelier is darker"
    written = panel[4 : 4 + ROW * 6, 12 : left - 4].reshape(6, -1).min(1)
    assert (written < 128).all(), "and every row has a name"
    bare = with_plan(lambda t: np.zeros((10, 200, 3), np.uint8), names)
    assert bare(t).shape == ((10 + len(panel)) // 2 * 2, 200, 3)
    from dataclasses import replace

    assert bare(replace(t, next_memory={})).shape == (10, 200, 3)


def test_nothing_is_drawn_of_who_has_no_plan(tmp_path: Path) -> None:
    stream = Stream(MazeConfig(rooms=3, view=5).build(4))
    trace = PlanTrace(("up", "right", "down", "left"))
    for t in islice(interact(stream, Guided(stream.env)), 20):  # type: ignore[arg-type]
        trace.update(t)
    trace.draw(tmp_path / "plan.png", "nothing")
    assert not (tmp_path / "plan.png").exists()
