"""Rollout: a segment in the making, one lane a stream, on the device of who learns from it."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from envs.errors import UsageError
from envs.interface import EnvSpec, Memory, Segment, Step, Transition

DEEDS = ("action", "reward", "bonus", "discount")  # T of them in a segment,
LOOKS = ("obs", "first", "last")  # and one more of these


class Rollout:
    """Room for ``horizon`` ticks of every stream; taken out whole, then filled again.

    On reset ticks the reward is 0, whatever the world says.
    """

    def __init__(self, spec: EnvSpec, horizon: int, *, device: torch.device | str = "cpu") -> None:
        n, t = spec.num_envs, horizon
        self.held = 0
        try:
            self.obs = torch.zeros(n, t + 1, *spec.obs_shape, dtype=torch.uint8, device=device)
        except RuntimeError as error:
            raise UsageError(
                f"agent.horizon is {horizon}, and {device} has no memory for so many looks of "
                f"{n} streams; choose fewer of either."
            ) from error
        self.action = torch.zeros(n, t, dtype=torch.int64, device=device)
        self.reward, self.bonus, self.discount = torch.zeros(3, n, t, device=device)
        self.first, self.last = torch.zeros(2, n, t + 1, dtype=torch.bool, device=device)
        self.memory: Memory = {}

    def __len__(self) -> int:
        """Ticks held."""
        return self.held

    def append(self, t: Transition) -> None:
        """Add a tick; the policy's memory is kept of the first alone."""
        now = self.held
        if now == 0:
            self.memory = t.memory
            self._look(0, t.step)
        self.action[:, now] = t.action
        self.reward[:, now] = torch.where(t.valid, t.next_step.reward, 0.0)
        self.bonus[:, now] = t.bonus
        self.discount[:, now] = t.next_step.discount
        self._look(now + 1, t.next_step)
        self.held += 1

    def _look(self, at: int, step: Step) -> None:
        for name in LOOKS:
            getattr(self, name)[:, at] = getattr(step, name)

    def take(self) -> Segment:
        """The full segment, until the next tick is added: from then on it is written over."""
        (memory, self.memory), self.held = (self.memory, {}), 0
        return Segment(**{name: getattr(self, name) for name in DEEDS + LOOKS}, memory=memory)

    def state_dict(self) -> dict[str, Any]:
        """The ticks held, as plain tensors."""
        looks = self.held and self.held + 1
        return (
            {"held": self.held, "memory": self.memory}
            | {name: getattr(self, name)[:, : self.held] for name in DEEDS}
            | {name: getattr(self, name)[:, :looks] for name in LOOKS}
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.held = state["held"]
        self.memory = {name: x.to(self.obs.device) for name, x in state["memory"].items()}
        for name in DEEDS + LOOKS:
            getattr(self, name)[:, : state[name].shape[1]] = state[name]


ROWS = ("obs", "first", "valid", "action", "choice", "log_prob", "value", "advantage")  # of a batch


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to learn from, with what policy and value said of them before learning."""

    obs: UInt8[Tensor, "B T K H W"]
    first: Bool[Tensor, "B T"]
    valid: Bool[Tensor, "B T"]
    action: Int64[Tensor, "B T"]
    choice: Int64[Tensor, "B T"]
    log_prob: Float[Tensor, "B T"]
    value: Float[Tensor, "B T"]
    advantage: Float[Tensor, "B T"]
    memory: Memory


def take(batch: Batch, rows: Int64[Tensor, " b"]) -> Batch:
    """Some of a batch's rows."""
    memory = {name: x[rows] for name, x in batch.memory.items()}
    return Batch(**{name: getattr(batch, name)[rows] for name in ROWS}, memory=memory)


def as_pieces(x: Tensor, length: int) -> Tensor:
    """[B, T, ...] as rows of ``length`` ticks, [B * T / length, length, ...]."""
    return x.reshape(-1, length, *x.shape[2:])
