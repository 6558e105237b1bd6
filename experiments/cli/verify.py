"""``reverie verify [--write]``."""

import tyro

from ..reproduce.tables import verify


def run(argv: list[str]) -> int:
    """Compare the tables of the documents with the committed results."""
    return tyro.cli(verify, args=argv, prog="reverie verify")
