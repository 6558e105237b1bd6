"""Checks of a recording: its manifest, and every frame and column of its shards."""

from collections.abc import Iterator
from pathlib import Path

import torch

from ...envs.errors import UsageError
from ..datasets.dataset import Recording
from ..datasets.writer import MANIFEST, UNFINISHED
from ..text.terminal_text import file_size
from .findings import Finding, Report, count, find_aside, find_partial_files

CHUNK = 4096
"""Frames that are decoded together."""


def is_recording(folder: Path) -> bool:
    """Return whether a folder holds a recording, also an unfinished one."""
    return (folder / MANIFEST).is_file() or (folder / UNFINISHED).is_file()


def check_recording(folder: Path) -> Report:
    """Read a recording; every frame is decoded, which verifies its checksum."""
    report = Report(folder, "recording")
    try:
        recording = Recording(folder, cache_bytes=0)
    except UsageError as error:
        report.findings.append(Finding(str(error)))
    else:
        report.findings += _check_frames(recording)
        size = sum(size for _, size in recording.manifest.shards)
        shards = count(len(recording.manifest.shards), "shard")
        report.contents = f"{count(len(recording), 'frame')} in {shards}, {file_size(size)}"
    report.findings += [*find_partial_files(folder), *find_aside(folder)]
    return report


def _check_frames(recording: Recording) -> Iterator[Finding]:
    """Yield the number of damaged frames, with the first reason."""
    damaged, reason = 0, ""
    for rows in torch.arange(len(recording)).split(CHUNK):
        try:
            recording.frames(rows)
        except UsageError:
            for row in rows.split(1):
                try:
                    recording.frames(row)
                except UsageError as error:
                    damaged, reason = damaged + 1, reason or str(error)
    if damaged:
        yield Finding(f"{damaged:,} of {count(len(recording), 'frame')} are damaged. {reason}")
