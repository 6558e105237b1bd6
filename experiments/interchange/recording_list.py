"""The recordings below a folder, and what is in one, as tables.

For a list no env is decoded and no frame is read, so that recordings of parts that are not imported
are listed too, and a damaged one is listed as such.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs.errors import UsageError
from ..datasets.dataset import Recording
from ..datasets.writer import MANIFEST, UNFINISHED
from ..runs.files import is_own, read_json
from .conversion import provenance_of
from .numpy_files import read_npz
from .recorded_episodes import Spans, spans_of

Array = NDArray[Any]

SHARD = re.compile(r"\d{5,}\.npz")
"""Names of the columns of a shard."""


@dataclass(frozen=True)
class RecordingSummary:
    """One recording, as far as it can be read."""

    folder: Path
    state: str
    """complete, unfinished or damaged."""
    env_name: str = ""
    protocol: str = ""
    policy: str = ""
    shape: tuple[int, ...] = ()
    frames: int = 0
    episodes: int = 0
    """Those that were recorded to their ends."""
    mean_return: float | None = None
    """Mean return of these; None without any."""
    size: int = 0
    """Bytes on disk."""

    def to_json(self) -> dict[str, Any]:
        """Return the recording as JSON values."""
        return vars(self) | {"folder": str(self.folder), "shape": list(self.shape)}


def find_recordings(folder: Path) -> list[Path]:
    """Return the recordings in or below a folder, by name; raises UsageError if there is none."""
    found = [
        Path(parent)
        for parent, _, files in os.walk(folder)
        if UNFINISHED in files or (MANIFEST in files and "00000.npz" in files)
    ]
    if not found:
        raise UsageError(
            f"There is no recording in {folder} or below it; record one by `reverie collect`, or "
            "name another folder."
        )
    return sorted(found)


def summarize(folder: Path) -> RecordingSummary:
    """Return what a list shows of a recording."""
    size = sum(x.stat().st_size for x in folder.iterdir() if x.is_file() and not x.is_symlink())
    if not (folder / MANIFEST).exists():
        return RecordingSummary(folder, "unfinished", size=size)
    try:
        data = read_json(folder / MANIFEST)
        columns = _columns(folder, len(data["shards"]))
        spans = Spans(columns, int(data["num_envs"]))
        returns = [span.total_reward for span in spans.ended]
        return RecordingSummary(
            folder,
            "complete",
            str(data["env_name"]),
            str(data["protocol"]),
            str(data["policy"]),
            tuple(map(int, data["frame_shape"])),
            len(columns["first"]),
            len(returns),
            float(np.mean(returns)) if returns else None,
            size,
        )
    except Exception:  # numpy raises many kinds for a damaged archive
        return RecordingSummary(folder, "damaged", size=size)


def _columns(folder: Path, num_shards: int) -> dict[str, Array]:
    """Return the columns that are needed for the episodes."""
    parts: dict[str, list[Array]] = {"first": [], "last": [], "reward": []}
    for index in range(num_shards):
        path = folder / f"{index:05d}.npz"
        if not is_own(path, SHARD):
            raise ValueError(f"{path} is no regular file")
        shard = read_npz(path, [*parts])
        for name, part in parts.items():
            part.append(shard[name])
    return {name: np.concatenate(part) for name, part in parts.items()}


def table_rows(recordings: Iterable[RecordingSummary], root: Path) -> list[tuple[str, ...]]:
    """Return a header, and a row for each recording with its path below ``root``."""
    rows: list[tuple[str, ...]] = [
        ("recording", "env", "policy", "format", "frames", "episodes", "return", "MB")
    ]
    for x in recordings:
        name = str(x.folder.relative_to(root)) if x.folder != root else str(root)
        complete = x.state == "complete"
        rows.append(
            (
                name,
                x.env_name if complete else x.state,
                x.policy,
                "x".join(map(str, x.shape)),
                f"{x.frames:,}" if complete else "",
                f"{x.episodes:,}" if complete else "",
                "" if x.mean_return is None else f"{x.mean_return:,.2f}",
                f"{x.size / 1e6:,.1f}",
            )
        )
    return rows


def describe(recording: Recording) -> list[tuple[str, str]]:
    """Return what is in a recording of one folder, as names and texts."""
    manifest, columns = recording.manifest, recording.columns
    spans = spans_of(recording)
    acted = ~columns["last"]
    acted[-manifest.num_envs :] = False
    reward, discount = (columns[x][acted] for x in ("reward", "discount"))
    died = int(
        (columns["last"].roll(-manifest.num_envs) & (columns["discount"] == 0) & acted).sum()
    )
    lost_lives = int((discount == 0).sum()) - died
    cut = len(spans.all) - len(spans.ended)
    rows = [
        ("env", f"{recording.env_name}, protocol {manifest.env.protocol_label}"),
        ("policy", _policy(recording)),
        ("frames", f"{len(recording):,}, {'x'.join(map(str, recording.frame_shape))} uint8"),
        ("envs", f"{manifest.num_envs}, seed {manifest.seed}"),
        ("actions", _histogram(recording)),
        ("rewards", f"{int((reward != 0).sum()):,} other than 0{_range(reward.tolist())}"),
        (
            "episodes",
            f"{len(spans.ended):,} whole ({died:,} deaths, {len(spans.ended) - died:,} time-outs), "
            f"{cut:,} unfinished" + (f"; {lost_lives:,} lost lives" if lost_lives else ""),
        ),
        ("returns", _quartiles([x.total_reward for x in spans.ended])),
        ("lengths", _quartiles([float(x.length) for x in spans.ended])),
    ]
    if manifest.privileged:
        rows.append(("true state", ", ".join(_first_few(manifest.privileged))))
    about = provenance_of(recording.folders[0])
    if manifest.source:
        rows.append(("converted", manifest.source))
    shown = ("command", "package_version", "commit", "torch", "ale-py", "gymnasium")
    rows += [
        (x.replace("package_version", "reverie"), str(about[x])) for x in shown if about.get(x)
    ]
    return rows


def _policy(recording: Recording) -> str:
    manifest = recording.manifest
    notes = ["greedy"] * manifest.greedy + [f"epsilon {manifest.epsilon:g}"] * bool(
        manifest.epsilon
    )
    return ", ".join([manifest.policy, *notes])


def _histogram(recording: Recording) -> str:
    """Return the share of each action at the rows from which one is taken."""
    columns, num_envs = recording.columns, recording.manifest.num_envs
    acted = ~columns["last"]
    acted[-num_envs:] = False
    counts = columns["action"][acted].long().bincount(minlength=recording.num_actions).tolist()
    names = recording.manifest.env.action_names(recording.num_actions)
    total = max(1, sum(counts))
    shares = [f"{name} {100 * x / total:.0f}%" for name, x in zip(names, counts, strict=True)]
    return ", ".join(_first_few(shares, 18))


def _range(values: list[float]) -> str:
    found = [x for x in values if x]
    return f", from {min(found):g} to {max(found):g}" if found else ""


def _quartiles(values: list[float]) -> str:
    if not values:
        return "no whole episode"
    low, quarter, median, three, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return (
        f"mean {np.mean(values):,.2f}; {low:,g} to {high:,g}, median {median:,g}, quartiles "
        f"{quarter:,g} and {three:,g}"
    )


def _first_few(names: Iterable[str], count: int = 8) -> list[str]:
    names = list(names)
    return [*names[:count], *([f"and {len(names) - count} more"] if len(names) > count else [])]
