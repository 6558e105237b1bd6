"""``reverie export RUN [FILE] [--flags]``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ...envs.checks import at_least, check
from ...envs.errors import UsageError
from ..config.arguments import parse_flags, take_imports
from ..runs.files import WEIGHTS
from ..runs.outputs import check_writable, reporting_failure
from ..sharing.exporting import WeightsDtype, export_run, write_hugging_face
from ..sharing.model_card import model_card
from ..sharing.share_file import SUFFIX, write_share_file
from ..text.terminal_text import file_size, paragraph


@dataclass(frozen=True)
class ExportOptions:
    """Write a run's last checkpoint as one file to share, without its replay.

    `reverie import` makes it a run again, to evaluate, to play and to start from. Example: reverie
    export runs/mfec-ms_pacman-s0 mfec.safetensors --max-keys 2000
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    file: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = None
    """The file; by default the run's name with .safetensors, in the working folder."""
    hugging_face: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Write a folder for Hugging Face instead: the file, its config, and a model card."""
    card: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the model card to this file, too."""
    max_keys: int = 0
    """Keys of each action to keep in tables of episodic control, those visited last; 0 for all."""
    dtype: WeightsDtype = "float32"
    """bf16 rounds the weights of networks and halves the file; scores may change."""
    license: str = ""
    """License of the weights, such as mit, for the model card."""
    description: str = ""
    """A sentence about the run, for the model card."""

    def __post_init__(self) -> None:
        check(self, "", at_least(0), "max_keys")


def run(argv: list[str]) -> int:
    """Export a run, and print the size of the file."""
    argv, _ = take_imports(argv)
    options = parse_flags(ExportOptions, argv, "reverie export")
    folder = options.hugging_face
    if folder and options.file:
        raise UsageError("FILE and --hugging-face name two places; leave one of them out.")
    path = folder / WEIGHTS if folder else options.file or Path(options.run.resolve().name + SUFFIX)
    outputs = [path, *([options.card] if options.card else [])]
    for output in outputs:
        if output.exists():
            raise UsageError(f"{output} exists already; remove it, or name another.")
    check_writable(*outputs, remedy="choose another place")
    about, tensors = export_run(
        options.run,
        max_keys=options.max_keys,
        dtype=options.dtype,
        license_name=options.license,
        description=options.description,
    )
    with reporting_failure(path, "the run is as it was"):
        if folder:
            write_hugging_face(folder, about, tensors)
        else:
            write_share_file(path, about, tensors)
        if options.card:
            options.card.parent.mkdir(parents=True, exist_ok=True)
            options.card.write_text(model_card(about), encoding="utf-8")
    print(f"{path}: {about['model']} on {about['env_name']}, {file_size(path.stat().st_size)}")
    if about["dropped_keys"]:
        print(f"{about['dropped_keys']:,} keys were left out.")
    if about["results_left_out"]:
        print(
            paragraph(
                "Its scores are left out, because they are of the run before this change; import "
                "the file, evaluate that run, and export it."
            )
        )
    return 0
