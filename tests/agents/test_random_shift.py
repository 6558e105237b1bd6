"""Random shifts of images: what they are, of which transitions, and that learning has them."""

from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch.nn import functional

from reverie.agents.dqn import DQNConfig
from reverie.agents.loop import interact
from reverie.agents.networks import MLPConfig
from reverie.agents.random_shift import shift_batch, shifted
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.errors import UsageError

DQN = DQNConfig(
    network=MLPConfig((8,)), buffer_size=400, learning_starts=40, monte_carlo_weight=0.0,
    random_shift=2,
)  # fmt: skip


def test_a_shift_is_a_crop_of_the_padded_image() -> None:
    images = torch.randint(0, 256, (9, 2, 6, 7), dtype=torch.uint8)
    padded = functional.pad(images.double(), (2, 2, 2, 2), mode="replicate").byte()
    down, right = torch.randint(-2, 3, (2, 9))
    for image, frame, i, j in zip(shifted(images, down, right), padded, down, right, strict=True):
        assert torch.equal(image, frame[:, 2 - i : 8 - i, 2 - j : 9 - j])


def test_every_shift_is_equally_likely_and_both_observations_have_their_own() -> None:
    """By the place of a white pixel in the middle of black images."""
    agent = DQN.build(BatchedEnv(CatchConfig().build(1)).spec)
    for t in islice(interact(BatchedEnv(CatchConfig().build(1)), agent), 30):
        agent.replay.append(t, t.next_step.reward)
    batch = agent.replay.sample(20_000)
    images = torch.zeros(len(batch.obs), 1, 9, 9, dtype=torch.uint8)
    images[:, :, 4, 4] = 255
    batch = replace(batch, obs=images, next_obs=images)
    rng = prng.initial_rng(0, prng.Purpose.TRANSITION, len(images))
    moved = shift_batch(batch, 2, rng)
    places = [x.flatten(1).float().argmax(1) for x in (moved.obs, moved.next_obs)]
    for place in places:
        where, counts = place.unique(return_counts=True)
        assert sorted(where.tolist()) == [9 * i + j for i in range(2, 7) for j in range(2, 7)]
        assert 650 < counts.min() <= counts.max() < 950, "800 each"
    assert (places[0] == places[1]).float().mean() == pytest.approx(1 / 25, abs=0.01)


def test_each_update_shifts_a_transition_anew() -> None:
    envs = BatchedEnv(CatchConfig().build(4), seed=0)
    agent = DQN.build(envs.spec, seed=0)
    index = torch.arange(50)
    keys = []
    for t in islice(interact(envs, agent), 20):
        agent.learn(t)
        keys.append(agent.shift_rng(index))
    assert agent.schedule.count > 5
    assert len(torch.stack(keys).unique()) >= 50 * (agent.schedule.count - 1)


def test_learning_depends_on_the_shifts() -> None:
    weights = []
    for pixels in (0, 2):
        envs = BatchedEnv(CatchConfig().build(4), seed=0)
        agent = replace(DQN, random_shift=pixels).build(envs.spec, seed=0)
        for t in islice(interact(envs, agent), 20):
            agent.learn(t)
        weights.append(torch.cat([x.flatten() for x in agent.q_network.parameters()]))
    assert not torch.equal(*weights)


def test_shifts_too_large_for_the_images_are_refused() -> None:
    spec = BatchedEnv(DeepSeaConfig(4).build(1)).spec
    with pytest.raises(UsageError, match="random_shift is 2, too much for observations of 4x4"):
        DQN.build(spec)
