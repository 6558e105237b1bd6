"""Pipeline: envs in groups, so that the policy acts in one while the emulators of others run."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from .batched_env import BatchedEnv
from .interface import TimeStep, concat_timesteps


class Pipeline(BatchedEnv):
    """Several BatchedEnvs as one; the loop sends to and receives from each of ``parts``."""

    def __init__(self, parts: Sequence[BatchedEnv]) -> None:
        self._parts = list(parts)
        self.env, self.device = parts[0].env, parts[0].device
        self.sizes = [part.spec.num_envs for part in parts]
        self.spec = replace(parts[0].spec, num_envs=sum(self.sizes))

    @property
    def parts(self) -> list[BatchedEnv]:
        return self._parts

    def reset(self, seed_index: int = 0) -> TimeStep:
        return concat_timesteps([part.reset(seed_index) for part in self.parts])

    def send(self, action: Int64[Tensor, " N"]) -> None:
        for part, actions in zip(self.parts, torch.split(action, self.sizes), strict=True):
            part.send(actions)

    def receive(self) -> TimeStep:
        return concat_timesteps([part.receive() for part in self.parts])

    def close(self) -> None:
        for part in self.parts:
            part.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of one BatchedEnv of all envs, whatever the number of parts."""
        return join_states([part.state_dict() for part in self.parts])

    def load_state_dict(self, state: dict[str, Any]) -> UInt8[Tensor, "N K H W"]:
        states = split_states(state, self.sizes)
        pairs = zip(self.parts, states, strict=True)
        return torch.cat([part.load_state_dict(own) for part, own in pairs])


def join_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the state of one BatchedEnv of the envs of several, in order."""
    timesteps = max(len(state["action_log"]) for state in states)
    logs = []
    for state in states:  # the logs' ends are aligned
        log = state["action_log"]
        logs.append(torch.cat([log.new_zeros(timesteps - len(log), log.shape[1]), log]))
    joined = {
        name: torch.cat([x[name] for x in states]) for name in states[0] if name != "action_log"
    }
    return joined | {"action_log": torch.cat(logs, 1)}


def split_state(state: dict[str, Any], rows: slice) -> dict[str, Any]:
    """Return the state of some envs of a BatchedEnv."""
    own = {name: x[rows] for name, x in state.items() if name != "action_log"}
    log, timesteps = state["action_log"], int(own["steps_since_seed"].max())
    return own | {"action_log": log[len(log) - timesteps :, rows]}


def split_states(state: dict[str, Any], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Return the states that ``join_states`` joined, of groups of these numbers of envs."""
    ends = zip(accumulate(sizes), sizes, strict=True)
    return [split_state(state, slice(end - size, end)) for end, size in ends]
