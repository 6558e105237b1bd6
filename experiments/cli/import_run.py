"""``reverie import FILE [--flags]``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..config.arguments import parse_flags, take_imports
from ..sharing.importing import import_run
from ..sharing.pretrained import PREFIX, pretrained_file
from ..sharing.share_file import SUFFIX
from ..text.terminal_text import paragraph, plain


@dataclass(frozen=True)
class ImportOptions:
    """Make a run folder from a file of `reverie export`, to evaluate, to play and to start from.

    The file may come from anywhere: it is checked, and nothing of it is run. Example: reverie
    import mfec.safetensors --folder runs/mfec
    """

    file: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The file, a folder for Hugging Face that holds one, or pretrained:NAME."""
    folder: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The run folder, a new one; by default runs/NAME, by the name of the file."""
    data: tuple[Path, ...] = ()
    """Recordings of the same env for a pretrained model, as `reverie evaluate` needs them."""


def run(argv: list[str]) -> int:
    """Import a file, and print the commands for it."""
    argv, _ = take_imports(argv)
    options = parse_flags(ImportOptions, argv, "reverie import")
    path = Path(options.file)
    if options.file.startswith(PREFIX):
        path = pretrained_file(options.file.removeprefix(PREFIX))
    folder = options.folder or Path("runs") / path.resolve().name.removesuffix(SUFFIX)
    about = import_run(path, folder, options.data)
    print(plain(f"{folder}: {about['model']} on {about['env_name']}, protocol {about['protocol']}"))
    uses = f"Next: reverie play {folder}, or train from it with --init-from {folder}."
    print(paragraph(uses))
    return 0
