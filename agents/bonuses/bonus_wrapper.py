"""Any bonus around a Gymnasium vector environment, for the agents of other libraries."""

import time
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from ...envs.errors import UsageError
from ...envs.interface import DISCOUNT, TimeStep, Transition
from ...envs.spaces import ObservationReader
from ...envs.transfer import timestep_from_arrays
from ...world_models.state import HasState
from .bonus import BonusConfig

Array = NDArray[Any]


class BonusWrapper(VectorWrapper, HasState):
    """A vector environment whose rewards contain an exploration bonus.

    The bonus learns every transition once, in the order of the envs, and is 0 where a step only
    resets. ``info["extrinsic_reward"]`` and ``info["bonus"]`` are the two parts of the rewards,
    [N]. At the end of an episode ``info["episode"]`` has its return without bonuses, ``r``, its
    length, ``l``, and its seconds, ``t``, as Gymnasium's ``RecordEpisodeStatistics`` has them; one
    inside the wrapper is left as it is. All autoreset modes and masked resets are supported. The
    state is the bonus's.

    Raises UsageError for an environment that a ``BatchedEnv`` refuses because of its spaces, one
    that returns tensors, and for a bonus of the true state under SAME_STEP autoreset.

    Example::

        from reverie.agents.bonuses.bonus_wrapper import BonusWrapper
        from reverie.agents.bonuses.density_bonus import PseudoCountConfig
        from reverie.envs.deep_sea import DeepSeaConfig

        envs = BonusWrapper(DeepSeaConfig(size=10).build(8), PseudoCountConfig(scale=1.0))
        envs.reset(seed=0)
        _, reward, _, _, info = envs.step(envs.action_space.sample())
        assert (reward == info["extrinsic_reward"] + info["bonus"]).all()
    """

    STATE = ("bonus",)

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        config: BonusConfig,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(env)
        self._reader = ObservationReader(env)
        name, mode = self._reader.name, env.metadata.get("autoreset_mode")
        if getattr(env.unwrapped, "tensors", False):
            raise UsageError(f"{name} returns tensors; build it with tensors=False.")
        self._same_step = mode in (AutoresetMode.SAME_STEP, AutoresetMode.SAME_STEP.value)
        if self._same_step and config.needs_privileged:
            raise UsageError(
                f"{type(config).__name__} reads the true state, which {name} does not tell of an "
                "episode's last observation; build it with "
                "autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP."
            )
        self._device, n = torch.device(device), env.num_envs
        self.bonus = config.build(self._reader.spec, seed=seed, device=device)
        self._privileged = np.zeros((n, len(self._reader.spec.privileged)), np.uint8)
        self._images: Array = np.zeros((n, *self._reader.spec.obs_shape), np.uint8)
        self._first, self._last = np.zeros((2, n), np.bool_)
        self._step: TimeStep | None = None  # None before the first reset
        self._returns, self._lengths, self._begun = np.zeros(n), np.zeros(n, np.int64), np.zeros(n)
        self._timestep = 0

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        mask = np.ones(self.num_envs, np.bool_)
        if options and "reset_mask" in options:
            mask = np.array(options["reset_mask"], np.bool_)
        obs, info = self.env.reset(seed=seed, options=options)
        self._read_privileged(info, mask)
        self._begin(self._read(obs), mask)
        return obs, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all envs, and add the bonus; raises RuntimeError before the first reset."""
        if self._step is None:
            raise RuntimeError("BonusWrapper.step was called without BonusWrapper.reset before.")
        obs, rewards, terminated, truncated, info = self.env.step(actions)
        extrinsic = np.asarray(rewards, np.float64)
        done = np.asarray(terminated) | np.asarray(truncated)
        discount = 1.0 - np.asarray(terminated, np.float32)
        if DISCOUNT in info:
            discount = np.where(info.get(f"_{DISCOUNT}", True), info[DISCOUNT], discount)
        self._read_privileged(info, np.ones(self.num_envs, np.bool_))
        images, valid = self._read(obs), ~self._last
        self._images, self._first, self._last = images, self._last, done
        if self._same_step and done.any():
            self._images = images.copy()
            self._images[done] = self._read(_stacked(info["final_obs"], done, obs))[done]
        step, self._step = self._step, self._make_step(extrinsic, discount)
        chosen = torch.as_tensor(np.array(actions)).to(self._device, torch.int64)
        zeros = torch.zeros_like(self._step.discount)
        bonus = self.bonus(Transition(step, {}, chosen, {}, self._step, {}, zeros))
        info["extrinsic_reward"], info["bonus"] = extrinsic, bonus.cpu().double().numpy()
        self._returns = self._returns * valid + extrinsic
        self._lengths = (self._lengths + 1) * valid
        self._begun[~valid] = time.perf_counter()
        if done.any() and "episode" not in info:
            seconds = np.round(time.perf_counter() - self._begun, 6)
            statistics = {"r": self._returns, "l": self._lengths, "t": seconds}
            info |= {"episode": {k: np.where(done, x, 0) for k, x in statistics.items()}}
            info["_episode"] = done
        if self._same_step and done.any():
            self._begin(images, done)
        return obs, extrinsic + info["bonus"], terminated, truncated, info

    def _begin(self, images: Array, mask: Array) -> None:
        """Take the first observations of new episodes in the masked envs."""
        self._images = np.where(mask[:, None, None, None], images, self._images)
        self._first, self._last = self._first | mask, self._last & ~mask
        self._returns, self._lengths = self._returns * ~mask, self._lengths * ~mask
        self._begun[mask] = time.perf_counter()
        self._step = self._make_step(np.zeros(self.num_envs), np.ones(self.num_envs))

    def _make_step(self, reward: Array, discount: Array) -> TimeStep:
        columns = {"reward": reward, "discount": discount, "first": self._first, "last": self._last}
        if self._reader.spec.privileged:
            columns["privileged"] = self._privileged
        return timestep_from_arrays(self._images, columns, self._reader.spec.channels, self._device)

    def _read(self, obs: Any) -> Array:
        """Return a copy of observations as [N K H W]; the env may reuse its own array."""
        self._timestep += 1
        return np.array(self._reader.read(obs, first=None, timestep=self._timestep))

    def _read_privileged(self, info: dict[str, Any], mask: Array) -> None:
        """Keep the true state of the masked envs."""
        if self._reader.spec.privileged:
            rows = mask & info.get("_privileged", True)
            self._privileged[rows] = np.asarray(info["privileged"], np.uint8)[rows]


def _stacked(final_obs: Any, done: Array, obs: Any) -> Array:
    """Return observations with those of ended episodes in the place of the next ones."""
    stacked = np.array(obs)
    for i in np.flatnonzero(done).tolist():
        stacked[i] = final_obs[i]
    return stacked
