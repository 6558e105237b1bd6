"""``reverie data list | show | convert | replay``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from ...envs.atari.games import did_you_mean
from ...envs.checks import at_least, check
from ...envs.errors import UsageError
from ..config.arguments import parse_flags, take_imports
from ..datasets.dataset import Recording
from ..interchange.conversion import (
    Target,
    convert,
    find_source,
    find_target,
    provenance_of,
    read_source,
)
from ..interchange.minari_datasets import ROOT, root_and_id
from ..interchange.recording_list import describe, find_recordings, summarize, table_rows
from ..interchange.recording_page import write_page
from ..interchange.replay_check import changed_versions, replay_recording
from ..runs.files import to_json
from ..runs.outputs import check_writable, reporting_failure
from ..runs.provenance import provenance
from ..runs.runtime import pick_threads, raising_interrupted
from ..text.terminal_text import description_list, file_size, paragraph, table
from .compress import progress_of


@dataclass(frozen=True)
class ListOptions:
    """List the recordings in and below a folder.

    Example: reverie data list runs/data --sort size
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Path()
    """Folder that holds recordings."""
    sort: Literal["name", "return", "frames", "size"] = "name"
    """Order of the list: by name, or greatest first."""
    json: bool = False
    """Print the list as JSON."""


@dataclass(frozen=True)
class ShowOptions:
    """Say what is in a recording, and write a page that plays it.

    Example: reverie data show runs/data/catch-random-own-s0 --html catch.html
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """The recording."""
    html: Path | None = None
    """File of a page that plays episodes frame by frame, with rewards and ends, also offline."""
    episodes: int = 8
    """Episodes on the page, evenly spaced over the recording."""
    max_frames: int = 2000
    """Most frames on the page; of longer episodes, every k-th frame is shown."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "episodes")
        check(self, "", at_least(2 * self.episodes), "max_frames")


@dataclass(frozen=True)
class ConvertOptions:
    """Convert a recording to another format, or episodes of others to a recording.

    SOURCE is a recording, a Minari dataset, an HDF5 file as of D4RL, .npz episodes of Dreamer (one
    file, or a folder of them) or a folder of Dopamine's checkpoints. TARGET is a recording, an
    .hdf5 file, a Minari dataset (--to minari), or for viewing an .mp4 file, or a folder of them
    (--to mp4).
    Example: reverie data convert runs/data/catch-random-own-s0 catch.hdf5
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """What is converted."""
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")]
    """The new file or folder."""
    to: Target | None = None
    """Format of the target, if its suffix does not say it."""
    name: str = ""
    """Name of the env of others' episodes; by default that of the source."""
    axes: Literal["", "CHW", "HWC", "HW"] = ""
    """Axes of a frame of others' episodes, where its shape leaves a choice."""
    episodes: int = 0
    """Episodes of a film, the first ones; 0 for all."""
    fps: int = 15
    """Frames per second of a film."""

    def __post_init__(self) -> None:
        check(self, "", at_least(0), "episodes")
        check(self, "", at_least(1), "fps")


