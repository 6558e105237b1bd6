"""``reverie doctor [--flags]``."""

from dataclasses import dataclass
from pathlib import Path

from ..config.arguments import parse_flags
from ..doctor import doctor


@dataclass(frozen=True)
class DoctorOptions:
    """What the doctor tests."""

    folder: Path = Path("runs")
    """Folder for runs, whose disk is tested."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""


def run(argv: list[str]) -> int:
    """Test whether this machine can run everything."""
    options = parse_flags(DoctorOptions, argv, "reverie doctor")
    return doctor(options.folder, options.device)
