"""Tests of the errors of predictors: by horizon, and of the position of the player."""

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs import prng
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.interface import Carry
from reverie.experiments.dreams.dream_table import format_table
from reverie.experiments.dreams.prediction_error import PredictionErrors, moving
from reverie.experiments.evaluation.action_sensitivity import (
    PLAYER_REGIONS,
    action_sensitivity,
    player_row,
)
from reverie.world_models.interface import Prediction

from sample_models import CountingPredictor

FREEWAY = AtariConfig("freeway")
RESULT: dict[str, Any] = {
    "env_name": "freeway", "num_segments": 0, "policy": "random", "errors": {}
}  # fmt: skip


def test_errors_over_all_and_moving_pixels_by_hand() -> None:
    """A pixel that moves in the prediction or in the truth counts as moving."""
    median = torch.full((1, 1, 4), 100, dtype=torch.uint8)
    truth = torch.tensor([[[[100, 150, 105, 100]]]], dtype=torch.uint8)
    predicted = torch.tensor([[[[100, 100, 103, 130]]]], dtype=torch.uint8)
    assert moving(truth, median).tolist() == [[[False, True, False, False]]]
    errors = PredictionErrors()
    errors.add("model", 1, predicted, truth, median)
    assert errors.error("all", "model", 1) == pytest.approx((2500 + 4 + 900) / 4)
    assert errors.error("moving", "model", 1) == pytest.approx((2500 + 900) / 2)


def test_the_row_of_the_player_by_hand() -> None:
    """Two bright rows in the player's columns; bright pixels elsewhere are ignored."""
    median = torch.full((84, 84), 100, dtype=torch.uint8)
    frames = median.repeat(2, 1, 1)
    frames[0, 40:42, 24] = 150
    frames[0, 41, 25] = 150
    frames[0, 60, 50] = 255
    rows = player_row(frames, median, PLAYER_REGIONS["freeway"])
    assert float(rows[0]) == pytest.approx((40 + 41 + 41) / 3)
    assert rows[1].isnan()


class CopyingPredictor(CountingPredictor):
    """Predicts the frame times a factor."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def predict(self, carry: Carry, action: Tensor) -> tuple[Prediction, Carry]:
        zeros = torch.zeros(len(action))
        return Prediction(carry["obs"] * self.factor, zeros, zeros + 1), carry


def test_a_predictor_starts_from_the_actions_taken() -> None:
    """Its context is that of the loop: the observations, the actions between them, and firsts."""

    class Remembering(CopyingPredictor):
        def start(self, obs: Tensor, action: Tensor, first: Tensor) -> Carry:
            self.given = obs, action, first
            return super().start(obs, action, first)

    median = torch.zeros(84, 84, dtype=torch.uint8)
    predictor, stack = Remembering(1), 4
    action_sensitivity(
        {"model": predictor}, FREEWAY, median, stack,
        context_length=6, num_starts=3, warmup=8, num_steps=1, seed=2,
    )  # fmt: skip
    protocol = replace(FREEWAY.protocol, stack=stack)
    envs = BatchedEnv(
        replace(FREEWAY, protocol=protocol).build(3, threads=1), seed=2, purpose=prng.Purpose.EVAL
    )
    loop = islice(interact(envs, RandomPolicy(envs.spec.num_actions, 2)), 8)
    played = list(loop)[-6:]
    obs, action, first = predictor.given
    assert torch.equal(obs, torch.stack([t.next_step.obs for t in played], 1))
    assert torch.equal(action, torch.stack([t.action for t in played[1:]], 1))
    assert len(set(action.flatten().tolist())) == 3
    assert torch.equal(first, torch.stack([t.next_step.first for t in played], 1))


def freeway_table(name: str, predictor: CopyingPredictor, num_steps: int) -> dict[str, Any]:
    median = torch.full((84, 84), 142, dtype=torch.uint8)
    return action_sensitivity(
        {name: predictor}, FREEWAY, median, 4,
        context_length=2, num_starts=2, warmup=6, num_steps=num_steps,
    )  # fmt: skip


def test_a_copying_predictor_has_the_error_of_the_last_frame() -> None:
    table = freeway_table("copy", CopyingPredictor(1), num_steps=8)
    assert table["errors"]["copy"] == table["errors"]["copy-last"]
    assert table["spread"] > 2
    shown = format_table(RESULT | {"action_sensitivity": table})
    assert "copy                          mean error" in shown
    median = torch.full((84, 84), 142, dtype=torch.uint8)
    assert action_sensitivity({}, CatchConfig(), median, 4, context_length=2) == {}


def test_a_predictor_without_a_player_has_no_error_and_is_lost() -> None:
    table = freeway_table("blank", CopyingPredictor(0), num_steps=2)
    assert table["errors"]["blank"] == {"mean": None, "median": None, "lost": 1.0}
    shown = format_table(RESULT | {"action_sensitivity": table})
    assert "blank                         lost in 100%" in shown
