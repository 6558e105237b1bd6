"""Codes that tell actions apart, in an env with a light that no action influences."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reverie.envs.errors import UsageError
from reverie.envs.interface import Segment
from reverie.experiments.evaluation.linear_probe import ridge_predict
from reverie.world_models.representation.inverse_dynamics import InverseDynamicsConfig
from reverie.world_models.representation.self_supervised import SelfSupervised

from sample_models import segment as random_segment
from sample_models import still_segment

WIDTH = 8
CONFIG = InverseDynamicsConfig(dim=8, num_actions=3)


def play(batch: int, seed: int) -> tuple[Segment, Tensor]:
    """Return transitions, and the player's column at first; the actions are left, stay and right.

    The light of the first row is at another place in each frame.
    """
    generator = torch.Generator().manual_seed(seed)
    player = torch.randint(1, WIDTH - 1, (batch,), generator=generator)
    light = torch.randint(WIDTH, (batch, 2), generator=generator)
    segment = still_segment(torch.zeros(batch, 1, 6, WIDTH, dtype=torch.uint8), 1, seed)
    columns = torch.stack([player, player + segment.action[:, 0] - 1], 1)
    obs, rows = segment.obs.clone(), torch.arange(batch)
    for t in range(2):
        obs[rows, t, 0, 5, columns[:, t]] = 200
        obs[rows, t, 0, 0, light[:, t]] = 200
    return replace(segment, obs=obs), player[:, None].float()


def explained(model: SelfSupervised) -> float:
    """Return R^2 of the player's column by ridge regression from codes."""
    (segment, truth), (other, target) = play(1000, 1), play(1000, 2)
    predicted = ridge_predict(model.encode(segment.obs[:, 0]), truth, model.encode(other.obs[:, 0]))
    return float(1 - (target - predicted).square().mean() / target.var())


def weight_of_the_light(model: SelfSupervised) -> float:
    """Return the squared distance of codes that another light makes, to that of another player."""
    obs = play(500, 3)[0].obs[:, 0]
    distances = []
    for row in (0, 5):
        moved = obs.clone()
        moved[:, :, row] = moved.roll(1, 0)[:, :, row]
        distances.append((model.encode(moved) - model.encode(obs)).square().sum(1).mean())
    return float(distances[0] / distances[1])


def test_codes_tell_the_action_and_the_player_and_little_of_the_light() -> None:
    model = CONFIG.build(obs_shape=(1, 6, WIDTH))
    assert isinstance(model, SelfSupervised)
    model.update(play(32, 99)[0])
    before, weight = explained(model), weight_of_the_light(model)
    for i in range(60):
        model.update(play(32, 100 + i)[0])
    assert explained(model) > max(before, 0.9)
    assert weight_of_the_light(model) < 0.1 < 0.5 < weight
    segment, _ = play(500, 4)
    metrics = model.evaluate(segment)
    assert metrics["representation/accuracy"] > 0.95, "chance is a third"
    shuffled = replace(segment, action=segment.action.roll(1, 0))
    assert model.evaluate(shuffled)["representation/accuracy"] < 0.5


def test_an_action_after_the_end_of_an_episode_is_no_part_of_the_loss() -> None:
    task = CONFIG.task((1, 6, 16))
    whole = random_segment(4, 2, (1, 6, 16))
    last = torch.zeros(4, 3, dtype=torch.bool)
    last[:2, 1:] = True
    ended = replace(whole, last=last)
    transitions = [(0, 0), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1)]
    rows, t = torch.tensor(transitions).T
    pairs = replace(
        still_segment(whole.obs[rows, t], 1),
        obs=torch.stack([whole.obs[rows, t], whole.obs[rows, t + 1]], 1),
        action=whole.action[rows, t][:, None],
    )
    torch.testing.assert_close(task.loss(ended)[0], task.loss(pairs)[0])
    assert not torch.allclose(task.loss(ended)[0], task.loss(whole)[0])


def test_an_action_without_a_class_is_refused() -> None:
    segment = play(32, 0)[0]
    model = replace(CONFIG, num_actions=2).build(obs_shape=(1, 6, WIDTH))
    message = r"has an action 2, and representation.num_actions is 2; set it to"
    with pytest.raises(UsageError, match=message):
        model.update(segment)
