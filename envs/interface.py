"""Types shared by all roles: time steps, transitions, segments, and the config of an environment.

Axes: N envs, B batch, T time, K stacked channels (frames x channels, oldest first, channels
innermost), H, W, A actions, D features, S samples or
bytes of a snapshot, F context frames, P bytes of the true state. Batch-major ``[B, T, ...]``.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor

from .dynamics import Dynamics
from .errors import UsageError as UsageError

Carry = dict[str, Tensor]
"""Recurrent state of a policy, planner or model; the first axis of every tensor is the env."""

Extras = dict[str, Tensor]
"""What a policy hands to ``learn`` and to displays beside its action; the first axis is the env."""

Padding = Literal["zero", "first", "stored"]
"""What precedes an episode's first frame in a stack of frames: zeros, the first frame, or what
cannot be rebuilt, so that observations are stored whole."""

DISCOUNT = "reverie/discount"
"""Key of ``info`` under which an environment of this package returns discounts, [N]; without it a
discount is 0 where an episode terminated, else 1."""

Metrics = dict[str, Tensor | float]
"""Metrics of a learner; tensors stay on their device until a tracker logs them."""


@dataclass(frozen=True, slots=True)
class EnvSpec:
    """Numbers of envs and actions, and the shape of an observation."""

    num_envs: int
    num_actions: int
    obs_shape: tuple[int, int, int]
    """(K, H, W), uint8."""
    channels: int = 1
    """Channels of one frame."""
    padding: Padding = "zero"
    privileged: tuple[str, ...] = ()
    """Names of the bytes of ``TimeStep.privileged``; empty without a true state."""
    planes: bool = False
    """Whether the channels of a frame are planes, each on (255) or off (0) in a pixel."""
    dynamics: Dynamics | None = field(default=None, compare=False)
    """What steps the snapshots of ``TimeStep.snapshot``; None without snapshots."""

    @property
    def stack(self) -> int:
        """Frames per observation."""
        return self.obs_shape[0] // self.channels

    @property
    def stored_channels(self) -> int:
        """Channels that a store keeps of each observation.

        Those of its newest frame, or all where its older frames cannot be rebuilt.
        """
        return self.obs_shape[0] if self.padding == "stored" else self.channels


@dataclass(frozen=True, slots=True)
class TimeStep:
    """Observations of N envs at one timestep, with the results of the actions before.

    A terminal step is ``last`` with discount 0, a truncated one ``last`` with discount 1; a lost
    life (if the protocol counts it) has discount 0 and is not ``last``. Autoreset is Gymnasium's
    NEXT_STEP: the action given on a ``last`` step is ignored, and the next step is ``first``.
    """

    obs: UInt8[Tensor, "N K H W"]
    reward: Float64[Tensor, " N"]
    """Raw, in float64, so that scores are exact sums."""
    discount: Float[Tensor, " N"]
    """0 after a death or a counted lost life, else 1; an agent multiplies it by its own gamma."""
    first: Bool[Tensor, " N"]
    """The observation begins an episode."""
    last: Bool[Tensor, " N"]
    """The observation ends an episode, by death or by a time-out."""
    frame: UInt8[Tensor, "N C H W"]
    """The newest frame of ``obs``, in host memory; a predictor's frames stay on its device."""
    privileged: UInt8[Tensor, "N P"] | None = None
    """The true state where the env offers it, for references and probes alone."""
    snapshot: UInt8[Tensor, "N S"] | None = None
    """The whole state, for ``EnvSpec.dynamics``, where a part asks for it."""

    def columns(self) -> dict[str, Tensor]:
        """Return the fields by name, without those that are None."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: x for name, x in columns.items() if x is not None}

    def state_image(self, columns: list[int]) -> UInt8[Tensor, "N 1 1 P"]:
        """Return bytes of the true state as images of one row; the env must offer it."""
        assert self.privileged is not None
        return self.privileged[:, None, None, columns]

    def select(self, index: slice | Int64[Tensor, " M"]) -> "TimeStep":
        """Return the time step of the indexed envs."""
        return TimeStep(**{name: x[index] for name, x in self.columns().items()})


def concat_timesteps(steps: list[TimeStep]) -> TimeStep:
    """Concatenate the time steps of several groups of envs."""
    if len(steps) == 1:
        return steps[0]
    columns = [step.columns() for step in steps]
    return TimeStep(**{name: torch.cat([x[name] for x in columns]) for name in columns[0]})


@dataclass(frozen=True, slots=True)
class Transition:
    """One timestep of the loop: two successive time steps, and the action between them."""

    step: TimeStep
    carry: Carry
    """The policy's before ``step``."""
    action: Int64[Tensor, " N"]
    extras: Extras
    """What the policy handed over beside the action; see ``ActOutput``."""
    next_step: TimeStep
    next_carry: Carry
    """The policy's after ``step``, from which it acts at ``next_step``."""
    bonus: Float[Tensor, " N"]
    """Exploration bonus, beside the raw reward of ``next_step``."""

    @property
    def valid(self) -> Bool[Tensor, " N"]:
        """False on reset steps, from which nothing is learned."""
        return ~self.step.last

    def with_bonus(self, bonus: Float[Tensor, " N"]) -> "Transition":
        """Return the same transition with this exploration bonus."""
        return replace(self, bonus=bonus)


