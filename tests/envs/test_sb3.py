"""Stable-Baselines3 learns in any env of ours, and sees the episodes that a BatchedEnv has."""

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import OrderEnforcing
from numpy.typing import NDArray
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import VecMonitor

from reverie.envs.base import SmallEnv
from reverie.envs.catch import Catch, CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.gym import GymConfig
from reverie.envs.interface import EnvConfig
from reverie.envs.sb3 import SB3VecEnv
from reverie.envs.spaces import ObservationReader
from reverie.world_models.prediction.imagination import Imagination

from sample_envs import LAW_ENVS, ScriptedEnv
from sample_models import imagination
from sb3_returns import Returns

N = 3


@pytest.mark.parametrize("config", LAW_ENVS, ids=lambda config: config.env_name)
def test_episodes_are_those_of_the_env_without_the_steps_that_reset_it(config: EnvConfig) -> None:
    """Both act by each env's own sequence; a step that resets is one more under NEXT_STEP."""
    env, timesteps = config.build(N, threads=1), 150
    reader = ObservationReader(env)
    spec = reader.spec
    actions = np.random.default_rng(0).integers(spec.num_actions, size=(N, timesteps))
    obs, _ = env.reset(seed=[5, 6, 7])  # type: ignore[arg-type]
    expected: list[list[tuple[Any, ...]]] = [[] for _ in range(N)]
    first_obs, done = (
        reader.read(np.asarray(obs), first=None, timestep=0).copy(),
        np.zeros(N, np.bool_),
    )
    taken, pending = np.zeros(N, np.int64), [*first_obs]
    for _ in range(timesteps):
        obs, reward, terminated, truncated, _ = env.step(actions[np.arange(N), taken])
        obs, first = reader.read(np.asarray(obs), first=None, timestep=0).copy(), done
        done = np.asarray(terminated) | np.asarray(truncated)
        for i in range(N):
            if not first[i]:
                time_out = bool(truncated[i] and not terminated[i])
                row = pending[i], float(reward[i]), bool(done[i]), time_out, obs[i]
                expected[i].append(row)
                taken[i] += 1
            pending[i] = obs[i]
    env.close()

    adapter = SB3VecEnv(config.build(N, threads=1))
    assert adapter.observation_space.shape == spec.obs_shape
    adapter.seed(5)
    before: Any = adapter.reset()
    assert adapter.observation_space.contains(before[0])
    for timestep in range(min(map(len, expected))):
        stepped: Any = adapter.step(actions[:, timestep])
        obs, reward, done, infos = stepped
        for i, info in enumerate(infos):
            seen, paid, ended, time_out, result = expected[i][timestep]
            assert np.array_equal(before[i], seen)
            assert reward[i] == np.float32(paid)
            assert (done[i], info["TimeLimit.truncated"]) == (ended, time_out)
            assert np.array_equal(info["terminal_observation"] if ended else obs[i], result)
            assert ("terminal_observation" in info) == ended
        before = obs
    adapter.close()


class Recorded(Catch):
    """Catch that notes the outcome of every board that ends."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs)
        self.outcomes: list[float] = []

    def step(self, actions: NDArray[Any]) -> Any:
        result = super().step(actions)
        caught = self.ball[:, 1] == self.paddle
        self.outcomes += [1.0 if x else -1.0 for x in caught[self.done]]
        return result


def test_ppo_is_scored_by_the_true_returns_of_catch() -> None:
    env = Recorded(4)
    envs = VecMonitor(SB3VecEnv(env))
    model = PPO("MlpPolicy", envs, n_steps=32, batch_size=64, seed=0, device="cpu")
    callback = Returns()
    model.learn(640, callback)
    assert len(callback.returns) == 640 // 9 - 640 // 9 % 4
    assert callback.returns == env.outcomes
    assert {info["l"] for info in model.ep_info_buffer or []} == {9}


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_learning_in_a_dream(algorithm: Any) -> None:
    settings = {"n_steps": 64} if algorithm is PPO else {"learning_starts": 50}
    dream = imagination(4, termination=0.1)
    model = algorithm("MlpPolicy", SB3VecEnv(dream), seed=1, device="cpu", **settings)
    assert model.learn(512).num_timesteps == 512
    assert np.isfinite(model.logger.name_to_value.get("train/loss", 0.0))
    action, _ = model.predict(dream.reset(seed=3)[0], deterministic=True)
    assert action.shape == (4,)


def test_attributes_and_methods_reach_the_env() -> None:
    adapter = SB3VecEnv(CatchConfig(rows=7).build(2))
    assert adapter.get_attr("rows") == [7, 7]
    adapter.set_attr("rows", 7)
    assert adapter.env_method("true_state", indices=0)[0].shape == (2, 3)
    assert adapter.env_is_wrapped(OrderEnforcing) == [False, False]
    assert not adapter.has_attr("color")
    own = SB3VecEnv(GymConfig("sample_envs:Counter-v0").build(2))
    assert own.env_is_wrapped(OrderEnforcing) == [True, True]
    own.reset()
    assert all(2 <= steps < 9 for steps in own.get_attr("steps_left"))


def test_a_reset_without_a_seed_continues_the_generators() -> None:
    adapter = SB3VecEnv(CatchConfig(columns=30).build(8))
    adapter.seed(3)
    first, second = adapter.reset(), adapter.reset()
    adapter.seed(3)
    assert np.array_equal([first, second], [adapter.reset(), adapter.reset()])
    assert not np.array_equal(first, second)


class Unmasked(SmallEnv):
    """An env without masked resets."""

    def __init__(self) -> None:
        super().__init__(1, (1, 2, 2), 2, ())
        del self.metadata["reset_mask"]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (Unmasked(), "cannot reset some of its copies"),
        (ScriptedEnv(mode=AutoresetMode.SAME_STEP), "needs NEXT_STEP"),
        (ScriptedEnv(dtype=np.float32), "needs uint8 images"),
        (imagination(2, tensors=True), "returns tensors"),
    ],
    ids=["unmasked", "same step", "floats", "tensors"],
)
def test_an_unsuited_env_is_refused(env: Any, message: str) -> None:
    assert isinstance(env, Imagination | SmallEnv | ScriptedEnv)
    with pytest.raises(UsageError, match=message):
        SB3VecEnv(env)
