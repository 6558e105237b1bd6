"""Dynamics: an env as a function of a state, an action and a seed.

A snapshot is the state of one env as bytes, without its random generator. What follows it is a
function of the action and of a seed, so that chance can be drawn anew: whoever steps a snapshot
does not learn what the env itself will draw.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int64, UInt8
from numpy.typing import NDArray

from .errors import UsageError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows B states."""

    snapshot: UInt8[Array, "B S"]
    frame: UInt8[Array, "B C H W"]
    """The newest frame of the next observation."""
    reward: Float[Array, " B"]
    discount: Float[Array, " B"]
    """0 after a death or a counted lost life, else 1."""
    last: Bool[Array, " B"]
    """Whether the episode ends, by death or by a time-out."""
    privileged: UInt8[Array, "B P"] | None = None
    """The true state, where the env offers it."""


@runtime_checkable
class Dynamics(Protocol):
    """The transition function of an env.

    Example::

        import numpy as np
        from reverie.envs.catch import CatchConfig

        env = CatchConfig().build(8)
        dynamics = env.dynamics()
        env.reset(seed=0)
        action, seed = np.ones(8, np.int64), np.arange(8)
        outcome = dynamics.step(env.snapshots(), action, seed)  # env has not moved
        outcome = dynamics.step(outcome.snapshot, action, seed)
    """

    snapshot_size: int
    """S: bytes of a snapshot."""

    def step(
        self,
        snapshot: UInt8[Array, "B S"],
        action: Int64[Array, " B"],
        seed: Int64[Array, " B"],
    ) -> Outcome:
        """Return what follows each state; seeds are 0 or more.

        After the end of an episode this is the first observation of the next one, as in the env.
        """


@runtime_checkable
class HasDynamics(Protocol):
    """A vector environment whose envs can be cloned, and stepped apart from it."""

    def dynamics(self) -> Dynamics:
        """Return the dynamics of its envs, to be called before the first reset."""

    def snapshots(self) -> UInt8[Array, "N S"]:
        """Return the present states; valid until the next step."""


def no_snapshots(
    part: str,
    env: str = "this env",
    instead: str = "a learned predictor, such as agent.predictor:tiny-mlp",
) -> UsageError:
    """Return the error of a part that starts from snapshots, in an env that offers none."""
    return UsageError(
        f"{part} starts from snapshots of the env, and {env} offers none; choose {instead}, or an "
        "env that offers them, such as env:catch, env:minatar or env:atari."
    )
