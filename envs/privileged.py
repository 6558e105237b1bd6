"""The bytes of the true state (``TimeStep.privileged``) that a privileged reference reads."""

import re
from fnmatch import fnmatchcase

from .errors import UsageError


def true_state_columns(
    offered: tuple[str, ...], wanted: tuple[str, ...], *, part: str, remedy: str
) -> list[int]:
    """Return the indices of the wanted bytes among those that an env offers, in their order.

    ``wanted`` holds names or patterns such as ``wall_*``; empty for all bytes. Raises UsageError,
    which names the ``part``, if the env offers no true state, and with ``remedy`` if it has no byte
    of a name.

    Example::

        from reverie.envs.privileged import true_state_columns

        offered = ("ball_row", "ball_column", "paddle")
        assert true_state_columns(offered, ("paddle", "ball_*"), part="", remedy="") == [2, 0, 1]
    """
    if not offered:
        raise UsageError(
            f"{part} needs the true state, which this env does not offer; choose another part, or "
            "an env that offers it, such as env:catch or --game montezuma_revenge."
        )
    found = {
        pattern: [i for i, name in enumerate(offered) if fnmatchcase(name, pattern)]
        for pattern in wanted or ("*",)
    }
    if missing := [pattern for pattern, columns in found.items() if not columns]:
        # Of the cells of a grid one name is enough.
        names = dict.fromkeys(re.sub(r"_\d+_\d+$", "_*", name) for name in offered)
        raise UsageError(
            f"{part} needs {', '.join(missing)} of the true state, which consists of "
            f"{', '.join(names)} in this env; {remedy}."
        )
    return list(dict.fromkeys(i for columns in found.values() for i in columns))