@dataclass(frozen=True, slots=True)
class Segment:
    """A batch of T successive transitions; ``carry`` is the policy's at the first step."""

    action: Int64[Tensor, "B T"]
    obs: UInt8[Tensor, "B T+1 K H W"]
    reward: Float[Tensor, "B T"]
    """Of each action, at its next timestep; 0 on reset steps."""
    bonus: Float[Tensor, "B T"]
    discount: Float[Tensor, "B T"]
    """Of each action, at its next timestep."""
    first: Bool[Tensor, "B T+1"]
    last: Bool[Tensor, "B T+1"]
    privileged: UInt8[Tensor, "B T+1 P"] | None = None
    snapshot: UInt8[Tensor, "B T+1 S"] | None = None
    carry: Carry = field(default_factory=dict)
    extras: Extras = field(default_factory=dict)
    """What the policy handed over with each action, [B, T, ...]."""

    @classmethod
    def of_observations(cls, obs: UInt8[Tensor, "B K H W"]) -> "Segment":
        """Return segments of one observation each, T = 0, which have no action."""
        none, no = obs.new_zeros(len(obs), 0), obs.new_zeros(len(obs), 1, dtype=torch.bool)
        zeros = none.float()
        return cls(none.long(), obs[:, None], zeros, zeros, zeros, first=no, last=no)

    def without_last_timestep(self) -> "Segment":
        """Return the segment that ends one timestep earlier."""
        columns = {x.name: getattr(self, x.name) for x in fields(self)}
        shorter: dict[str, Any] = {
            name: x[:, :-1] for name, x in columns.items() if isinstance(x, Tensor)
        }
        return replace(self, extras={k: x[:, :-1] for k, x in self.extras.items()}, **shorter)

    def select(self, rows: slice) -> "Segment":
        """Return the segments at these rows of the batch."""
        columns = {x.name: getattr(self, x.name) for x in fields(self)}
        selected: dict[str, Any] = {
            name: x[rows] if isinstance(x, Tensor) else {k: y[rows] for k, y in x.items()}
            for name, x in columns.items()
            if x is not None
        }
        return replace(self, **selected)

    @property
    def valid(self) -> Bool[Tensor, "B T"]:
        """False on reset steps, which stay in the segment with weight 0."""
        return ~self.last[:, :-1]


@runtime_checkable
class Stateful(Protocol):
    """Part of a checkpoint; its state is tensors and plain values, never pickled objects."""

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` restores: tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Restore the state that ``state_dict`` returned."""


@dataclass(frozen=True)
class EnvConfig:
    """Base of every environment's config; raises UsageError for a setting out of its range."""

    def build(
        self, num_envs: int, *, threads: int = 0, privileged: bool = False
    ) -> VectorEnv[Any, Any, Any]:
        """Create ``num_envs`` copies of the environment, with NEXT_STEP autoreset.

        ``threads`` is the number of emulator threads; 0 lets the environment choose. An
        environment that offers its true state names the bytes in ``privileged_names`` and returns
        them as ``info["privileged"]``, uint8 [N, P]; one for which that is expensive does so only
        if ``privileged`` is set.
        """
        raise NotImplementedError

    @property
    def env_name(self) -> str:
        """Short name of the environment for folders and tables: a game, an id."""
        raise NotImplementedError

    @property
    def suite(self) -> str:
        """Name of the benchmark that ``env_name`` belongs to, such as atari; empty for none."""
        return ""

    def action_names(self, count: int) -> tuple[str, ...]:
        """Return the names of the ``count`` actions; by default their indices."""
        return tuple(str(action) for action in range(count))

    @property
    def eval_env(self) -> "EnvConfig":
        """Config of the environment for evaluation; by default the same as for training."""
        return self

    @property
    def frame_skip(self) -> int:
        """Frames per agent step; reports multiply agent steps by it."""
        return 1

    @property
    def protocol_label(self) -> str:
        """Label of the protocol that fixes a score's meaning, printed beside every score."""
        return "own"

    @property
    def eval_epsilon(self) -> float:
        """Probability of a random action in evaluation."""
        return 0.0


def timestep_state(step: TimeStep) -> dict[str, Tensor]:
    """Return the fields of a time step as tensors on the host, for a checkpoint."""
    return {name: x.cpu() for name, x in step.columns().items()}


def timestep_from_state(state: dict[str, Tensor], spec: EnvSpec, device: torch.device) -> TimeStep:
    """Restore a time step from ``timestep_state``; its newest frame stays on the host.

    Raises ValueError if shapes or dtypes do not match the spec.
    """
    n, (_, *size) = spec.num_envs, spec.obs_shape
    flag = (n,), torch.bool
    expected: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "obs": ((n, *spec.obs_shape), torch.uint8),
        "reward": ((n,), torch.float64),
        "discount": ((n,), torch.float32),
        "first": flag,
        "last": flag,
        "frame": ((n, spec.channels, *size), torch.uint8),
    }
    if spec.privileged:
        expected["privileged"] = ((n, len(spec.privileged)), torch.uint8)
    if spec.dynamics:
        expected["snapshot"] = ((n, spec.dynamics.snapshot_size), torch.uint8)
    if {name: (tuple(x.shape), x.dtype) for name, x in state.items()} != expected:
        raise ValueError(f"its time step is not of {n} envs with observations {spec.obs_shape}")
    return TimeStep(**{k: v if k == "frame" else v.to(device) for k, v in state.items()})
