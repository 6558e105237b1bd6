"""``reverie decompress FILE [--flags]``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from ...envs.errors import UsageError
from ..config.arguments import parse_flags, take_imports
from ..datasets.archive import SUFFIX, Archive
from ..runs.files import replacing
from ..runs.outputs import reporting_failure
from ..runs.runtime import raising_interrupted
from ..text.terminal_text import plain
from .compress import check_new, describe, load_density, progress_of


@dataclass(frozen=True)
class DecompressOptions:
    """Decode an archive of `reverie compress` into a file of numpy.

    It holds `symbols`, uint8 [N H W] in the order of the recording's rows, and `levels`.
    Example: reverie decompress runs/data/pong-random-own-s0.reverie
    """

    archive: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The archive."""
    init_from: Path | None = None
    """The pretraining whose density coded it, if one did."""
    out: Path | None = None
    """The file; by default the archive's name with .npz."""


def run(argv: list[str]) -> int:
    """Decode an archive, and write its symbols."""
    argv, _ = take_imports(argv)
    options = parse_flags(DecompressOptions, argv, "reverie decompress")
    archive = Archive(options.archive)
    header = archive.header
    path = options.out or Path(f"{str(options.archive).removesuffix(SUFFIX)}.npz")
    check_new(path)
    if header.weights and not options.init_from:
        raise UsageError(
            f"{options.archive} was coded by the pretrained density of {header.pretrained}; name "
            "that run as --init-from."
        )
    if options.init_from and not header.weights:
        raise UsageError(
            f"{options.archive} was coded by a density that was not pretrained; leave out "
            "--init-from."
        )
    density = load_density(options.init_from)[1] if options.init_from else header.build()
    with progress_of("decoded", header.num_frames) as progress, raising_interrupted():
        symbols = archive.read(density, progress.show)
        with reporting_failure(path, "the archive is as it was"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                np.savez_compressed(file, symbols=symbols.numpy(), levels=header.levels)
    print(plain(f"{path}: {describe(header)} decoded at {progress.rate}"))
    return 0
