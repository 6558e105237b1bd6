"""Episodes: what recordings and the files of other projects are read as, and written from.

An episode of T actions has T + 1 frames. A recording stores rows, timestep by timestep of all its
envs, with NEXT_STEP autoreset: the action at an episode's last frame is ignored, and leads to the
first frame of the next episode with reward 0 and discount 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, UInt8
from numpy.typing import NDArray

from ..datasets.dataset import Recording
from ..datasets.writer import Manifest

Array = NDArray[Any]


@dataclass(frozen=True)
class Episode:
    """The frames, the actions and the results of one episode."""

    frames: UInt8[Array, "F C H W"]
    """All its frames, the last one included; F is T + 1."""
    action: Int64[Array, " F"]
    """At every frame; the last one is ignored by the env."""
    reward: Float64[Array, " T"]
    """Of each action but the last."""
    discount: Float32[Array, " T"]
    """Of each action but the last: 0 at a death or a lost life, else 1."""
    ended: bool = True
    """Whether its last frame ends the episode, by death or by a time-out."""
    privileged: UInt8[Array, "F P"] | None = None
    """The true state at every frame."""

    @property
    def terminated(self) -> bool:
        """Whether it ended by death."""
        return self.ended and bool((self.discount[-1:] == 0).any())


@dataclass(frozen=True)
class Source:
    """Episodes of one env, and what is known about them."""

    manifest: Manifest
    """Without shards."""
    episodes: Iterator[Episode]
    """Read one by one; those of a recording env by env."""
    provenance: dict[str, Any]
    """How they were recorded; empty if that is unknown."""
    per_env: tuple[int, ...] = ()
    """Number of episodes of each env of a recording, in which each env has as many frames."""


@dataclass(frozen=True)
class Span:
    """Where an episode is in a recording."""

    env: int
    start: int
    """Timestep of its first frame."""
    length: int
    """Number of actions, T."""
    ended: bool
    total_reward: float

    def rows(self, num_envs: int) -> Int64[Array, " F"]:
        """Return the rows of its frames."""
        return (self.start + np.arange(self.length + 1)) * num_envs + self.env


class Spans:
    """The episodes of a recording's columns, env by env.

    The columns may be of a recording that is not decoded, as for a list.
    """

    def __init__(self, columns: dict[str, Array], num_envs: int) -> None:
        self.num_timesteps = len(columns["first"]) // num_envs
        shape = self.num_timesteps, num_envs
        first, last, reward = (columns[x].reshape(shape) for x in ("first", "last", "reward"))
        self.all: list[Span] = []
        for env in range(num_envs):
            starts = np.flatnonzero(first[:, env]).tolist()
            sums = np.concatenate([[0.0], reward[:, env].astype(np.float64)]).cumsum()
            for start, end in zip(starts, [*starts[1:], self.num_timesteps], strict=True):
                total = float(sums[end - 1] - sums[start])
                self.all.append(Span(env, start, end - 1 - start, bool(last[end - 1, env]), total))

    @cached_property
    def ended(self) -> list[Span]:
        """Those that were recorded to their ends."""
        return [span for span in self.all if span.ended]

    def per_env(self, num_envs: int) -> tuple[int, ...]:
        """Return the number of episodes of each env."""
        return tuple(np.bincount([x.env for x in self.all], minlength=num_envs).tolist())


def spans_of(recording: Recording) -> Spans:
    """Return the episodes of a recording of one folder."""
    columns = {name: x.numpy() for name, x in recording.columns.items()}
    return Spans(columns, recording.manifest.num_envs)


def read_episode(recording: Recording, span: Span) -> Episode:
    """Return an episode of a recording."""
    rows = torch.from_numpy(span.rows(recording.manifest.num_envs))
    columns = {name: x[rows].numpy() for name, x in recording.columns.items()}
    return Episode(
        frames=recording.frames(rows).numpy(),
        action=columns["action"],
        reward=columns["reward"][:-1].astype(np.float64),
        discount=columns["discount"][:-1].astype(np.float32),
        ended=span.ended,
        privileged=columns.get("privileged"),
    )


def mismatch(episode: Episode, manifest: Manifest) -> str:
    """Return what is not as in a recording with this manifest, or an empty text."""
    count, state = len(episode.frames), episode.privileged
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "frames": (episode.frames, (count, *manifest.frame_shape)),
        "actions": (episode.action, (count,)),
        "rewards": (episode.reward, (count - 1,)),
        "discounts": (episode.discount, (count - 1,)),
    }
    if state is not None or manifest.privileged:
        shapes["true states"] = state, (count, len(manifest.privileged))
    for name, (array, shape) in shapes.items():
        if getattr(array, "shape", None) != shape:
            return f"its {name} are no array of the shape {shape}"
    if not ((episode.action >= 0) & (episode.action < manifest.num_actions)).all():
        return f"its actions are not from 0 to {manifest.num_actions - 1}"
    within = (episode.discount >= 0) & (episode.discount <= 1)  # nan is not
    return "" if within.all() else "its discounts are not from 0 to 1"


def rows_of(episode: Episode) -> dict[str, Array]:
    """Return the columns of an episode's rows; the last row's results are those of a reset."""
    edges = np.zeros((2, len(episode.action)), np.bool_)
    edges[0, 0], edges[1, -1] = True, episode.ended
    columns: dict[str, Array] = {
        "action": episode.action,
        "reward": np.append(episode.reward, 0.0),
        "discount": np.append(episode.discount, np.float32(1)),
        "first": edges[0],
        "last": edges[1],
    }
    return columns if episode.privileged is None else columns | {"privileged": episode.privileged}


def envs_of(per_env: Sequence[int]) -> list[int]:
    """Return the env of every episode."""
    return [env for env, count in enumerate(per_env) for _ in range(count)]
