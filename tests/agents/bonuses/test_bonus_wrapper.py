"""Bonuses around vector environments: those of the loop, whatever the autoreset mode is."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import PPO

from reverie.agents.bonuses.bonus import BonusConfig, NoBonusConfig
from reverie.agents.bonuses.bonus_wrapper import BonusWrapper
from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.bonuses.simhash import SimHashConfig
from reverie.agents.bonuses.true_counts import TrueCountsConfig
from reverie.agents.interface import ActOutput
from reverie.agents.loop import interact
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.errors import UsageError
from reverie.envs.gym import GymConfig
from reverie.envs.interface import Carry, EnvConfig, TimeStep
from reverie.envs.sb3 import SB3VecEnv
from reverie.experiments.config.registry import TABLES
from reverie.experiments.config.roles import entry_config

import sample_envs  # noqa: F401  # registers an env
from sample_models import imagination
from sb3_returns import Returns

N, TIMESTEPS = 3, 60
BONUSES = {
    name: entry_config(entry).example()
    for name, entry in TABLES[BonusConfig].items()
    if name != "none"
}
ENVS: dict[str, EnvConfig] = {
    "catch": CatchConfig(rows=7),
    "deep-sea": DeepSeaConfig(5),
    "gym": GymConfig("sample_envs:Counter-v0"),
}


class Replay:
    """Acts as a wrapped env was acted in."""

    def __init__(self, actions: Any) -> None:
        self.actions = iter(torch.from_numpy(actions))

    def initial(self, num_envs: int) -> Carry:
        return {}

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        return ActOutput(next(self.actions), {}, {})


@pytest.mark.parametrize(
    ("env", "bonus"),
    [
        (env, bonus)
        for env in ENVS
        for bonus in BONUSES
        if env != "gym" or not BONUSES[bonus].needs_privileged  # it has no true state
    ],
)
def test_bonuses_and_scores_are_those_of_the_loop(env: str, bonus: str) -> None:
    config = BONUSES[bonus]
    envs = BatchedEnv(ENVS[env].build(N), seed=0)
    of_loop = config.build(envs.spec, seed=1)
    actions = np.random.default_rng(0).integers(2, size=(TIMESTEPS, N))
    seeds: Any = envs.emulator_seeds()
    wrapped = BonusWrapper(ENVS[env].build(N), config, seed=1)
    wrapped.reset(seed=seeds)
    returns, lengths = np.zeros(N), np.zeros(N, np.int64)
    for action, t in zip(actions, interact(envs, Replay(actions)), strict=False):
        _, reward, terminated, truncated, info = wrapped.step(action)
        expected = of_loop(t).double().numpy()
        assert np.array_equal(info["bonus"], expected)
        assert np.array_equal(info["extrinsic_reward"], t.next_step.reward.numpy())
        assert np.array_equal(reward, info["extrinsic_reward"] + expected)
        returns += t.next_step.reward.numpy()
        lengths += t.valid.numpy()
        last = t.next_step.last.numpy()
        assert np.array_equal(terminated | truncated, last)
        assert np.array_equal(info.get("_episode", last & False), last)
        if last.any():
            assert np.allclose(info["episode"]["r"][last], returns[last])
            assert np.array_equal(info["episode"]["l"][last], lengths[last])
        returns[last], lengths[last] = 0, 0


def episodes_of_one_env(env: Any, *, masked: bool = False) -> list[tuple[float, ...]]:
    """Return the steps that do not only reset the env, each with the score if it is the last."""
    wrapped = BonusWrapper(env, SimHashConfig(scale=1.0))
    wrapped.reset(seed=[3])
    next_step = env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP and not masked
    found, done = list[tuple[float, ...]](), np.zeros(1, np.bool_)
    for timestep in range(TIMESTEPS):
        only_resets = done[0] and next_step
        _, reward, terminated, truncated, info = wrapped.step(np.array([timestep % 2]))
        done = terminated | truncated
        score = (info["episode"]["r"][0], info["episode"]["l"][0]) if done[0] else ()
        if only_resets:
            assert reward[0] == info["bonus"][0] == 0
        else:
            found.append((info["extrinsic_reward"][0], info["bonus"][0], *score))
        if masked and done[0]:
            wrapped.reset(options={"reset_mask": done})
    return found


class Alternating(gymnasium.Env[Any, Any]):
    """Episodes of 4, 5, 4, ... steps, each with frames of its own; the actions do nothing."""

    observation_space, action_space = Box(0, 255, (4, 4), np.uint8), Discrete(2)

    def __init__(self) -> None:
        self.time, self.episode = 0, -1

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.time, self.episode = 0, self.episode + 1
        return self.observe(), {}

    def step(self, action: int) -> Any:
        self.time += 1
        return self.observe(), float(self.time), False, self.time == 4 + self.episode % 2, {}

    def observe(self) -> Any:
        obs = np.zeros((4, 4), np.uint8)
        obs[self.time % 4, self.episode % 4] = 40 * self.time
        return obs


def test_all_ways_to_reset_give_the_same_rewards() -> None:
    next_step, same_step, masked = (
        SyncVectorEnv([Alternating], autoreset_mode=AutoresetMode(mode))
        for mode in ("NextStep", "SameStep", "NextStep")
    )
    expected = episodes_of_one_env(next_step)
    assert {x[3] for x in expected if len(x) == 4} == {4, 5}
    assert {x[2] for x in expected if len(x) == 4} == {10, 15}
    for found in (episodes_of_one_env(same_step), episodes_of_one_env(masked, masked=True)):
        assert found[: len(expected)] == expected


def test_statistics_of_a_wrapper_inside_are_kept_and_one_outside_is_refused() -> None:
    config = SimHashConfig(scale=1.0)
    inside = BonusWrapper(RecordEpisodeStatistics(DeepSeaConfig(3).build(2)), config)
    outside = RecordEpisodeStatistics(BonusWrapper(DeepSeaConfig(3).build(2), config))
    right = np.array([1, 1])
    inside.reset()
    outside.reset()
    for _ in range(2):
        inside.step(right)
        outside.step(right)
    info = inside.step(right)[4]
    assert (info["episode"]["r"] < 1).all()
    assert (info["bonus"] > 0.5).any()
    with pytest.raises(ValueError, match="already exists"):
        outside.step(right)


def test_a_restored_bonus_goes_on() -> None:
    first, second = (BonusWrapper(CatchConfig(5).build(N), PseudoCountConfig()) for _ in range(2))
    first.reset(seed=0)
    for _ in range(20):
        first.step(np.zeros(N, np.int64))
    second.load_state_dict(first.state_dict())
    bonuses = []
    for wrapped in (first, second):
        wrapped.reset(seed=5)
        bonuses.append(wrapped.step(np.ones(N, np.int64))[4]["bonus"])
    assert np.array_equal(*bonuses)
    fresh = BonusWrapper(CatchConfig(5).build(N), PseudoCountConfig())
    fresh.reset(seed=5)
    assert (fresh.step(np.ones(N, np.int64))[4]["bonus"] > bonuses[0]).all()


def test_unsuited_envs_are_refused() -> None:
    with pytest.raises(UsageError, match="returns tensors"):
        BonusWrapper(imagination(2, tensors=True), SimHashConfig())
    same_step = SyncVectorEnv([Alternating], autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(UsageError, match="reads the true state"):
        BonusWrapper(same_step, TrueCountsConfig())
    with pytest.raises(RuntimeError, match="was called without"):
        BonusWrapper(CatchConfig().build(1), SimHashConfig()).step(np.zeros(1, np.int64))


def test_ppo_of_stable_baselines3_finds_the_treasure_with_a_bonus_alone() -> None:
    """A uniform policy finds it in one of 1,024 episodes, and one that learns avoids the way."""
    found = []
    for config in (NoBonusConfig(), PseudoCountConfig(scale=0.1)):
        envs = SB3VecEnv(BonusWrapper(DeepSeaConfig(10).build(8), config, seed=1))
        settings: dict[str, Any] = {
            "n_steps": 40,
            "n_epochs": 4,
            "learning_rate": 1e-3,
            "device": "cpu",
        }
        model, callback = PPO("MlpPolicy", envs, seed=1, **settings), Returns()
        model.learn(4_000, callback)
        assert len(callback.returns) >= 400
        assert max(callback.returns) <= 0.99 + 1e-9, "returns contain no bonus"
        found.append(sum(score > 0.5 for score in callback.returns))
    assert found[0] == 0
    assert found[1] > 50
