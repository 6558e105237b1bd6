"""A predictor as a Gymnasium vector environment.

Each episode starts from a recorded state of the real environment and continues by predictions. It
terminates at random, by the predicted discount, or is truncated at the horizon, or at a time-out
that is predicted. With ``tensors``,
actions, observations and rewards are tensors that stay on the predictor's device, as
``envs.batched_env.BatchedEnv`` takes them; otherwise they are numpy arrays, as in any environment.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from ...envs import prng
from ...envs.errors import UsageError
from ...envs.interface import DISCOUNT, Carry, Segment
from ...envs.layout import Layout
from ..interface import Predictor, start_predictor


class Imagination(VectorEnv[Any, Any, Any]):
    """Imagined episodes in N environments, which start where the segments ``starts`` end.

    ``info[DISCOUNT]`` is 0 where an episode terminated, else 1. Raises UsageError for segments of
    another observation shape, for more actions than the predictor has, and without a start, an
    environment or a step.

    Example::

        import torch
        from reverie.envs.interface import Segment
        from reverie.world_models.prediction.feedforward import FeedforwardConfig
        from reverie.world_models.prediction.imagination import Imagination

        predictor = FeedforwardConfig(size="tiny").build(obs_shape=(1, 10, 5), num_actions=3)
        empty, never = torch.zeros(4, 0), torch.zeros(4, 1, dtype=torch.bool)
        starts = Segment(  # 4 contexts of one observation
            action=empty.long(), obs=torch.zeros(4, 1, 1, 10, 5, dtype=torch.uint8), reward=empty,
            bonus=empty, discount=empty, first=~never, last=never,
        )
        env = Imagination(predictor, starts, num_envs=64, horizon=100)
        obs, _ = env.reset(seed=0)
        obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
    """

    def __init__(
        self,
        predictor: Predictor,
        starts: Segment,
        num_envs: int,
        *,
        horizon: int = 50,
        num_actions: int | None = None,
        tensors: bool = False,
        planes: bool = False,
    ) -> None:
        if horizon < 1 or num_envs < 1 or not len(starts.obs):
            raise UsageError(
                f"Imagination got num_envs={num_envs}, horizon={horizon} and {len(starts.obs)} "
                "starts; each must be 1 or more."
            )
        num_actions = predictor.num_actions if num_actions is None else num_actions
        if num_actions > predictor.num_actions:
            raise UsageError(
                f"The environment has {num_actions} actions and the predictor "
                f"{predictor.num_actions}; train the predictor on recordings of the same action "
                "set."
            )
        self.predictor, self.num_envs, self.horizon = predictor, num_envs, horizon
        self.tensors = tensors
        # Starts are recorded observations, whose older frames are real.
        self.layout = Layout(
            "KHW", predictor.channels, padding="stored", trusted=True, planes=planes
        )
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "reset_mask": True}
        self.single_observation_space = Box(0, 255, predictor.obs_shape, np.uint8)
        self.single_action_space = Discrete(num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        snapshot = None if starts.snapshot is None else starts.snapshot[:, -1]
        self.start_carry = start_predictor(
            predictor, starts.obs, starts.action, starts.first, snapshot
        )
        self.device = self.start_carry["obs"].device
        entropy = int(np.random.SeedSequence().generate_state(1)[0])
        self.rng = prng.initial_rng(entropy, prng.Purpose.DREAM, num_envs).to(self.device)
        self.done = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self.elapsed_steps = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self.carry: Carry = {}

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        all_envs = np.ones(self.num_envs, np.bool_)
        mask = torch.as_tensor((options or {}).get("reset_mask", all_envs)).to(self.device)
        seeds = [None] * self.num_envs if seed is None else seed
        if isinstance(seeds, int):
            seeds = range(seeds, seeds + self.num_envs)
        seeded = torch.tensor([s is not None for s in seeds], device=self.device)
        rng = prng.splitmix64(torch.tensor([int(s or 0) for s in seeds])).to(self.device)
        rng = torch.where(seeded, rng, prng.next_rng(self.rng))
        self.rng = torch.where(mask, rng, self.rng)
        self._start_episodes(mask)
        return self._convert(self.carry["obs"]), {}

    @torch.no_grad()
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        first = self.done
        action = torch.as_tensor(actions).to(self.device, torch.int64)
        prediction, self.carry = self.predictor.predict(self.carry, action)
        self.rng = prng.next_rng(self.rng)
        self.elapsed_steps = self.elapsed_steps + 1
        uniform = prng.uniform(self.rng, 1, prng.Purpose.DREAM_END)[:, 0]
        terminated = (uniform >= prediction.discount) & ~first
        reward = torch.where(first, 0.0, prediction.reward)
        self._start_episodes(first)
        timed_out = self.elapsed_steps >= self.horizon
        if prediction.last is not None:
            timed_out = timed_out | (prediction.last & ~first)
        truncated = timed_out & ~terminated
        self.done = terminated | truncated
        obs, reward, terminated_out, truncated_out = (
            self._convert(x) for x in (self.carry["obs"], reward, terminated, truncated)
        )
        info = {DISCOUNT: self._convert(1.0 - terminated.float())}
        if not self.tensors:
            info[f"_{DISCOUNT}"] = np.ones(self.num_envs, np.bool_)  # Gymnasium's mask of the key
        return obs, reward, terminated_out, truncated_out, info

    def _start_episodes(self, mask: Tensor) -> None:
        """Start new episodes in the masked environments, each from a random start."""
        index = prng.randint(self.rng, len(self.start_carry["obs"]), prng.Purpose.DREAM_START)
        fresh = {name: value[index] for name, value in self.start_carry.items()}
        if "rng" in fresh:  # of a stochastic predictor
            fresh["rng"] = prng.next_rng(prng.splitmix64(self.rng))
        carry = self.carry or fresh
        self.carry = {
            name: torch.where(mask.view(-1, *[1] * (value.ndim - 1)), value, carry[name])
            for name, value in fresh.items()
        }
        self.elapsed_steps = torch.where(mask, 0, self.elapsed_steps)
        self.done = self.done & ~mask

    def _convert(self, x: Tensor) -> Any:
        return x if self.tensors else x.cpu().numpy()
