"""``reverie gallery [--flags]``."""

import shlex
from dataclasses import replace

from ..config.arguments import parse_flags, take_flag, take_imports
from ..gallery.gallery import gallery
from ..gallery.gallery_options import GalleryOptions

LOCAL_FLAGS = ("--folder", "--save", "--workers")
"""Flags that do not change results, and are left out of the committed command."""


def run(argv: list[str]) -> int:
    """Train and measure densities, and write a report; return 1 if some failed."""
    repeated = argv
    for flag in LOCAL_FLAGS:
        repeated, _ = take_flag(repeated, flag)
    argv, imports = take_imports(argv)
    options = parse_flags(GalleryOptions, argv, "reverie gallery")
    return gallery(replace(options, imports=imports), shlex.join(["reverie", "gallery", *repeated]))
