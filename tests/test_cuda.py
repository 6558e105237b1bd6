"""On a GPU all is as on a CPU: the same draws, nearly the same numbers, the same checkpoints."""

import copy
from dataclasses import fields
from itertools import islice

import pytest
import torch
from test_agents import LAW_AGENTS, brief
from test_densities import EXAMPLES as DENSITY_EXAMPLES
from test_densities import random_frames

from agents.choices import BONUSES
from agents.interface import AgentConfig
from agents.loop import interact
from agents.replay import Replay
from envs import dice
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.stream import Stream
from world_models.density import DENSITIES

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def catch(device: torch.device) -> Stream:
    return Stream(CatchConfig().build(8), seed=0, device=device)


def test_dice_fall_alike() -> None:
    key = dice.keys(3, "train", 16)
    assert torch.equal(dice.roll(key), dice.roll(key.to(GPU)).cpu())
    assert torch.equal(dice.integers(key, 7, 1), dice.integers(key.to(GPU), 7, 1).cpu())
    torch.testing.assert_close(dice.normal(key, 5), dice.normal(key.to(GPU), 5).cpu())


def test_a_stream_shows_the_same_there() -> None:
    config = AtariConfig("pong")
    streams = [Stream(config.build(2, threads=1), seed=4, device=where) for where in (CPU, GPU)]
    here, there = (stream.reset() for stream in streams)
    for tick in range(20):
        action = torch.full((2,), tick % 6)
        assert torch.equal(here.obs, there.obs.cpu())
        assert there.obs.is_cuda
        assert not there.frame.is_cuda
        here, there = streams[0].step(action), streams[1].step(action.to(GPU))
    for stream in streams:
        stream.close()


@pytest.mark.parametrize("config", LAW_AGENTS.values(), ids=list(LAW_AGENTS))
def test_an_agent_learns_there_and_goes_on_here(config: AgentConfig) -> None:
    config = brief(config)
    stream = catch(GPU)
    agent = config.build(stream.spec, seed=0, device=GPU)
    for t in islice(interact(stream, agent), 120):
        metrics = agent.learn(t)
        assert all(torch.as_tensor(x).isfinite().all() for x in metrics.values())
    stream.close()
    moved = config.build(stream.spec, seed=0, device=CPU)
    moved.load_state_dict(copy.deepcopy(agent.state_dict()))
    stream = catch(CPU)
    for t in islice(interact(stream, moved), 40):
        moved.learn(t)
    stream.close()
    back = config.build(stream.spec, seed=0, device=GPU)
    back.load_state_dict(copy.deepcopy(moved.state_dict()))


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_says_there_what_it_says_here(name: str) -> None:
    frames = random_frames(24, (6, 6), 4)
    config = DENSITY_EXAMPLES.get(name, DENSITIES[name]())
    densities = [config.build(shape=(6, 6), levels=4, seed=0, device=where) for where in (CPU, GPU)]
    densities[1].load_state_dict(copy.deepcopy(densities[0].state_dict()))
    if name == "bound":  # its noise is drawn where it computes, so only the scale is the same
        pytest.skip("a bound's noise is the device's own")
    (before, after), (there, since) = (density.observe(frames) for density in densities)
    torch.testing.assert_close(before, there.cpu(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after, since.cpu(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", BONUSES)
def test_a_bonus_lies_where_its_reward_lies(name: str) -> None:
    stream = catch(GPU)
    agent = LAW_AGENTS["dqn"].build(stream.spec, seed=0, device=GPU)
    bonus = BONUSES[name]().build(stream.spec, seed=0, device=GPU)
    for t in islice(interact(stream, agent), 12):
        paid = bonus(t)
        assert paid.device == t.next_step.reward.device
        assert (paid >= 0).all()
    stream.close()


def test_a_replay_holds_the_same_wherever_its_frames_lie() -> None:
    stream = catch(GPU)
    agent = LAW_AGENTS["dqn"].build(stream.spec, seed=0, device=GPU)
    kept = [Replay(stream.spec, capacity=400, gamma=0.9, device=where) for where in (CPU, GPU)]
    for t in islice(interact(stream, agent), 60):
        for replay in kept:
            replay.append(t, t.next_step.reward)
    stream.close()
    a, b = (replay.sample(32).to(CPU) for replay in kept)
    assert all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
