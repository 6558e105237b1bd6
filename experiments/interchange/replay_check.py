"""Recorded actions, played again in the env from the recorded seed: do the frames agree?

Whoever records, `reverie collect` seeds its envs by the recording's seed and records each action,
so that they determine every frame of a deterministic version of the env.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...envs import prng
from ...envs.batched_env import BatchedEnv
from ...envs.errors import UsageError
from ...envs.interface import TimeStep
from ..datasets.dataset import Recording
from ..datasets.writer import frames_to_record
from ..runs.provenance import PACKAGES

COMPARED = ("first", "last", "reward", "discount", "privileged")


@dataclass(frozen=True)
class Mismatch:
    """The first timestep at which an env differs from its recording."""

    timestep: int
    env: int
    episode: int
    """Index of the episode among those of its env."""
    step: int
    """Timestep within the episode."""
    text: str
    """What differs."""

    def __str__(self) -> str:
        return (
            f"env {self.env} differs from its recording at timestep {self.timestep:,}, which is "
            f"step {self.step:,} of its episode {self.episode:,}: {self.text}"
        )


def replay_recording(
    recording: Recording, show: Callable[[int], object] = lambda done: None, *, threads: int = 1
) -> Mismatch | None:
    """Replay the actions of a recording of one folder, and return the first difference, if any.

    Compared are frames, rewards, discounts, ends and, if they were recorded, true states. ``show``
    is called with the number of frames so far. Raises UsageError for a recording that was not
    played from its seed, or whose env is not known.
    """
    manifest = recording.manifest
    if manifest.source:
        raise UsageError(
            f"{recording.folders[0]} cannot be replayed: it is of {manifest.source}, and does not "
            "have the seed that its episodes were played from; `reverie collect` records it."
        )
    n, rewards = manifest.num_envs, recording.columns["reward"]
    built = manifest.env.build(n, threads=threads, privileged=bool(manifest.privileged))
    envs = BatchedEnv(built, seed=manifest.seed, purpose=prng.Purpose.COLLECT)
    try:
        spec = envs.spec
        expected = recording.frame_shape, recording.num_actions
        found = (spec.stored_channels, *spec.obs_shape[1:]), spec.num_actions
        if expected != found:
            return Mismatch(0, 0, 0, 0, f"frames and actions {found} instead of {expected}")
        step = envs.reset()
        for t in range(len(recording) // n):
            rows = torch.arange(t * n, (t + 1) * n)
            columns = {x: recording.columns[x][rows] for x in COMPARED if x in recording.columns}
            # A row has the results of its action, which the next time step returns.
            for name in ("reward", "discount"):
                columns[name] = recording.columns[name][rows - n] if t else getattr(step, name)
            if difference := _difference(step, recording.frames(rows), columns):
                env, text = difference
                row = rows[env]
                return Mismatch(
                    t, env, int(recording.columns["first"][env : row + 1 : n].sum()) - 1,
                    int(recording.columns["episode_step"][row]), text,
                )  # fmt: skip
            show((t + 1) * n)
            if t + 1 < len(rewards) // n:
                step = envs.step(recording.columns["action"][rows].long())
        return None
    finally:
        envs.close()


def _difference(
    step: TimeStep, frames: Tensor, columns: dict[str, Tensor]
) -> tuple[int, str] | None:
    """Return the first env that differs from its recorded row, and what differs; None if none."""
    found = step.columns() | {"frame": frames_to_record(step, frames.shape[1])}
    for name, recorded in {**columns, "frame": frames}.items():
        differs = (
            (found[name] != recorded).flatten(1)
            if recorded.ndim > 1
            else (found[name] != recorded)[:, None]
        )
        if differs.any():
            env = int(differs.any(1).nonzero()[0])
            if name in ("frame", "privileged"):
                what = "pixels of the frame" if name == "frame" else "bytes of the true state"
                return env, f"{int(differs[env].sum()):,} {what} differ"
            return env, f"{name} is {found[name][env].item()}, recorded as {recorded[env].item()}"
    return None


def changed_versions(recorded: dict[str, Any], here: dict[str, Any]) -> str:
    """Return which packages have other versions than those of a recording, as a text."""
    names = ("package_version", *PACKAGES)
    return ", ".join(
        f"{name.replace('package_version', 'reverie')} {recorded[name]} (here {here[name]})"
        for name in names
        if recorded.get(name) not in (None, here.get(name))
    )
