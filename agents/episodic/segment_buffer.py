"""The newest observations of an agent, and the segments of its play that begin with them."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ...envs.errors import UsageError
from ...envs.interface import EnvSpec, Segment, Transition
from ...envs.transfer import columns_to_host


class SegmentBuffer:
    """A ring of ``capacity`` observations of all envs, in host memory.

    For segments of one observation each (``length`` 0) it keeps nothing else, and no reset steps;
    for longer ones every timestep of all envs, with its action, reward and ends of episodes. Raises
    UsageError, which names the ``setting``, if the capacity is too small for a segment.
    """

    def __init__(
        self, spec: EnvSpec, capacity: int, length: int, *, setting: str = "agent.fit_after"
    ) -> None:
        self.capacity, self.length, self.num_envs = capacity, length, spec.num_envs
        self.least = (length + 2) * spec.num_envs if length else 1
        """Observations that hold a segment: of two successive timesteps, one is no reset step."""
        if 0 < capacity < self.least:
            raise UsageError(
                f"{setting} is {capacity}, too few observations of {spec.num_envs} envs for "
                f"segments of {length} timesteps; it must be {self.least} or more."
            )
        self.count = 0  # observations stored so far
        self.frames = torch.empty(capacity, *spec.obs_shape, dtype=torch.uint8)
        self.timesteps: dict[str, Tensor] = {}
        """The columns of the timesteps, [capacity] each; none for segments of one observation."""
        if length:
            self.timesteps = {
                "action": torch.zeros(capacity, dtype=torch.int64),
                "reward": torch.zeros(capacity),
                "discount": torch.zeros(capacity),
                "first": torch.zeros(capacity, dtype=torch.bool),
                "last": torch.zeros(capacity, dtype=torch.bool),
            }

    def __len__(self) -> int:
        """Return the number of observations stored."""
        return min(self.count, len(self.frames))

    @property
    def is_constant(self) -> bool:
        """Whether all observations are equal."""
        parts = self.frames[: len(self)].split(1024)  # the comparison takes as much memory as one
        return all(bool((part == self.frames[0]).all()) for part in parts)

    def append(self, t: Transition) -> int:
        """Store a timestep of all envs over the oldest one; return how many observations it has."""
        obs = t.step.obs if self.length else t.step.obs[t.valid]
        cells = (self.count + torch.arange(len(obs))) % self.capacity
        self.frames[cells] = obs.cpu()
        if self.timesteps:
            step, end = t.step, t.next_step
            columns = columns_to_host(t.action, end.reward, end.discount, step.first, step.last)
            for store, column in zip(self.timesteps.values(), columns, strict=True):
                store[cells] = column.to(store.dtype)
        self.count += len(obs)
        return len(obs)

    def sample(self, uniforms: Float[Tensor, " B"]) -> Segment:
        """Return the segments at these uniform numbers in 0..1, of all that can be returned.

        A segment begins at no reset step. ``last`` is set from its episode's end on.
        """
        if not self.length:
            return Segment.of_observations(self.frames[(uniforms * len(self)).long()])
        starts = self._starts()
        start = starts[(uniforms * len(starts)).long()]
        ahead = self.num_envs * torch.arange(self.length + 1)
        cells = (start[:, None] + ahead) % self.capacity
        columns = {name: x[cells] for name, x in self.timesteps.items()}
        first, last = columns.pop("first"), columns.pop("last").cumsum(1) > 0
        action, reward, discount = (x[:, :-1] for x in columns.values())
        bonus = torch.zeros_like(reward)
        return Segment(action, self.frames[cells], reward, bonus, discount, first, last)

    def clear(self) -> None:
        """Free the memory; nothing can be stored afterwards."""
        self.frames = self.frames[:0].clone()
        self.timesteps = {name: x[:0].clone() for name, x in self.timesteps.items()}

    def _starts(self) -> Int64[Tensor, " M"]:
        """Return the cells at which a segment can begin."""
        starts = ~self.timesteps["last"][: len(self)]
        newest = self.count - 1 - torch.arange(self.length * self.num_envs)
        starts[newest % self.capacity] = False  # whose segments are not complete
        return starts.nonzero()[:, 0]

    def state_dict(self) -> dict[str, Any]:
        """Return the stored rows; ``count`` is its owner's to keep."""
        state: dict[str, Any] = {"frames": self.frames[: len(self)]}
        if self.timesteps:
            state["timesteps"] = {name: x[: len(self)] for name, x in self.timesteps.items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the stored rows, if the state has them."""
        if "frames" in state:
            self.frames[: len(state["frames"])] = state["frames"]
            for name, x in self.timesteps.items():
                x[: len(state["frames"])] = state["timesteps"][name]
