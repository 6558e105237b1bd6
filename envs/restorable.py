"""Envs that return to snapshots: an episode starts from any state that was visited before.

A snapshot holds the state of an env, its observation and its true state, so that the first time
step after a return is the visited one. All envs start from one state.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from jaxtyping import Int64, UInt8
from torch import Tensor

from . import prng
from .batched_env import Array, BatchedEnv
from .dynamics import Dynamics, HasDynamics, Outcome, no_snapshots
from .interface import EnvSpec, TimeStep
from .transfer import timestep_from_arrays


class ObservedDynamics:
    """The dynamics of states that hold their observation and true state, until episodes end."""

    def __init__(self, dynamics: Dynamics, spec: EnvSpec) -> None:
        self.dynamics, self.spec = dynamics, spec
        self._ends = np.cumsum([dynamics.snapshot_size, math.prod(spec.obs_shape)])
        self.snapshot_size = int(self._ends[-1]) + len(spec.privileged)

    def split(
        self, snapshot: UInt8[Array, "B S"]
    ) -> tuple[UInt8[Array, "B S0"], UInt8[Array, "B K H W"], UInt8[Array, "B P"]]:
        """Return the states, the observations and the true states of snapshots."""
        state, obs, privileged = np.split(snapshot, self._ends, 1)
        return state, obs.reshape(-1, *self.spec.obs_shape), privileged

    def join(
        self, state: UInt8[Array, "B S0"], obs: UInt8[Array, "B K H W"], privileged: Array | None
    ) -> UInt8[Array, "B S"]:
        """Return snapshots of states, observations and true states."""
        parts = [state, obs.reshape(len(obs), -1)]
        if self.spec.privileged:
            parts.append(np.asarray(privileged, np.uint8))
        return np.concatenate(parts, 1)

    def step(
        self,
        snapshot: UInt8[Array, "B S"],
        action: Int64[Array, " B"],
        seed: Int64[Array, " B"],
    ) -> Outcome:
        state, obs, _ = self.split(snapshot)
        outcome = self.dynamics.step(state, action, seed)
        obs = np.concatenate([obs[:, self.spec.channels :], outcome.frame], 1)
        return replace(outcome, snapshot=self.join(outcome.snapshot, obs, outcome.privileged))


class RestorableEnvs(BatchedEnv):
    """N envs, stepped as dynamics, whose episodes start from the snapshots that the policy names.

    ``env`` is one copy of the environment. An episode ends as in it, at a discount of 0 (a lost
    life, if the protocol counts it), or ``episode_steps`` steps after its start, with discount 1.
    At the end of one the policy may name the snapshot that the next one starts from (see
    ``return_to``); otherwise it starts from the state of the first reset. A return is a timestep
    without action, as a reset is, and is counted as a step. Chance is a function of the seed, the
    env and the timestep. Raises UsageError for an environment without snapshots.

    Example::

        import torch
        from reverie.envs.catch import CatchConfig
        from reverie.envs.restorable import RestorableEnvs

        envs = RestorableEnvs(CatchConfig().build(1), num_envs=2, episode_steps=3)
        start, stay = envs.reset(), torch.ones(2, dtype=torch.int64)
        for _ in range(3):
            step = envs.step(stay)
        assert step.last.all()
        envs.return_to(torch.tensor([0]), start.snapshot[:1])
        step = envs.step(stay)
        assert step.first.all() and (step.obs == start.obs).all()
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        *,
        num_envs: int,
        episode_steps: int,
        part: str = "The policy",
        **settings: Any,
    ) -> None:
        super().__init__(env, **settings)
        if not isinstance(env, HasDynamics):
            name = getattr(env.spec, "id", type(env.unwrapped).__name__)
            raise no_snapshots(part, name, "another agent, such as agent:dqn")
        self.episode_steps = episode_steps
        self._dynamics = ObservedDynamics(env.dynamics(), self.spec)
        self.spec = replace(self.spec, num_envs=num_envs, dynamics=self._dynamics)
        self.seed_index = torch.zeros(num_envs, dtype=torch.int64)
        self._start = np.zeros((1, self._dynamics.snapshot_size), np.uint8)
        self._snapshot = np.repeat(self._start, num_envs, 0)
        self._next = self._snapshot.copy()  # where an episode that has ended starts again
        self._steps, self._age = np.zeros((2, num_envs), np.int64)
        self._last = np.zeros(num_envs, np.bool_)
        self._actions = np.zeros(num_envs, np.int64)

    def reset(self, seed_index: int = 0) -> TimeStep:
        n = self.spec.num_envs
        self._read_start(seed_index)
        self._snapshot, self._next = (np.repeat(self._start, n, 0) for _ in range(2))
        self._steps, self._age = np.zeros((2, n), np.int64)
        self._last = np.zeros(n, np.bool_)
        return self._timestep(np.zeros(n), np.ones(n, np.float32), ~self._last)

    def _read_start(self, seed_index: int) -> None:
        """Set the state that episodes start from: that of env 0 after a reset with its seed."""
        self.seed_index.fill_(seed_index)
        obs, info = self.env.reset(seed=self.emulator_seeds()[0])
        images = self._observations.read(obs, first=np.ones(1, np.bool_), timestep=0)
        state = self.env.snapshots()  # type: ignore[attr-defined]
        self._start = self._dynamics.join(state, images, info.get("privileged"))

    def return_to(self, env: Int64[Tensor, " M"], snapshot: UInt8[Tensor, "M S"]) -> None:
        self._next[env.cpu().numpy()] = snapshot.cpu().numpy()

    def send(self, action: Int64[Tensor, " N"]) -> None:
        self._actions = self.checked_actions(action)

    def receive(self) -> TimeStep:
        n, first = self.spec.num_envs, self._last
        reward, discount = np.zeros(n), np.ones(n, np.float32)
        last = np.zeros(n, np.bool_)
        chance = prng.env_seeds(
            self.seed, self.purpose, torch.from_numpy(self._steps), self.first_env
        )
        rows = np.flatnonzero(~first)
        if len(rows):
            outcome = self._dynamics.step(
                self._snapshot[rows], self._actions[rows], chance.numpy()[rows]
            )
            self._snapshot[rows] = outcome.snapshot
            reward[rows], discount[rows] = outcome.reward, outcome.discount
            last[rows] = outcome.last | (outcome.discount == 0)
        self._steps += 1
        self._age = np.where(first, 0, self._age + 1)
        self._last = last | (self._age == self.episode_steps)
        self._snapshot[first] = self._next[first]
        self._next[first] = self._start
        return self._timestep(reward, discount, first)

    def _timestep(self, reward: Array, discount: Array, first: Array) -> TimeStep:
        _, obs, privileged = self._dynamics.split(self._snapshot)
        columns = {"reward": reward, "discount": discount, "first": first, "last": self._last}
        columns["snapshot"] = self._snapshot
        if self.spec.privileged:
            columns["privileged"] = privileged
        return timestep_from_arrays(obs, columns, self.spec.channels, self.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all envs; nothing is replayed, so that the log of actions is empty.

        Its arrays have a row per env, as those of other envs have.
        """
        n = self.spec.num_envs
        arrays: dict[str, Array] = {
            "snapshot": self._snapshot, "steps": self._steps, "age": self._age,
            "was_last": self._last, "steps_since_seed": np.zeros(n, np.int64),
        }  # fmt: skip
        return {
            **{name: torch.from_numpy(x.copy()) for name, x in arrays.items()},
            "seed_index": self.seed_index.clone(),
            "action_log": torch.zeros(0, n, dtype=torch.int32),
        }

    def load_state_dict(self, state: dict[str, Any]) -> UInt8[Tensor, "N K H W"]:
        """Restore the states of all envs, and return their observations."""
        if state["snapshot"].shape != self._snapshot.shape:
            raise ValueError(f"its snapshots are not of {self.spec.num_envs} of these envs")
        self._read_start(int(state["seed_index"][0]))
        self._snapshot, self._steps, self._age, self._last = (
            state[name].numpy().copy() for name in ("snapshot", "steps", "age", "was_last")
        )
        self._next = np.repeat(self._start, self.spec.num_envs, 0)
        obs: Array = self._dynamics.split(self._snapshot)[1]
        return torch.from_numpy(obs.copy())
