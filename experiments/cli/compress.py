"""``reverie compress FOLDER [density:NAME] [--flags]``."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from ...envs.checks import at_least, check, within
from ...envs.errors import UsageError
from ...world_models.coding.prequential import require_conditionals
from ...world_models.density.capabilities import SequentialDensity, TemporalDensityConfig
from ...world_models.density.cts import CTSConfig
from ...world_models.interface import DensityConfig
from ..config.arguments import parse_flags, split_roles, take_flag, take_imports
from ..config.roles import choose_all
from ..datasets.archive import SUFFIX, Header, digest_of_state, header_of, untrained, write_archive
from ..datasets.dataset import Recording
from ..datasets.symbols import Symbols
from ..runs.console import progress_console
from ..runs.live_line import LiveLine
from ..runs.outputs import check_writable, reporting_failure
from ..runs.runtime import raising_interrupted
from ..training.pretrain import load_model


@dataclass(frozen=True)
class CompressOptions:
    """How frames are quantized and coded."""

    resolution: int = 42
    """Rows and columns that frames are downsampled to; smaller frames keep their size."""
    levels: int = 8
    """Gray levels that frames are quantized to; frames of planes have one more than planes."""
    temporal: bool = True
    """Code each frame given those before it, if the density can be given them, as an untrained cts
    can; else, single frames are coded."""
    batch_size: int = 1
    """Frames that are coded together, and then learned: a network codes more of them faster."""
    learn: bool = True
    """Learn each frame after it is coded; without, the density stays as it was pretrained."""
    init_from: Path | None = None
    """Run of `reverie pretrain density:NAME`, whose density codes the frames, at its resolution and
    levels; `reverie decompress` needs the same one."""
    out: Path | None = None
    """The file; by default the folder's name with .reverie, beside it."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "resolution", "batch_size")
        check(self, "", within(2, 256), "levels")


@dataclass(frozen=True)
class _Compress:
    """Code the quantized frames of a recording losslessly, by a density that learns them meanwhile.

    What is coded is the symbols, small and in a few gray levels, and not the recorded pixels.
    Example: reverie compress runs/data/pong-random-own-s0 --density cts
    """

    density: DensityConfig = CTSConfig()
    """The model of the probability of frames; --density NAME is density:NAME."""
    options: Annotated[CompressOptions, tyro.conf.arg(name="")] = CompressOptions()


def run(argv: list[str]) -> int:
    """Write an archive of a recording's frames, and print its size and speed."""
    argv, imports = take_imports(argv)
    folder, config, options = parse_compress(argv)
    recording = Recording(folder, cache_bytes=0)
    if folder.name in ("", ".."):  # the working folder, or the one above it
        folder = folder.resolve()
    path = options.out or folder.with_name(folder.name + SUFFIX)
    check_new(path)
    resolution, levels, settings = options.resolution, options.levels, dict[str, Any]()
    if options.init_from:
        config, density = load_density(options.init_from)
        resolution, levels = max(density.shape), density.levels
        settings["pretrained"] = str(options.init_from)
        settings["weights"] = digest_of_state(density.state_dict())
    symbols = Symbols(recording, resolution=resolution, levels=levels)
    if not options.init_from:
        temporal = options.temporal and isinstance(config, TemporalDensityConfig)
        built = untrained(config, symbols.shape, symbols.levels, temporal=temporal)
        density = require_conditionals(built)
    elif (density.shape, density.levels) != (symbols.shape, symbols.levels):
        raise UsageError(
            f"The density of {options.init_from} is of frames {density.shape} with "
            f"{density.levels} levels, and those of {folder} are {symbols.shape} with "
            f"{symbols.levels}; name a pretraining on frames of {recording.env_name} as "
            "--init-from."
        )
    settings |= {"batch_size": options.batch_size, "learn": options.learn, "imports": imports}
    header = header_of(symbols, config, density, **settings)
    with (
        progress_of("coded", len(symbols)) as progress,
        raising_interrupted(),
        reporting_failure(path, "the recording is as it was"),
    ):
        size = write_archive(path, header, density, symbols, progress.show)
    print(f"{path}: {describe(header)} in {size:,} bytes, {8 * size / len(symbols):,.1f} bits a "
          f"frame; coded at {progress.rate}")  # fmt: skip
    return 0


def parse_compress(argv: list[str]) -> tuple[Path, DensityConfig, CompressOptions]:
    """Parse FOLDER [density:NAME] [--flags] into the recording, the density and the options."""
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        raise UsageError(
            "Name the recording first, as in reverie compress runs/data/RECORDING --density cts."
        )
    folder, argv = ("", argv) if argv[0].startswith("-") else (argv[0], argv[1:])
    argv, name = take_flag(argv, "--density")
    tokens, flags = split_roles(argv, CompressOptions)
    tokens += [f"density:{name}"] if name is not None else []
    chosen = choose_all(_Compress(), tokens)
    parsed = parse_flags(_Compress, flags, "reverie compress FOLDER", default=chosen)
    if parsed.options.init_from and parsed.density != CTSConfig():
        raise UsageError(
            f"--init-from {parsed.options.init_from} names the density, with its settings; leave "
            "out --density, or --init-from."
        )
    return Path(folder), parsed.density, parsed.options


def load_density(folder: Path) -> tuple[DensityConfig, SequentialDensity]:
    """Return the config and the density of a pretraining; raises UsageError for another model."""
    job, model = load_model(folder, device="cpu")
    if job.role != "density":
        raise UsageError(
            f"{folder} is the pretraining of a {job.role}; name one of `reverie pretrain "
            "density:NAME` as --init-from."
        )
    return job.part, require_conditionals(model)


def check_new(path: Path) -> None:
    """Raise UsageError for a file that exists, or cannot be written."""
    if path.exists():
        raise UsageError(f"{path} exists already; remove it, or name another file as --out.")
    check_writable(path, remedy="name a file that can be written as --out")


def describe(header: Header) -> str:
    """Return the number and the shape of an archive's frames as text."""
    shape = "x".join(map(str, header.shape))
    return f"{header.num_frames:,} frames {shape} of {header.levels} levels, {header.env_name},"


class Progress:
    """The number of frames that are done, as a line, and their rate; ``total`` is 0 if unknown."""

    def __init__(self, line: LiveLine, verb: str, total: int) -> None:
        self.line, self.verb, self.total = line, verb, total
        self.done, self.start = 0, time.monotonic()
        line.start()

    def show(self, done: int) -> None:
        """Show how many frames are done, now and then."""
        self.done = done
        if self.line.due():
            of_all = f" of {self.total:,}" if self.total else ""
            self.line.show(f"{done:,}{of_all} frames {self.verb}, {self.rate}")

    @property
    def rate(self) -> str:
        """The frames per second so far."""
        rate = self.done / max(time.monotonic() - self.start, 1e-9)
        return f"{rate:,.0f} frames/s" if rate >= 10 else f"{rate:.2g} frames/s"


@contextmanager
def progress_of(verb: str, total: int) -> Iterator[Progress]:
    """Show the progress of a loop over frames on stderr."""
    with closing(LiveLine(progress_console())) as line:
        yield Progress(line, verb, total)
