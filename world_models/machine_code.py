"""Functions that numba compiles to machine code, for loops that no tensor operation expresses.

Importing numba takes about as long as torch itself; parts import what is compiled when they are
built.
"""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(**options: Any) -> Callable[[Any], Any]:
    """Return numba's decorator, which keeps the machine code on disk if it finds a folder for it.

    The folder is that of NUMBA_CACHE_DIR, of this file or of the user's caches.
    """

    def decorate(function: Any) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # no folder can be written, as in a container of another user
            return njit(**options)(function)

    return decorate
