"""Lost objects: exactly the erased and displaced ones, and those of real frames of Pong."""

import pytest
import torch
from torch import Tensor

from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.experiments.datasets.collect import collect
from reverie.experiments.datasets.open_loop import median_frame
from reverie.experiments.dreams.moving_objects import ANY, REACH, lost_objects, moving_objects

SIDE = 40
MEDIAN = torch.full((1, SIDE, SIDE), 90, dtype=torch.uint8)
OBJECTS = ((5, 6, 230), (5, 20, 160), (22, 8, 20), (30, 30, 200))
"""Rows, columns and gray levels of squares, one of them darker than the median frame."""


def frame(objects: tuple[tuple[int, int, int], ...]) -> Tensor:
    """A frame [1 1 H W] with squares of 3 x 3 pixels."""
    pixels = MEDIAN.clone()
    for row, column, gray in objects:
        pixels[:, row : row + 3, column : column + 3] = gray
    return pixels[None]


def counts(predicted: Tensor, truth: Tensor | None = None) -> tuple[int, int, int]:
    lost = lost_objects(frame(OBJECTS) if truth is None else truth, predicted, MEDIAN)
    return lost.present[ANY], lost.erased[ANY], lost.displaced[ANY]


def test_the_objects_of_a_frame_by_hand() -> None:
    first = moving_objects(frame(OBJECTS)[0], MEDIAN)[0]
    assert first.center == pytest.approx((6.5 / SIDE, 7.5 / SIDE))
    assert first.size == pytest.approx((3 / SIDE, 3 / SIDE))
    assert first.mass.tolist() == [9 * 140, 0]
    assert first.peak == 140
    assert moving_objects(MEDIAN, MEDIAN) == []


@pytest.mark.parametrize("erased", range(len(OBJECTS)))
def test_exactly_the_erased_object_is_lost(erased: int) -> None:
    assert counts(frame(OBJECTS)) == (4, 0, 0)
    assert counts(frame(OBJECTS[:erased] + OBJECTS[erased + 1 :])) == (4, 1, 0)


@pytest.mark.parametrize("index", range(len(OBJECTS)))
def test_exactly_an_object_that_is_displaced_beyond_reach_is_lost(index: int) -> None:
    row, column, gray = OBJECTS[index]
    assert REACH * SIDE == 4
    for columns, lost in ((3, 0), (5, 1)):
        moved = (row, column + columns, gray)
        found = counts(frame((*OBJECTS[:index], moved, *OBJECTS[index + 1 :])))
        assert found == (4, 0, lost), columns


def test_one_predicted_object_stands_for_one_true_object() -> None:
    """Of two equal objects side by side one is erased, and the other is not counted twice."""
    twins = ((10, 10, 200), (10, 14, 200))
    assert counts(frame(twins[:1]), frame(twins)) == (2, 1, 0)
    assert counts(frame(twins), frame(twins)) == (2, 0, 0)


def test_a_faint_smear_is_no_object_although_it_has_the_mass() -> None:
    ball, smear = frame(((10, 10, 230),)), MEDIAN.clone()[None]
    smear[..., 8:18, 8:18] += 13  # 100 pixels, about 9 x 140 in all
    assert counts(smear, ball) == (1, 1, 0)
    halfway = frame(((10, 11, 190),))
    assert counts(halfway, ball) == (1, 0, 0), "of more than half its contrast"
    darker = frame(((10, 10, 20),))
    assert counts(darker, ball) == (1, 1, 0), "of the opposite contrast"


def test_channels_are_compared_one_by_one() -> None:
    median = torch.zeros(3, 20, 20, dtype=torch.uint8)
    red, blue = median.clone()[None], median.clone()[None]
    red[0, 0, 4:7, 4:7] = blue[0, 2, 4:7, 4:7] = 255
    lost = lost_objects(red, torch.cat([blue]), median)
    assert lost.share(ANY) == 1
    assert lost_objects(red, red, median).share(ANY) == 0
    assert lost_objects(median[None], red, median).share(ANY) is None, "none to lose"


def test_real_pong_loses_nothing_and_its_median_frame_everything(tmp_path: object) -> None:
    recording = collect(RandomPolicy(6), AtariConfig("pong"), f"{tmp_path}/data", frames=800)
    rows = torch.arange(8 * 40, len(recording) - 8)
    truth, later = recording.frames(rows), recording.frames(rows + 8)
    median = median_frame(recording, torch.arange(len(recording)))
    same = lost_objects(truth, truth, median, game="pong")
    assert same.present["ball"] > 50
    assert len(rows) * 0.9 < same.present["paddle"] <= len(rows)
    assert same.share("ball") == same.share("paddle") == same.share(ANY) == 0
    empty = lost_objects(truth, median.expand_as(truth), median, game="pong")
    assert empty.share("ball") == empty.share("paddle") == empty.share(ANY) == 1
    assert empty.displaced.total() == 0
    next_one = lost_objects(truth, later, median, game="pong")
    for name in ("ball", "paddle"):
        share = next_one.share(name)
        assert share is not None
        assert share < 0.15, "a timestep moves neither of them far"
