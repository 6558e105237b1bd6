"""On a GPU: the CPU's random numbers, results up to rounding, and interchangeable checkpoints."""

import copy
from dataclasses import fields
from itertools import islice

import pytest
import torch

from reverie.agents.interface import AgentConfig
from reverie.agents.loop import interact
from reverie.agents.replay import Replay
from reverie.envs import prng
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.experiments.config.registry import BONUSES
from reverie.world_models.density import DENSITIES

from sample_agents import LAW_AGENTS, shortened
from sample_models import DENSITY_EXAMPLES, random_frames

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def catch_envs(device: torch.device) -> BatchedEnv:
    return BatchedEnv(CatchConfig().build(8), seed=0, device=device)


def test_random_numbers_are_those_of_the_cpu() -> None:
    rng = prng.initial_rng(3, prng.Purpose.TRAIN, 16)
    assert torch.equal(prng.next_rng(rng), prng.next_rng(rng.to(GPU)).cpu())
    assert torch.equal(prng.randint(rng, 7, 1), prng.randint(rng.to(GPU), 7, 1).cpu())
    torch.testing.assert_close(prng.normal(rng, 5), prng.normal(rng.to(GPU), 5).cpu())


def test_observations_are_those_of_the_cpu() -> None:
    config = AtariConfig("pong")
    batched_envs = [
        BatchedEnv(config.build(2, threads=1), seed=4, device=device) for device in (CPU, GPU)
    ]
    on_cpu, on_gpu = (envs.reset() for envs in batched_envs)
    for timestep in range(20):
        action = torch.full((2,), timestep % 6)
        assert torch.equal(on_cpu.obs, on_gpu.obs.cpu())
        assert on_gpu.obs.is_cuda
        assert not on_gpu.frame.is_cuda
        on_cpu, on_gpu = batched_envs[0].step(action), batched_envs[1].step(action.to(GPU))
    for envs in batched_envs:
        envs.close()


@pytest.mark.parametrize("config", LAW_AGENTS.values(), ids=list(LAW_AGENTS))
def test_checkpoints_move_between_gpu_and_cpu(config: AgentConfig) -> None:
    config = shortened(config)
    envs = catch_envs(GPU)
    agent = config.build(envs.spec, seed=0, device=GPU)
    for t in islice(interact(envs, agent), 120):
        metrics = agent.learn(t)
        assert all(torch.as_tensor(x).isfinite().all() for x in metrics.values())
    envs.close()
    cpu_agent = config.build(envs.spec, seed=0, device=CPU)
    cpu_agent.load_state_dict(copy.deepcopy(agent.state_dict()))
    envs = catch_envs(CPU)
    for t in islice(interact(envs, cpu_agent), 40):
        cpu_agent.learn(t)
    envs.close()
    gpu_agent = config.build(envs.spec, seed=0, device=GPU)
    gpu_agent.load_state_dict(copy.deepcopy(cpu_agent.state_dict()))


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_has_the_log_probs_of_the_cpu(name: str) -> None:
    frames = random_frames(24, (6, 6), 4)
    config = DENSITY_EXAMPLES.get(name, DENSITIES[name]())
    densities = [
        config.build(shape=(6, 6), levels=4, seed=0, device=device) for device in (CPU, GPU)
    ]
    densities[1].load_state_dict(copy.deepcopy(densities[0].state_dict()))
    if name == "bound":  # its noise is drawn by the device, so estimates differ
        pytest.skip("the noise of a bound depends on the device")
    (before, after), (gpu_before, gpu_after) = (density.observe(frames) for density in densities)
    torch.testing.assert_close(before, gpu_before.cpu(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after, gpu_after.cpu(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", BONUSES)
def test_a_bonus_is_on_the_device_of_the_reward(name: str) -> None:
    envs = catch_envs(GPU)
    agent = LAW_AGENTS["dqn"].build(envs.spec, seed=0, device=GPU)
    bonus = BONUSES[name]().build(envs.spec, seed=0, device=GPU)
    for t in islice(interact(envs, agent), 12):
        rewards = bonus(t)
        assert rewards.device == t.next_step.reward.device
        assert (rewards >= 0).all()
    envs.close()


def test_a_replay_samples_the_same_on_either_device() -> None:
    envs = catch_envs(GPU)
    agent = LAW_AGENTS["dqn"].build(envs.spec, seed=0, device=GPU)
    replays = [Replay(envs.spec, capacity=400, gamma=0.9, device=device) for device in (CPU, GPU)]
    for t in islice(interact(envs, agent), 60):
        for replay in replays:
            replay.append(t, t.next_step.reward)
    envs.close()
    a, b = (replay.sample(32).to(CPU) for replay in replays)
    assert all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
