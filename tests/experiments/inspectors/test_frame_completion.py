"""Erasing pixels in play: strokes, completions of each frame, and their time."""

import json
import time
from typing import Any

import numpy as np
import pytest
import torch

from reverie.agents.bonuses.density_bonus import PseudoCount, PseudoCountConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.experiments.inspectors import frame_completion
from reverie.experiments.inspectors.frame_completion import pixels_along
from reverie.experiments.inspectors.panels import Images, Table
from reverie.experiments.play.messages import execute
from reverie.experiments.play.session import Session
from reverie.world_models.density.histogram import HistogramConfig
from reverie.world_models.interface import DensityConfig

from play_fixtures import build_session, panels_by_title

SPEC = BatchedEnv(CatchConfig().build(1)).spec


def erasing_session(density: DensityConfig | None = None) -> Session:
    """Build a session of a bonus that has learned some frames of Catch, which are 10 x 5."""
    bonus = PseudoCountConfig(density=density or HistogramConfig()).build(SPEC)
    session = build_session(bonus=bonus)
    for _ in range(30):
        session.step()
    return session


def panel(session: Session) -> Images:
    found: Images = panels_by_title(session, Images)["Completion"]
    return found


def test_a_stroke_covers_the_pixels_on_its_way() -> None:
    dot = pixels_along([(0.5, 0.05)], (10, 5))
    assert np.argwhere(dot).tolist() == [[0, 2]]
    row = pixels_along([(0.1, 0.55), (0.9, 0.55)], (10, 5))
    assert np.argwhere(row).tolist() == [[5, column] for column in range(5)]
    corner = pixels_along([(0.9, 0.95), (0.9, 0.75), (0.5, 0.75)], (10, 5))
    assert np.argwhere(corner).tolist() == [[7, 2], [7, 3], [7, 4], [8, 4], [9, 4]]
    brush = pixels_along([(0.5, 0.5)], (42, 42))
    assert brush.sum() == 4, "a wider brush on larger frames"
    assert pixels_along([(0, 0), (1, 1)], (42, 42)).any(1).all()


def test_erased_pixels_are_completed_at_every_step_until_they_are_restored() -> None:
    session = erasing_session()
    assert session.info()["erasable"] is True
    first = panel(session)
    assert [picture.erasable for picture in first.pictures] == [True, False]
    assert np.array_equal(first.pictures[0].image, first.pictures[1].image)
    assert execute(session, {"command": "erase", "value": [[0.1, 0.05], [0.9, 0.05]]})
    assert execute(session, {"command": "erase", "value": [[0.5, 0.95]]})
    state = json.loads(session.message())["state"]
    assert state["erased"] == 6
    for _ in range(4):
        erased, completed = panel(session).pictures
        frame = session.game.time_step.frame[0, 0].numpy()
        kept = np.ones((10, 5), bool)
        kept[0] = kept[9, 2] = False
        assert np.array_equal(erased.image[kept], frame[kept][:, None].repeat(3, 1))
        assert (erased.image[~kept] != frame[~kept][:, None]).any(1).all()
        assert np.array_equal(completed.image[kept], frame[kept])
        assert completed.caption == "completed"
        shown = completed.image
        session.refresh()
        assert np.array_equal(panel(session).pictures[1].image, shown)
        session.erasable[0].next_time = 0.0
        session.step()
    assert execute(session, {"command": "restore"})
    assert json.loads(session.message())["state"]["erased"] == 0
    assert panel(session).pictures[1].caption == "complete"
    assert execute(session, {"command": "erase_lower_half"})
    assert json.loads(session.message())["state"]["erased"] == 25
    session.close()


def test_erasing_shows_the_newest_timestep() -> None:
    session = erasing_session()
    execute(session, {"command": "seek", "value": 3})
    execute(session, {"command": "erase", "value": [[0.5, 0.5]]})
    assert json.loads(session.message())["state"]["live"]
    session.close()


@pytest.mark.parametrize(
    "value",
    [
        [], None, "x", [0.5, 0.5], [[0.5]], [[0.5, 1.5]], [[0.5, float("nan")]], [[0.5, "y"]],
        [[0.5, True]], [[0.5, 0.5, 0.5]], [[0.5, 0.5]] * 501,
    ],
)  # fmt: skip
def test_a_malformed_stroke_is_ignored(value: Any) -> None:
    session = erasing_session()
    assert not execute(session, {"command": "erase", "value": value})
    assert json.loads(session.message())["state"]["erased"] == 0
    session.close()


class Clock:
    """Time that passes by a fixed amount each time that it is read."""

    def __init__(self, amount: float) -> None:
        self.time, self.amount = 0.0, amount

    def __call__(self) -> float:
        self.time += self.amount
        return self.time


def test_a_slow_completion_is_skipped_until_other_pixels_are_erased(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = erasing_session()
    clock = Clock(0.1)
    monkeypatch.setattr(time, "monotonic", clock)
    execute(session, {"command": "erase_lower_half"})
    assert "skipped: it takes more than 1 s" in panel(session).note
    assert panel(session).pictures[1].caption == "not completed"
    before = clock.time
    session.step()
    assert clock.time == before + 0.1, "not tried again"
    execute(session, {"command": "restore"})
    execute(session, {"command": "erase", "value": [[0.5, 0.5]]})
    assert panel(session).pictures[1].caption == "completed"
    session.close()


def test_completions_take_a_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    session = erasing_session()
    clock = Clock(0.01)
    monkeypatch.setattr(time, "monotonic", clock)
    execute(session, {"command": "erase", "value": [[0.5, 0.5]]})
    captions = []
    for _ in range(40):
        session.step()
        captions.append(panel(session).pictures[1].caption)
    fresh = captions.count("completed")
    assert 2 <= fresh <= 40 * 2 * frame_completion.SHARE
    assert "completed, 2 timesteps ago" in captions
    session.close()


def test_a_density_that_cannot_complete_is_refused_in_its_panel() -> None:
    class Average:
        def log_prob(self, x: Any) -> Any:
            return torch.zeros(len(x))

        def observe(self, x: Any) -> Any:
            return torch.zeros(len(x)), torch.ones(len(x))

    bonus: PseudoCount = PseudoCountConfig(density=HistogramConfig()).build(SPEC)
    density: Any = Average()
    bonus.density.density = density
    session = build_session(bonus=bonus)
    session.step()
    assert "Average cannot complete frames" in panels_by_title(session, Table)["Completion"].note
    assert session.info()["erasable"] is False
    execute(session, {"command": "erase_lower_half"})
    assert json.loads(session.message())["state"]["erased"] == 0
    session.close()
