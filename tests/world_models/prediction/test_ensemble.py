"""Tests of the ensemble: whose predictions it gives, where it disagrees, and where a dream ends."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.errors import UsageError
from reverie.envs.interface import Metrics, Segment
from reverie.world_models.interface import Disagreeing
from reverie.world_models.prediction.emulator import EmulatorConfig
from reverie.world_models.prediction.ensemble import Ensemble, EnsembleConfig
from reverie.world_models.prediction.feedforward import FeedforwardConfig
from reverie.world_models.prediction.imagination import Imagination

from sample_models import (
    NUM_ACTIONS,
    OBS_SHAPE,
    SMALL_SHAPE,
    CountingPredictor,
    first_context,
    segment,
    start,
)

MEMBER = FeedforwardConfig(
    size="tiny", horizons=(1,), learning_rates=(1e-3,), batch_sizes=(16,), updates=(1,)
)


def build(**settings: Any) -> Ensemble:
    config = EnsembleConfig(**{"member": MEMBER} | settings)
    return config.build(obs_shape=OBS_SHAPE, num_actions=NUM_ACTIONS, seed=1)


def test_each_row_is_predicted_by_a_member_of_its_own() -> None:
    """It depends on the row's key alone, and differs from step to step."""
    model, context = build(members=2), first_context(segment(40, 1))
    carry, action = start(model, context), torch.arange(40) % NUM_ACTIONS
    prediction, next_carry = model.predict(carry, action)
    each = [m.predict(start(m, context), action)[0] for m in model.members]
    frames = torch.stack([x.obs for x in each])
    chosen = (frames == prediction.obs).flatten(2).all(2)
    assert (chosen.sum(0) == 1).all()
    assert chosen.any(1).all()
    rewards = torch.stack([x.reward for x in each])
    assert torch.equal(prediction.reward, torch.where(chosen[0], rewards[0], rewards[1]))
    variance = frames[:, :, -1:].float().var(0, unbiased=False)
    assert torch.equal(model.disagreement(next_carry), variance)
    assert prediction.last is None
    rows = torch.tensor([30, 2])
    some, _ = model.predict({name: x[rows] for name, x in carry.items()}, action[rows])
    assert torch.equal(some.obs, prediction.obs[rows])
    other, _ = model.predict(carry | {"rng": prng.next_rng(carry["rng"])}, action)
    assert 0 < (other.obs == prediction.obs).flatten(1).all(1).sum() < 40


class Updated(CountingPredictor):
    """Keeps the first pixels of the segments that it learns from."""

    batch_shape = (4, 1)

    def update(self, segment: Segment) -> Metrics:
        self.rows = segment.obs[:, 0, 0, 0, 0].tolist()
        return {"loss": float(len(self.rows))}


def test_members_learn_from_rows_of_their_own() -> None:
    members = [Updated(), Updated(), Updated()]
    model = Ensemble(members, seed=0, max_disagreement=0.0)
    assert model.batch_shape == (12, 1)
    for rows, expected in ((7, [[0, 3, 6], [1, 4], [2, 5]]), (2, [[0], [1], [0]])):
        batch = segment(rows, 1, (1, 24, 28))
        obs = torch.arange(rows, dtype=torch.uint8).view(rows, 1, 1, 1, 1).expand(rows, 2, 1, 2, 3)
        metrics = model.update(replace(batch, obs=obs))
        assert [member.rows for member in members] == expected
        assert metrics["loss"] == sum(map(len, expected)) / 3


def test_it_agrees_where_it_has_learned() -> None:
    """And not on frames that it has never met, whose squares are at the bottom."""
    model, known = build(), first_context(segment(50, 1, seed=1))
    unknown = replace(known, obs=known.obs.flip(3))

    def disagreement(context: Segment) -> float:
        carry = model.predict(start(model, context), torch.ones(50, dtype=torch.int64))[1]
        assert isinstance(model, Disagreeing)
        return float(model.disagreement(carry).mean())

    assert disagreement(known) > 0.5 * disagreement(unknown)
    for i in range(80):
        model.update(segment(*model.batch_shape, seed=i))
    assert disagreement(known) < 0.3 * disagreement(unknown)


@pytest.mark.parametrize("limit", [0.0, 1e-9])
def test_a_dream_ends_where_members_disagree(limit: float) -> None:
    model = build(max_disagreement=limit)
    context = first_context(segment(4, 1))
    envs = BatchedEnv(Imagination(model, context, 4, horizon=5, tensors=True))
    lengths = torch.zeros(4)
    for timestep, t in enumerate(interact(envs, RandomPolicy(NUM_ACTIONS))):
        lengths += 1
        if timestep == 0 and limit:
            assert t.next_step.last.all()
        if t.next_step.last.all() or timestep == 4:
            break
    assert (lengths == 1).all() == (limit > 0)


def test_after_its_end_a_dream_stays_as_it_is() -> None:
    model = build(max_disagreement=1e-9)
    carry, action = start(model, first_context(segment(4, 1))), torch.ones(4, dtype=torch.int64)
    ended, carry = model.predict(carry, action)
    assert ended.last is not None
    assert ended.last.all()
    later, next_carry = model.predict(carry, action)
    assert later.last is not None
    assert later.last.all()
    assert torch.equal(later.obs, ended.obs)
    assert (later.reward == 0).all()
    assert (later.discount == 1).all()
    assert torch.equal(model.disagreement(next_carry), model.disagreement(carry))


def test_members_that_are_equal_never_disagree() -> None:
    model = Ensemble([CountingPredictor() for _ in range(3)], seed=0, max_disagreement=1e-9)
    obs = torch.zeros(5, 1, *SMALL_SHAPE, dtype=torch.uint8)
    none, first = torch.zeros(5, 0).long(), torch.ones(5, 1, dtype=torch.bool)
    prediction, carry = model.predict(model.start(obs, none, first), torch.ones(5).long())
    assert (model.disagreement(carry) == 0).all()
    assert prediction.last is not None
    assert not prediction.last.any()


def test_an_ensemble_of_the_env_itself_is_refused() -> None:
    with pytest.raises(UsageError, match=r"choose a learned predictor, such as predictor.member"):
        EnsembleConfig(EmulatorConfig())
