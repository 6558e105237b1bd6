"""The vocabulary every part speaks: steps, transitions, segments, and what a world is.

Axes, fixed once: N streams, B batch, T time, K stacked channels (frames x colours, oldest first,
colours innermost), H, W, A actions, D features, S samples. Batch-major ``[B, T, ...]``.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, runtime_checkable

import torch
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from envs.errors import UsageError as UsageError

Memory = dict[str, Tensor]
"""Recurrent state of a policy or model: every value has a leading stream axis."""

Metrics = dict[str, Tensor | float]
"""What a learner reports: tensors stay on the device until a tracker logs them."""


@dataclass(frozen=True, slots=True)
class EnvSpec:
    """What a world offers: how many streams of it, how many actions, and the shape of a look."""

    num_envs: int
    num_actions: int
    obs_shape: tuple[int, int, int]
    """(K, H, W), uint8."""
    colours: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """What the streams say at one tick; ``reward`` and ``discount`` answer the action before.

    Death is ``last`` with discount 0, a time-out is ``last`` with discount 1, a lost life (where a
    protocol says so) is discount 0 without ``last``. The action given on a ``last`` step is
    ignored, and the step after it is ``first``.
    """

    obs: UInt8[Tensor, "N K H W"]
    reward: Float[Tensor, " N"]
    discount: Float[Tensor, " N"]
    first: Bool[Tensor, " N"]
    last: Bool[Tensor, " N"]
    frame: UInt8[Tensor, "N C H W"]
    """The newest frame alone, in host memory; in a dream it stays on the device."""

    def rows(self, chosen: slice | Int64[Tensor, " M"]) -> "Step":
        """Some of the streams."""
        return Step(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def join(steps: list[Step]) -> Step:
    """One tick of streams that came in parts."""
    if len(steps) == 1:
        return steps[0]
    return Step(
        **{field.name: torch.cat([getattr(x, field.name) for x in steps]) for field in fields(Step)}
    )


@dataclass(frozen=True, slots=True)
class Transition:
    """One tick of the loop: what was seen, what was done, what came of it."""

    step: Step
    memory: Memory
    action: Int64[Tensor, " N"]
    next_step: Step
    next_memory: Memory
    bonus: Float[Tensor, " N"]

    @property
    def valid(self) -> Bool[Tensor, " N"]:
        """False on reset ticks, from which nothing is learned."""
        return ~self.step.last

    def with_bonus(self, bonus: Float[Tensor, " N"]) -> "Transition":
        """The same transition with an exploration bonus beside its raw reward."""
        return replace(self, bonus=bonus)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of experience in time; ``memory`` is the policy's at the first step only."""

    action: Int64[Tensor, "B T"]
    obs: UInt8[Tensor, "B T+1 K H W"]
    reward: Float[Tensor, "B T"]
    bonus: Float[Tensor, "B T"]
    discount: Float[Tensor, "B T"]
    first: Bool[Tensor, "B T+1"]
    last: Bool[Tensor, "B T+1"]
    memory: Memory

    @property
    def valid(self) -> Bool[Tensor, "B T"]:
        """False on reset ticks: they keep their place, with weight 0."""
        return ~self.last[:, :-1]


@runtime_checkable
class Stateful(Protocol):
    """Anything a checkpoint holds; states are tensors and plain values, never pickled objects."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


@dataclass(frozen=True)
class EnvConfig:
    """Base of every world's config."""

    def build(self, num_envs: int, *, threads: int = 0) -> VectorEnv[Any, Any, Any]:
        """``num_envs`` streams of this world, with NEXT_STEP autoreset."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """Short name of the world, as in a run's folder: a game, an id."""
        raise NotImplementedError

    def action_names(self, count: int) -> tuple[str, ...]:
        """What its ``count`` actions are called; their numbers where nobody has named them."""
        return tuple(str(action) for action in range(count))

    @property
    def evaluation(self) -> "EnvConfig":
        """The world its agents are evaluated in: itself, where it is not made to train in."""
        return self

    @property
    def frame_skip(self) -> int:
        """Frames an agent step lasts; reports multiply steps by it."""
        return 1

    @property
    def protocol_label(self) -> str:
        """What fixes a score's meaning beside the world itself."""
        return "own"

    @property
    def eval_epsilon(self) -> float:
        """Probability of a random action in evaluation."""
        return 0.0


def step_state(step: Step) -> dict[str, Tensor]:
    """A step as plain tensors, for a checkpoint."""
    return {field.name: getattr(step, field.name).cpu() for field in fields(step)}


def step_from_state(state: dict[str, Tensor], spec: EnvSpec, device: torch.device) -> Step:
    """The inverse of ``step_state``; the newest frame stays on the host.

    Raises ValueError where the state is no step of such streams.
    """
    n, (_, *size) = spec.num_envs, spec.obs_shape
    number, flag = ((n,), torch.float32), ((n,), torch.bool)
    kinds: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "obs": ((n, *spec.obs_shape), torch.uint8),
        "reward": number,
        "discount": number,
        "first": flag,
        "last": flag,
        "frame": ((n, spec.colours, *size), torch.uint8),
    }
    if {name: (tuple(x.shape), x.dtype) for name, x in state.items()} != kinds:
        raise ValueError("its step is of other streams")
    return Step(**{k: v if k == "frame" else v.to(device) for k, v in state.items()})
