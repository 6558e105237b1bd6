"""The true state and snapshots of small envs, and what stores give back of it."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.agents.replay import Replay
from reverie.agents.rollout import Rollout
from reverie.envs.base import SmallEnv
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.interface import EnvConfig, Transition, timestep_from_state, timestep_state
from reverie.envs.maze import MazeConfig
from reverie.envs.pipeline import Pipeline

SMALL: list[EnvConfig] = [CatchConfig(), DeepSeaConfig(size=5), MazeConfig(max_episode_steps=12)]
each_env = pytest.mark.parametrize("config", SMALL, ids=lambda config: config.env_name)


def play(config: EnvConfig, timesteps: int, n: int = 3) -> tuple[BatchedEnv, list[Transition]]:
    envs = BatchedEnv(config.build(n), seed=1)
    return envs, list(islice(interact(envs, RandomPolicy(envs.spec.num_actions)), timesteps))


@each_env
def test_the_true_state_determines_the_observation(config: EnvConfig) -> None:
    envs, transitions = play(config, 120)
    observed: dict[bytes, bytes] = {}
    for t in transitions:
        state = t.step.privileged
        assert state is not None
        assert state.dtype == torch.uint8
        assert state.shape == (3, len(envs.spec.privileged))
        for row, obs in zip(state, t.step.obs, strict=True):
            key = row.numpy().tobytes()
            assert observed.setdefault(key, obs.numpy().tobytes()) == obs.numpy().tobytes()
    assert len(set(observed.values())) > 5


def test_the_true_state_of_catch_by_hand() -> None:
    envs, transitions = play(CatchConfig(), 40)
    assert envs.spec.privileged == ("ball_row", "ball_column", "paddle")
    for t in transitions:
        for (row, column, paddle), obs in zip(
            t.step.privileged.tolist(),  # type: ignore[union-attr]
            t.step.obs[:, 0],
            strict=True,
        ):
            cells = sorted({(row, column), (9, paddle)})
            assert obs.nonzero().tolist() == [list(cell) for cell in cells]


@each_env
def test_stores_give_back_the_true_state_that_the_policy_saw(config: EnvConfig) -> None:
    envs, transitions = play(config, 60)
    states = torch.stack([t.step.privileged for t in transitions], 1)  # type: ignore[misc]
    rollout = Rollout(envs.spec, 60)
    replay = Replay(envs.spec, capacity=600, gamma=0.9, monte_carlo=False)
    for t in transitions:
        rollout.append(t)
        replay.append(t, t.next_step.reward)
    assert torch.equal(rollout.pop().privileged[:, :-1], states)  # type: ignore[index]
    pairs = {
        (t.step.privileged[i].numpy().tobytes(), t.next_step.privileged[i].numpy().tobytes())  # type: ignore[index]
        for t in transitions
        for i in t.valid.nonzero()[:, 0].tolist()
    }
    batch = replay.gather(torch.arange(len(replay)))
    for before, after in zip(batch.privileged, batch.next_privileged, strict=True):
        assert (before.numpy().tobytes(), after.numpy().tobytes()) in pairs
    seen = {
        (x.numpy().tobytes(), y.numpy().tobytes())
        for t in transitions
        for x, y in zip(t.step.obs, t.step.privileged, strict=True)  # type: ignore[arg-type]
    }
    segment = replay.sample_segments(16, 3)
    for obs, state in zip(
        segment.obs.flatten(0, 1),
        segment.privileged.flatten(0, 1),  # type: ignore[union-attr]
        strict=True,
    ):
        assert (obs.numpy().tobytes(), state.numpy().tobytes()) in seen
    restored = Replay(envs.spec, capacity=600, gamma=0.9, monte_carlo=False)
    restored.load_state_dict(replay.state_dict())
    assert torch.equal(restored.gather(torch.arange(5)).privileged, batch.privileged[:5])


@each_env
def test_a_time_step_with_a_true_state_is_saved_split_and_joined(config: EnvConfig) -> None:
    parts = [BatchedEnv(config.build(2), seed=1, first_env=2 * i) for i in range(2)]
    pipeline, whole = Pipeline(parts), BatchedEnv(config.build(4), seed=1)
    a, b = pipeline.reset(), whole.reset()
    action = torch.zeros(4, dtype=torch.int64)
    for _ in range(8):
        a, b = pipeline.step(action), whole.step(action)
        assert torch.equal(a.privileged, b.privileged)  # type: ignore[arg-type]
    loaded = timestep_from_state(timestep_state(a), whole.spec, torch.device("cpu"))
    assert torch.equal(loaded.privileged, b.privileged)  # type: ignore[arg-type]
    columns = {k: x for k, x in timestep_state(a).items() if k != "privileged"}
    with pytest.raises(ValueError, match="not of 4 envs"):
        timestep_from_state(columns, whole.spec, torch.device("cpu"))


@each_env
def test_a_small_env_continues_from_a_snapshot(config: EnvConfig) -> None:
    """Over the ends of episodes, whose starts are drawn from the seeds."""
    env: Any = config.build(3)
    assert isinstance(env, SmallEnv)
    env.reset(seed=4)
    generator = np.random.default_rng(0)
    actions = generator.integers(2, size=(40, 3))
    for action in actions[:7]:
        env.step(action)
    snapshots, obs, seeds = env.snapshots(), env.observe(), np.array([5, 6, 7])
    played = []
    for _ in range(2):
        env.restore_snapshots(snapshots, seeds)
        assert (env.observe() == obs).all()
        steps = [env.step(action) for action in actions]
        played.append([x.tobytes() for step in steps for x in step[:4]])
    assert played[0] == played[1]
    env.restore_snapshots(snapshots[[2, 0, 2, 1]], generator.integers(9, size=4))
    assert (env.observe() == obs[[2, 0, 2, 1]]).all(), "of any number of envs"
