"""The rollout buffer of an on-policy agent, and the batches that it learns from."""

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ..envs.errors import UsageError
from ..envs.interface import Carry, EnvSpec, Segment, TimeStep, Transition

TRANSITION_FIELDS = ("action", "reward", "bonus", "discount")
"""Fields of a segment with T columns."""
OBSERVATION_FIELDS = ("obs", "first", "last", "privileged")
"""Fields of a segment with T+1 columns; the last one only where the env has a true state."""


class Rollout:
    """A buffer for ``num_steps`` timesteps of every env, emptied as one segment.

    Rewards of automatic resets are stored as 0. Of a policy's extras it keeps those named in
    ``extras``, and of its carries one every ``carry_every`` timesteps. Raises UsageError if the
    observations do not fit in memory.

    Example::

        from itertools import islice
        from reverie.agents.loop import interact
        from reverie.agents.policies import RandomPolicy
        from reverie.agents.rollout import Rollout
        from reverie.envs.batched_env import BatchedEnv
        from reverie.envs.catch import CatchConfig

        envs = BatchedEnv(CatchConfig().build(8), seed=0)
        rollout = Rollout(envs.spec, num_steps=16)
        for t in islice(interact(envs, RandomPolicy(envs.spec.num_actions)), 16):
            rollout.append(t)
        segment = rollout.pop()  # actions [8, 16], observations [8, 17, ...]
    """

    def __init__(
        self,
        spec: EnvSpec,
        num_steps: int,
        *,
        extras: tuple[str, ...] = (),
        carry_every: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        n, t = spec.num_envs, num_steps
        self.num_steps, self.device, self.length = num_steps, torch.device(device), 0
        self.carry_every = carry_every or num_steps
        try:
            obs = torch.zeros(n, t + 1, *spec.obs_shape, dtype=torch.uint8, device=device)
        except RuntimeError as error:
            raise UsageError(
                f"agent.num_steps is {num_steps}, and the observations of {n} envs do not fit in "
                f"the memory of {device}; lower --agent.num_steps or --num-envs."
            ) from error
        reward, bonus, discount = torch.zeros(3, n, t, device=device)
        first, last = torch.zeros(2, n, t + 1, dtype=torch.bool, device=device)
        self.columns: dict[str, Tensor] = {
            "obs": obs,
            "action": torch.zeros(n, t, dtype=torch.int64, device=device),
            "reward": reward,
            "bonus": bonus,
            "discount": discount,
            "first": first,
            "last": last,
        }
        if spec.privileged:
            shape = n, t + 1, len(spec.privileged)
            self.columns["privileged"] = torch.zeros(shape, dtype=torch.uint8, device=device)
        self.extras: dict[str, Tensor | None] = dict.fromkeys(extras)
        self.carries: list[Carry] = []

    def __len__(self) -> int:
        """Return the number of timesteps stored."""
        return self.length

    def append(self, t: Transition) -> None:
        """Store a transition."""
        now, columns = self.length, self.columns
        if now == 0:
            self._store_observation(0, t.step)
        if now % self.carry_every == 0:
            self.carries.append(t.carry)
        columns["action"][:, now] = t.action
        columns["reward"][:, now] = torch.where(t.valid, t.next_step.reward, 0.0)
        columns["bonus"][:, now] = t.bonus
        columns["discount"][:, now] = t.next_step.discount
        for name, column in self.extras.items():
            x = t.extras[name]
            if column is None:
                column = x.new_zeros(len(x), self.num_steps, *x.shape[1:])
                self.extras[name] = column
            column[:, now] = x
        self._store_observation(now + 1, t.next_step)
        self.length += 1

    def _store_observation(self, column: int, step: TimeStep) -> None:
        for name, x in step.columns().items():
            if name in OBSERVATION_FIELDS:
                self.columns[name][:, column] = x

    def pop(self) -> Segment:
        """Empty the full buffer and return its segment, which the next ``append`` overwrites.

        The rows of its carry are those of its sequences of ``carry_every`` timesteps.
        """
        (carries, self.carries), self.length = (self.carries, []), 0
        carry = {x: torch.stack([c[x] for c in carries], 1).flatten(0, 1) for x in carries[0]}
        extras = {name: x for name, x in self.extras.items() if x is not None}
        return Segment(**self.columns, carry=carry, extras=extras)

    def state_dict(self) -> dict[str, Any]:
        """Return the timesteps stored."""
        used = dict.fromkeys(TRANSITION_FIELDS, self.length)
        columns = {
            name: x[:, : used.get(name, self.length and self.length + 1)]
            for name, x in self.columns.items()
        }
        extras = {name: x[:, : self.length] for name, x in self.extras.items() if x is not None}
        return {
            "length": self.length,
            "carries": self.carries,
            "columns": columns if self.length else {},
            "extras": extras if self.length else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the timesteps stored."""
        self.length = state["length"]
        self.carries = [
            {name: x.to(self.device) for name, x in carry.items()} for carry in state["carries"]
        ]
        for name, x in state["columns"].items():
            self.columns[name][:, : x.shape[1]] = x
        for name, x in state["extras"].items():
            column = x.new_zeros(len(x), self.num_steps, *x.shape[2:], device=self.device)
            column[:, : x.shape[1]] = x
            self.extras[name] = column


@dataclass(frozen=True, slots=True)
class Batch:
    """Timesteps of a rollout for a loss, one row each; an agent adds columns of its own."""

    obs: UInt8[Tensor, "*n K H W"]
    action: Int64[Tensor, "*n"]
    valid: Bool[Tensor, "*n"]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.action)


B = TypeVar("B", bound=Batch)


@dataclass(frozen=True, slots=True)
class SequenceBatch(Batch):
    """Sequences of T timesteps, with the outputs of the policy and value that collected them.

    Axes before these are those of several batches, one for each of several seeds.
    """

    first: Bool[Tensor, "*s B T"]
    decision: Int64[Tensor, "*s B T"]
    """The planner's."""
    log_prob: Float[Tensor, "*s B T"]
    """Of action and decision together, in nats."""
    value: Float[Tensor, "*s B T"]
    advantage: Float[Tensor, "*s B T"]
    carry: Carry
    """Before the first timestep of each sequence."""
    privileged: UInt8[Tensor, "*s B T P"] | None = None
    """The bytes of the true state that the planner reads; None if it reads none."""
    int_value: Float[Tensor, "*s B T"] | None = None
    """The value of the bonuses; None where one value is that of rewards and bonuses."""
    int_advantage: Float[Tensor, "*s B T"] | None = None

    @property
    def returns(self) -> Float[Tensor, "*s B T"]:
        """Targets of the value."""
        return self.advantage + self.value


def select(batch: B, rows: Int64[Tensor, " b"]) -> B:
    """Return the given rows of a batch, with observations in channels-last memory format."""
    columns = {x.name: y for x in fields(batch) if (y := getattr(batch, x.name)) is not None}
    # Each row is copied as a whole; indexing copies channels-last observations byte by byte.
    obs = columns.pop("obs").movedim(-3, -1).index_select(0, rows).movedim(-1, -3)
    for name, x in columns.items():
        columns[name] = x[rows] if isinstance(x, Tensor) else {k: y[rows] for k, y in x.items()}
    return replace(batch, obs=obs, **columns)


def split_sequences(x: Tensor, length: int) -> Tensor:
    """Reshape [B, T, ...] to sequences of ``length`` timesteps, [B * T / length, length, ...]."""
    return x.reshape(-1, length, *x.shape[2:])
