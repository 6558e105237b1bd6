"""Imagination: a learned simulator as a Gymnasium vector environment.

Each episode begins at a remembered moment of the real world and is then the predictor's alone. It
ends by a coin (the predicted discount's), or is truncated at the horizon. With ``tensors`` nothing
leaves the device: actions, looks and rewards are tensors, as ``envs.stream.Stream`` takes them;
without, it is an ordinary environment of numpy arrays, fit for any library.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from envs import dice
from envs.errors import UsageError
from envs.interface import Memory, Segment
from world_models.interface import Predictor

MOMENT, COIN = range(2)  # lanes of a tick's dice


class Imagination(VectorEnv[Any, Any, Any]):
    """N dreams of a predictor, which begin at the moments in which ``remembered`` segments end.

    ``info["discount"]`` is 0 where the coin ended an episode, else 1. Raises UsageError for
    segments of another shape, a predictor that knows fewer actions than ``num_actions``, and no
    moments or horizon.
    """

    def __init__(
        self,
        predictor: Predictor,
        remembered: Segment,
        num_envs: int,
        *,
        horizon: int = 50,
        num_actions: int | None = None,
        tensors: bool = False,
    ) -> None:
        if horizon < 1 or num_envs < 1 or not len(remembered.obs):
            raise UsageError(
                f"An imagination of {num_envs} dreams of {horizon} steps from "
                f"{len(remembered.obs)} remembered moments cannot be; there must be 1 of each."
            )
        num_actions = predictor.num_actions if num_actions is None else num_actions
        if num_actions > predictor.num_actions:
            raise UsageError(
                f"The world has {num_actions} actions and the predictor knows "
                f"{predictor.num_actions}; train it on recordings of the same action set."
            )
        self.predictor, self.num_envs, self.horizon = predictor, num_envs, horizon
        self.tensors, self.colours = tensors, predictor.colours
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "reset_mask": True}
        self.single_observation_space = Box(0, 255, predictor.obs_shape, np.uint8)
        self.single_action_space = Discrete(num_actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.moments = predictor.start(remembered)
        self.device = self.moments["obs"].device
        entropy = int(np.random.SeedSequence().generate_state(1)[0])
        self.key = dice.keys(entropy, "dream", num_envs).to(self.device)
        self.over = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self.time = torch.zeros(num_envs, dtype=torch.int64, device=self.device)
        self.state: Memory = {}

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        every = np.ones(self.num_envs, np.bool_)
        mask = torch.as_tensor((options or {}).get("reset_mask", every)).to(self.device)
        seeds = [None] * self.num_envs if seed is None else seed
        if isinstance(seeds, int):
            seeds = range(seeds, seeds + self.num_envs)
        given = torch.tensor([s is not None for s in seeds], device=self.device)
        fresh = dice.splitmix64(torch.tensor([int(s or 0) for s in seeds])).to(self.device)
        fresh = torch.where(given, fresh, dice.roll(self.key))  # without a seed the dice go on
        self.key = torch.where(mask, fresh, self.key)
        self._begin(mask)
        return self._out(self.state["obs"]), {}

    @torch.no_grad()
    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        born = self.over
        action = torch.as_tensor(actions).to(self.device, torch.int64)
        prediction, self.state = self.predictor.predict(self.state, action)
        self.key = dice.roll(self.key)
        self.time = self.time + 1
        coin = dice.uniform(self.key, 1, COIN)[:, 0]
        terminated = (coin >= prediction.discount) & ~born
        reward = torch.where(born, 0.0, prediction.reward)
        self._begin(born)
        truncated = (self.time >= self.horizon) & ~terminated
        self.over = terminated | truncated
        out = [self._out(x) for x in (self.state["obs"], reward, terminated, truncated)]
        info = {"discount": self._out(1.0 - terminated.float())}
        if not self.tensors:
            info["_discount"] = np.ones(self.num_envs, np.bool_)  # Gymnasium's mask of who has it
        return out[0], out[1], out[2], out[3], info

    def _begin(self, mask: Tensor) -> None:
        """The masked dreams start anew, each from a moment of its dice."""
        moment = dice.integers(self.key, len(self.moments["obs"]), MOMENT)
        fresh = {name: value[moment] for name, value in self.moments.items()}
        if "dice" in fresh:  # a predictor with chance of its own
            fresh["dice"] = dice.roll(dice.splitmix64(self.key))
        state = self.state or fresh
        self.state = {
            name: torch.where(mask.view(-1, *[1] * (value.ndim - 1)), value, state[name])
            for name, value in fresh.items()
        }
        self.time = torch.where(mask, 0, self.time)
        self.over = self.over & ~mask

    def _out(self, x: Tensor) -> Any:
        return x if self.tensors else x.cpu().numpy()
