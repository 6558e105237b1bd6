"""The newest states and actions whose targets are known, in a ring in host memory."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ...envs import prng
from ...envs.errors import UsageError
from ...envs.interface import EnvSpec
from ...world_models.state import HasState


@dataclass(frozen=True, slots=True)
class Targets:
    """States, actions, and the targets of their values."""

    obs: UInt8[Tensor, "B K H W"]
    action: Int64[Tensor, " B"]
    digest: Int64[Tensor, " B"]
    """Identifies the observation."""
    target: Float[Tensor, " B"]


class TargetBuffer(HasState):
    """A ring of up to ``capacity`` states, each with its whole observation.

    Raises UsageError if the observations do not fit in memory.
    """

    STATE = ("count", "rng")
    COLUMNS = ("obs", "action", "digest", "target")

    def __init__(self, spec: EnvSpec, capacity: int, *, seed: int = 0) -> None:
        self.capacity = capacity
        self.count = 0  # states stored so far
        self.rng = prng.initial_rng(seed, prng.Purpose.REPLAY, 1)
        try:  # the system commits host memory when it is first written
            self.obs = torch.empty(capacity, *spec.obs_shape, dtype=torch.uint8)
        except RuntimeError as error:
            raise UsageError(
                f"agent.buffer_size is {capacity}, and the host has too little memory for as many "
                "observations; choose a smaller buffer."
            ) from error
        self.action = torch.zeros(capacity, dtype=torch.int64)
        self.digest = torch.zeros(capacity, dtype=torch.int64)
        self.target = torch.zeros(capacity)

    def __len__(self) -> int:
        """Return the number of states stored."""
        return min(self.count, self.capacity)

    def append(self, batch: Targets) -> None:
        """Store states over the oldest ones."""
        cells = (self.count + torch.arange(len(batch.action))) % self.capacity
        for name in self.COLUMNS:  # of more states than the capacity, the newest
            newest = getattr(batch, name)[-self.capacity :].cpu()
            getattr(self, name)[cells[-self.capacity :]] = newest
        self.count += len(cells)

    def sample(self, batch_size: int, device: torch.device) -> Targets:
        """Sample states uniformly, with replacement."""
        index = prng.randint(prng.bits(self.rng, batch_size, prng.Purpose.SAMPLE)[0], len(self))
        self.rng = prng.next_rng(self.rng)
        return Targets(*(getattr(self, name)[index].to(device) for name in self.COLUMNS))

    def state_dict(self) -> dict[str, Any]:
        columns = {name: getattr(self, name)[: len(self)] for name in self.COLUMNS}
        return super().state_dict() | columns

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        for name in self.COLUMNS:
            getattr(self, name)[: len(self)] = state[name]
