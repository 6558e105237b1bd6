"""Recorded segments as a Gymnasium vector environment, for learning from them off-policy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ..envs.interface import DISCOUNT, EnvSpec, Segment
from ..envs.layout import Layout


class RecordedEnv(VectorEnv[Any, Any, Any]):
    """Replays segment i in environment i, from its start again after its end.

    Actions are ignored; ``action`` holds the recorded ones of the latest step. Observations,
    rewards and flags are tensors on ``device``, as ``Imagination`` returns them with ``tensors``.
    """

    tensors = True

    def __init__(self, segment: Segment, spec: EnvSpec, device: torch.device) -> None:
        self.num_envs = len(segment.action)
        self.layout = Layout(
            "KHW", spec.channels, padding="stored", trusted=True, planes=spec.planes
        )
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = Box(0, 255, spec.obs_shape, np.uint8)
        self.single_action_space = Discrete(spec.num_actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.obs, self.recorded_action = segment.obs.to(device), segment.action.to(device)
        self.reward, self.discount = segment.reward.to(device), segment.discount.to(device)
        self.last = segment.last.to(device).clone()
        self.last[:, -1] = True
        self.rows = torch.arange(self.num_envs, device=device)
        self.time = torch.zeros_like(self.rows)
        self.action = torch.zeros_like(self.rows)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        self.time = torch.zeros_like(self.rows)
        self.action = torch.zeros_like(self.rows)
        return self.obs[:, 0], {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        first = self.last[self.rows, self.time]
        before = torch.where(first, 0, self.time)
        self.action = self.recorded_action[self.rows, before]
        reward = torch.where(first, 0.0, self.reward[self.rows, before])
        discount = torch.where(first, 1.0, self.discount[self.rows, before])
        self.time = torch.where(first, 0, self.time + 1)
        terminated = discount == 0
        truncated = self.last[self.rows, self.time] & ~terminated & ~first
        obs = self.obs[self.rows, self.time]
        return obs, reward, terminated, truncated, {DISCOUNT: discount}
