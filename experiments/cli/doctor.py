"""``reverie doctor [--flags]``."""

import tyro

from ..doctor import doctor


def run(argv: list[str]) -> int:
    """Test whether this machine can run everything."""
    return tyro.cli(doctor, args=argv, prog="reverie doctor")