@dataclass(frozen=True)
class ReplayOptions:
    """Replay the recorded actions in the env, and compare its frames with the recorded ones.

    The exit status is 1 if they differ. Example: reverie data replay runs/data/catch-random-own-s0
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """The recording."""
    threads: int = 0
    """CPU threads; 0 for all cores."""


def run(argv: list[str]) -> int:
    """Run one of the subcommands, each with its own flags."""
    argv, _ = take_imports(argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if argv[0] not in SUBCOMMANDS:
        names = tuple(SUBCOMMANDS)
        hint = did_you_mean(argv[0], names) or f" They are {', '.join(names)}."
        raise UsageError(f"There is no `reverie data {argv[0]}`.{hint}")
    return SUBCOMMANDS[argv[0]][1](argv[1:])


def _usage() -> str:
    rows = [(f"{name} {args}", text) for name, (args, _, text) in SUBCOMMANDS.items()]
    about = "Recordings: what there is, what is in them, and to and from the formats of others."
    note = "reverie data COMMAND --help shows its flags; --import MODULE adds envs of your own."
    return "\n\n".join([paragraph(about), description_list(rows), paragraph(note)])


def _list(argv: list[str]) -> int:
    options = parse_flags(ListOptions, argv, "reverie data list")
    if not options.folder.is_dir():
        raise UsageError(f"There is no folder {options.folder}; name one that holds recordings.")
    found = [summarize(path) for path in find_recordings(options.folder)]
    orders = {
        "return": lambda x: -(x.mean_return if x.mean_return is not None else float("-inf")),
        "frames": lambda x: -x.frames,
        "size": lambda x: -x.size,
    }
    if options.sort != "name":
        found.sort(key=orders[options.sort])
    if options.json:
        print(to_json([x.to_json() for x in found], indent=1))
        return 0
    print(table(table_rows(found, options.folder), indent=0))
    plural = "s" * (len(found) != 1)
    print(f"{len(found)} recording{plural}, {file_size(sum(x.size for x in found))}.")
    return 0


def _show(argv: list[str]) -> int:
    options = parse_flags(ShowOptions, argv, "reverie data show")
    recording = Recording(options.folder, cache_bytes=0)
    if options.html:
        check_writable(options.html, remedy="name another file with --html")
    print(description_list(describe(recording), indent=0))
    if options.html:
        with reporting_failure(options.html, "the recording is as it was"):
            frames = write_page(
                recording, options.html, episodes=options.episodes, max_frames=options.max_frames
            )
        print(f"\n{options.html}: {frames:,} frames, {file_size(options.html.stat().st_size)}")
    return 0


def _convert(argv: list[str]) -> int:
    options = parse_flags(ConvertOptions, argv, "reverie data convert")
    kind, path = find_source(options.source)
    target = find_target(options.target, options.to, kind)
    if kind == "own" and (options.name or options.axes):
        raise UsageError("--name and --axes are for others' episodes; leave them out.")
    source = read_source(kind, path, options.name, options.axes)
    total = len(Recording(path, cache_bytes=0)) if kind == "own" else 0
    with (
        progress_of("converted", total) as progress,
        raising_interrupted(),
        reporting_failure(options.target, "the source is as it was"),
    ):
        convert(
            source, options.target, target, progress.show,
            episodes=options.episodes, frames_per_second=options.fps,
        )  # fmt: skip
    env_name, size = source.manifest.env.env_name, _size(options.target)
    print(f"{options.target}: {progress.done:,} frames of {env_name}, {file_size(size)}")
    if source.manifest.source and target == "own":
        print(paragraph(f"Converted from {source.manifest.source}."))
    if target == "minari":
        root, name = root_and_id(options.target)
        print(f"Load it by minari.load_dataset('{name}') with {ROOT}={root}.")
    return 0


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(x.stat().st_size for x in files if x.is_file())


def _replay(argv: list[str]) -> int:
    options = parse_flags(ReplayOptions, argv, "reverie data replay")
    recording, threads = Recording(options.folder, cache_bytes=0), pick_threads(options.threads)
    with progress_of("replayed", len(recording)) as progress, raising_interrupted():
        mismatch = replay_recording(recording, progress.show, threads=threads)
    if mismatch is None:
        print(
            paragraph(
                f"{options.folder}: {recording.env_name} plays the recorded {len(recording):,} "
                f"frames of {recording.num_episodes:,} episodes again, with the same rewards and "
                "ends."
            )
        )
        return 0
    print(paragraph(f"{options.folder}: {mismatch}."))
    here = provenance(torch.device("cpu"), threads)
    changed = changed_versions(provenance_of(options.folder), here)
    print(paragraph(f"It was recorded with {changed or 'the same versions as here'}."))
    return 1


SUBCOMMANDS: dict[str, tuple[str, Callable[[list[str]], int], str]] = {
    "list": ("[DIR]", _list, "List recordings: --sort return, --json."),
    "show": ("FOLDER", _show, "Say what is in one: --html FILE writes a page that plays it."),
    "convert": ("SOURCE TARGET", _convert, "To and from Minari and HDF5; from Dreamer's episodes "
                "and Dopamine's checkpoints; to MP4."),
    "replay": ("FOLDER", _replay, "Play the recorded actions again: does the env still agree?"),
}  # fmt: skip
"""Arguments, function and purpose of each subcommand."""
