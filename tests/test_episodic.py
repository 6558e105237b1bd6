"""Episodic control beyond the laws of agents: what exactly its tables hold."""

import copy
from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch
from test_agents import equal
from worlds import Scripted

from agents.episodic import EpisodicConfig, EpisodicControl
from agents.loop import interact
from agents.policies import argmax_with_random_ties, epsilon_greedy
from envs import dice
from envs.catch import CatchConfig
from envs.digest import frame_digest
from envs.errors import UsageError
from envs.stream import Stream
from world_models.representation.vae import VAEConfig


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


LEARNED = EpisodicConfig(
    neighbours=1,
    representation=VAEConfig(latent=2),
    fit_after=40,
    fit_steps=30,
    fit_batch=8,
    refit_every=60,
)


def test_keys_are_fitted_after_random_play_and_made_anew_by_later_fits() -> None:
    stream = catch()
    agent = LEARNED.build(stream.spec, seed=0)
    assert isinstance(agent, EpisodicControl)
    fitted_at, keys = [], []
    for tick, t in enumerate(islice(interact(stream, agent), 85), 1):
        was = agent.fitting.fitted
        agent.learn(t)
        if agent.fitting.fitted and not was:
            fitted_at.append(tick)
            assert agent.tables.sizes == [0, 0, 0], "nothing is stored before there are keys"
        keys.append(agent.representation.encode(stream_look()))
    # Ten ticks of four streams fill the buffer, the tenth already with updates; 4 a tick make 30.
    assert 17 <= fitted_at[0] <= 20
    changes = [i + 1 for i in range(1, len(keys)) if not torch.equal(keys[i], keys[i - 1])]
    assert changes[0] == fitted_at[0], "keys change when a fit ends, and not while it lasts"
    # 60 agent steps until a fit and 30 updates in it: 15 ticks and 7, and reset ticks between.
    assert len(changes) == 3
    assert all(20 <= b - a <= 35 for a, b in pairwise(changes))
    for action, size in enumerate(agent.tables.sizes):
        looks = agent.tables.looks[action, :size]
        digests = agent.tables.digests[action, :size]
        assert torch.equal(frame_digest(looks), digests)
        stored = agent.tables.keys[action, :size]
        torch.testing.assert_close(stored, agent.representation.encode(looks))


def test_keys_of_a_tick_under_way_are_made_anew_by_a_later_fit() -> None:
    """Where the next actions are chosen before the agent learns, as with --pipeline 2."""
    agent = LEARNED.build(catch().spec, seed=0)
    for t in islice(interact(catch(), agent, ahead=128), 200):
        agent.learn(t)
        for action, size in enumerate(agent.tables.sizes):
            keys = agent.representation.encode(agent.tables.looks[action, :size]) if size else None
            if keys is not None:
                torch.testing.assert_close(agent.tables.keys[action, :size], keys)
    assert sum(agent.tables.sizes) > 50


def test_a_run_with_later_fits_resumes_exactly() -> None:
    agents = [LEARNED.build(catch().spec, seed=0) for _ in range(2)]
    loop = interact(catch(), agents[0])
    for t in islice(loop, 53):
        agents[0].learn(t)
    agents[1].load_state_dict(copy.deepcopy(agents[0].state_dict()))
    for t in islice(loop, 60):
        for agent in agents:
            agent.learn(t)
    assert equal(agents[0].state_dict(), agents[1].state_dict())


def test_a_world_that_never_changes_has_nothing_to_fit_to() -> None:
    agent = LEARNED.build(catch().spec, seed=0)

    def play() -> None:
        for t in islice(interact(catch(), agent), 30):
            still = replace(t.step, obs=torch.zeros_like(t.step.obs))
            agent.learn(replace(t, step=still))

    with pytest.raises(UsageError, match=r"all the same; play longer .* \(agent.fit_after\)"):
        play()


def catch() -> Stream:
    return Stream(CatchConfig().build(4), seed=0)


def stream_look() -> torch.Tensor:
    return torch.full((4, 1, 10, 5), 100, dtype=torch.uint8)


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
    [
        {"neighbours": 0},
        {"capacity": 5},
        {"epsilon": 1.5},
        {"gamma": -0.1},
        {"fit_steps": 0},
        {"refit_every": -1},
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"agent.{next(iter(wrong))}"):
        EpisodicConfig(**wrong)  # type: ignore[arg-type]
