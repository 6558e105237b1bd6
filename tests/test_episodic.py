"""Episodic control beyond the laws of agents: what exactly its tables hold."""

from itertools import islice

import pytest
import torch
from worlds import Scripted

from agents.episodic import EpisodicConfig, EpisodicControl
from agents.loop import interact
from agents.policies import argmax_with_random_ties, epsilon_greedy
from envs import dice
from envs.digest import frame_digest
from envs.errors import UsageError
from envs.stream import Stream


def test_tables_hold_the_best_return_to_go_of_each_state_and_action() -> None:
    """A known world: three looks a life, rewards 1, 2, 4, so returns 7, 6, 4."""
    stream = Stream(Scripted(2))
    agent = EpisodicConfig(neighbours=1).build(stream.spec, seed=0)
    assert isinstance(agent, EpisodicControl)
    for t in islice(interact(stream, agent), 40):
        agent.learn(t)
    looks = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 1, 2, 2).contiguous()
    values, exact = agent.tables.estimate(agent.representation.encode(looks), frame_digest(looks))
    assert exact.all()
    assert torch.equal(values, torch.tensor([[7.0, 6.0, 4.0]] * 2))
    assert agent.tables.sizes == [3, 3], "the look of a reset tick (3) was never stored"


def test_discounting_and_a_bonus_count_as_the_config_says() -> None:
    stream = Stream(Scripted(2))
    agent = EpisodicConfig(neighbours=1, gamma=0.5).build(stream.spec, seed=0)
    assert isinstance(agent, EpisodicControl)
    for t in islice(interact(stream, agent), 40):
        agent.learn(t)
    looks = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    values, _ = agent.tables.estimate(agent.representation.encode(looks), frame_digest(looks))
    assert values[:, 0].tolist() == [1 + 0.5 * 2 + 0.25 * 4] * 2


def test_ties_are_drawn_among_uniformly_by_each_streams_own_dice() -> None:
    values = torch.tensor([[1.0, 3.0, 3.0, 0.0]]).expand(4000, 4)
    picked = argmax_with_random_ties(values, dice.keys(0, "train", 4000))
    counts = torch.bincount(picked, minlength=4).tolist()
    assert counts[0] == counts[3] == 0
    assert abs(counts[1] - 2000) < 200
    untried = torch.full((4000, 3), torch.inf)
    picked = argmax_with_random_ties(untried, dice.keys(1, "train", 4000))
    assert torch.bincount(picked, minlength=3).min() > 1200


def test_epsilon_is_a_coin_a_stream() -> None:
    greedy = torch.zeros(20_000, dtype=torch.int64)
    acted = epsilon_greedy(greedy, dice.keys(0, "train", 20_000), 4, 0.2)
    shares = torch.bincount(acted, minlength=4) / 20_000
    for share, expected in zip(shares.tolist(), [0.85, 0.05, 0.05, 0.05], strict=True):
        assert abs(share - expected) < 0.01


def test_frame_digests_tell_frames_apart_and_know_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    obs = torch.randint(256, (4, 3, 7, 9), dtype=torch.uint8, generator=generator)
    assert torch.equal(frame_digest(obs), frame_digest(obs.clone()))
    assert torch.equal(frame_digest(obs[1:2]), frame_digest(obs)[1:2])
    flat = obs[0].flatten()
    digests = {int(frame_digest(obs[:1]))}
    for pixel in range(flat.numel()):  # every single-pixel change, and equal changes of two pixels
        for amount in (1, 128, 255):
            changed = flat.clone()
            changed[pixel] += amount
            digests.add(int(frame_digest(changed.view(1, 3, 7, 9))))
            changed[pixel - 8] -= amount
            digests.add(int(frame_digest(changed.view(1, 3, 7, 9))))
    assert len(digests) == 1 + 2 * 3 * flat.numel()


@pytest.mark.parametrize(
    "wrong",
    [{"neighbours": 0}, {"capacity": 5}, {"epsilon": 1.5}, {"gamma": -0.1}],
)
def test_settings_that_cannot_be_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"agent.{next(iter(wrong))}"):
        EpisodicConfig(**wrong)  # type: ignore[arg-type]
