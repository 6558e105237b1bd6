"""``reverie verify [--write]``."""

from dataclasses import dataclass

from ..config.arguments import parse_flags
from ..reproduce.tables import verify


@dataclass(frozen=True)
class VerifyOptions:
    """Whether tables are checked or written."""

    write: bool = False
    """Write the tables instead of checking them."""


def run(argv: list[str]) -> int:
    """Compare the tables of the documents with the committed results."""
    return verify(write=parse_flags(VerifyOptions, argv, "reverie verify").write)
