"""The rollout buffer of an on-policy agent, and the batch of sequences that it learns from."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ..envs.errors import UsageError
from ..envs.interface import Carry, EnvSpec, Segment, TimeStep, Transition

TRANSITION_FIELDS = ("action", "reward", "bonus", "discount")
"""Fields of a segment with T columns."""
OBSERVATION_FIELDS = ("obs", "first", "last")
"""Fields of a segment with T+1 columns."""


class Rollout:
    """A buffer for ``num_steps`` timesteps of every env, emptied as one segment.

    Rewards of automatic resets are stored as 0.
    """

    def __init__(
        self, spec: EnvSpec, num_steps: int, *, device: torch.device | str = "cpu"
    ) -> None:
        n, t = spec.num_envs, num_steps
        self.length = 0
        try:
            self.obs = torch.zeros(n, t + 1, *spec.obs_shape, dtype=torch.uint8, device=device)
        except RuntimeError as error:
            raise UsageError(
                f"agent.num_steps is {num_steps}, and the observations of {n} envs do not fit in "
                f"the memory of {device}; lower --agent.num_steps or --num-envs."
            ) from error
        self.action = torch.zeros(n, t, dtype=torch.int64, device=device)
        self.reward, self.bonus, self.discount = torch.zeros(3, n, t, device=device)
        self.first, self.last = torch.zeros(2, n, t + 1, dtype=torch.bool, device=device)
        self.carry: Carry = {}

    def __len__(self) -> int:
        """Return the number of timesteps stored."""
        return self.length

    def append(self, t: Transition) -> None:
        """Store a transition; of the carries only the first is kept."""
        now = self.length
        if now == 0:
            self.carry = t.carry
            self._store_observation(0, t.step)
        self.action[:, now] = t.action
        self.reward[:, now] = torch.where(t.valid, t.next_step.reward, 0.0)
        self.bonus[:, now] = t.bonus
        self.discount[:, now] = t.next_step.discount
        self._store_observation(now + 1, t.next_step)
        self.length += 1

    def _store_observation(self, column: int, step: TimeStep) -> None:
        for name in OBSERVATION_FIELDS:
            getattr(self, name)[:, column] = getattr(step, name)

    def pop(self) -> Segment:
        """Empty the full buffer and return its segment, which the next ``append`` overwrites."""
        (carry, self.carry), self.length = (self.carry, {}), 0
        names = TRANSITION_FIELDS + OBSERVATION_FIELDS
        return Segment(**{name: getattr(self, name) for name in names}, carry=carry)

    def state_dict(self) -> dict[str, Any]:
        """Return the timesteps stored."""
        observations = self.length and self.length + 1
        return (
            {"length": self.length, "carry": self.carry}
            | {name: getattr(self, name)[:, : self.length] for name in TRANSITION_FIELDS}
            | {name: getattr(self, name)[:, :observations] for name in OBSERVATION_FIELDS}
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.length = state["length"]
        self.carry = {name: x.to(self.obs.device) for name, x in state["carry"].items()}
        for name in TRANSITION_FIELDS + OBSERVATION_FIELDS:
            getattr(self, name)[:, : state[name].shape[1]] = state[name]


BATCH_FIELDS = ("obs", "first", "valid", "action", "decision", "log_prob", "value", "advantage")


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences of T timesteps, with the outputs of the policy and value that collected them."""

    obs: UInt8[Tensor, "B T K H W"]
    first: Bool[Tensor, "B T"]
    valid: Bool[Tensor, "B T"]
    action: Int64[Tensor, "B T"]
    decision: Int64[Tensor, "B T"]
    """The planner's."""
    log_prob: Float[Tensor, "B T"]
    """Of action and decision together, in nats."""
    value: Float[Tensor, "B T"]
    advantage: Float[Tensor, "B T"]
    carry: Carry
    """Before the first timestep of each sequence."""

    @property
    def returns(self) -> Float[Tensor, "B T"]:
        """Targets of the value."""
        return self.advantage + self.value


def select(batch: Batch, rows: Int64[Tensor, " b"]) -> Batch:
    """Return the given rows of a batch."""
    carry = {name: x[rows] for name, x in batch.carry.items()}
    return Batch(**{name: getattr(batch, name)[rows] for name in BATCH_FIELDS}, carry=carry)


def split_sequences(x: Tensor, length: int) -> Tensor:
    """Reshape [B, T, ...] to sequences of ``length`` timesteps, [B * T / length, length, ...]."""
    return x.reshape(-1, length, *x.shape[2:])
