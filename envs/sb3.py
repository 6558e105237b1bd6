"""A Gymnasium vector environment as a ``VecEnv`` of Stable-Baselines3 (extra ``peers``).

Gymnasium's NEXT_STEP autoreset spends a step on each reset. Stable-Baselines3 learns from every
step, so finished episodes are reset within the step that ends them, by ``reset_mask``.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.wrappers.vector import DictInfoToList
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from .errors import UsageError
from .spaces import ObservationReader, check_autoreset

Array = NDArray[Any]


class SB3VecEnv(VecEnv):
    """N envs for Stable-Baselines3, with observations [K H W] as a ``BatchedEnv`` has them.

    ``info["terminal_observation"]`` is the last observation of an episode, and
    ``info["TimeLimit.truncated"]`` tells a time-out from death. A lost life ends no episode. Raises
    UsageError for an env that a ``BatchedEnv`` refuses, that cannot reset some of its copies
    (``metadata["reset_mask"]``), or that returns tensors.

    Example::

        from stable_baselines3 import PPO
        from reverie.envs.catch import CatchConfig
        from reverie.envs.sb3 import SB3VecEnv

        envs = SB3VecEnv(CatchConfig().build(8))
        PPO("MlpPolicy", envs, n_steps=16, n_epochs=1).learn(128)
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        check_autoreset(env)
        self._observations = ObservationReader(env)
        spec, name, base = self._observations.spec, self._observations.name, env.unwrapped
        if not env.metadata.get("reset_mask") and not isinstance(
            base, SyncVectorEnv | AsyncVectorEnv
        ):
            raise UsageError(
                f"{name} cannot reset some of its copies and leave the others, as "
                "Stable-Baselines3 needs; let its reset take options['reset_mask'], and set "
                "metadata['reset_mask']."
            )
        if getattr(base, "tensors", False):
            raise UsageError(f"{name} returns tensors; build it with tensors=False.")
        self.env, self._list_infos = env, DictInfoToList(env)
        self._actions: Array = np.zeros(spec.num_envs, np.int64)
        self._timestep = 0
        space = Box(0, 255, spec.obs_shape, np.uint8)
        super().__init__(spec.num_envs, space, env.single_action_space)

    def reset(self) -> Array:
        """Start new episodes in all envs, seeded if ``seed`` was called since the last reset."""
        # None continues the generators of the envs, and a list of None would draw new seeds.
        seeds: Any = None if None in self._seeds else self._seeds
        obs, infos = self._list_infos.reset(seed=seeds)
        self.reset_infos[:] = infos
        self._reset_seeds()
        return self._convert(obs)

    def step_async(self, actions: Array) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Array, Array, Array, list[dict[str, Any]]]:
        """Step all envs, and start a new episode in each whose episode has ended."""
        obs, reward, terminated, truncated, infos = self._list_infos.step(self._actions)
        obs, done = self._convert(obs), np.asarray(terminated) | np.asarray(truncated)
        for i, info in enumerate(infos):
            info["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
            if done[i]:
                info["terminal_observation"] = obs[i]
        if done.any():
            after_reset, reset_infos = self._list_infos.reset(options={"reset_mask": done.copy()})
            mask = done.reshape(-1, *[1] * (obs.ndim - 1))
            obs = np.where(mask, self._convert(after_reset), obs)
            for i in np.flatnonzero(done).tolist():
                self.reset_infos[i] = reset_infos[i]
        return obs, np.asarray(reward, np.float32), done, infos

    def close(self) -> None:
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [_get(copy, attr_name) for copy in self._select(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        for copy in self._select(indices):
            setattr(copy, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        methods = [_get(copy, method_name) for copy in self._select(indices)]
        return [method(*method_args, **method_kwargs) for method in methods]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        selected = self._select(indices)
        return [any(isinstance(x, wrapper_class) for x in _layers(copy)) for copy in selected]

    def _select(self, indices: Any) -> list[Any]:
        """Return the object of each env: its own, or the vector env that holds them all."""
        copies = getattr(self.env.unwrapped, "envs", [self.env] * self.num_envs)
        return [copies[i] for i in self._get_indices(indices)]

    def _convert(self, obs: Any) -> Array:
        """Return a copy of observations as [N K H W]; the env may reuse its own array."""
        self._timestep += 1
        return np.array(self._observations.read(obs, first=None, timestep=self._timestep))


def _layers(env: Any) -> Iterator[Any]:
    """Yield an env and the envs that it wraps."""
    while env is not None:
        yield env
        env = getattr(env, "env", None)


def _get(env: Any, name: str) -> Any:
    """Return an attribute of an env or of one that it wraps; raises AttributeError."""
    return getattr(next((x for x in _layers(env) if hasattr(x, name)), env), name)
