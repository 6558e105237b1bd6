"""Files and folders that are complete or absent."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ..runs.files import sync_folder


@contextmanager
def writing_aside(path: Path) -> Iterator[Path]:
    """Yield a path beside another, for a file or a folder that gets its name when it is complete.

    The folder of both is created if needed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        yield aside
        for file in [aside] if aside.is_file() else aside.rglob("*"):
            if file.is_file():
                with open(file, "rb") as opened:
                    os.fsync(opened.fileno())
        aside.rename(path)
        sync_folder(path.parent)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        aside.unlink(missing_ok=True)
