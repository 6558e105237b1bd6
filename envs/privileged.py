"""The bytes of the true state (``TimeStep.privileged``) that a privileged reference reads."""

import re
from fnmatch import fnmatchcase

from .errors import UsageError


def true_state_columns(
    offered: tuple[str, ...],
    wanted: tuple[str, ...] = (),
    *,
    part: str,
    setting: str = "",
    envs: str = "env:catch or --game montezuma_revenge",
) -> list[int]:
    """Return the indices of the wanted bytes among those that an env offers, in their order.

    ``wanted`` holds names or patterns such as ``wall_*``; empty for all bytes. ``setting`` is the
    flag that names them, if there is one, and ``envs`` are envs that have them. Raises UsageError,
    which names the ``part`` or the setting, if the env offers no true state or not all the bytes.

    Example::

        from reverie.envs.privileged import true_state_columns

        offered = ("ball_row", "ball_column", "paddle")
        assert true_state_columns(offered, ("paddle", "ball_*"), part="bonus:own") == [2, 0, 1]
    """
    remedy = f"choose another {part.partition(':')[0]}, or an env that offers it, such as {envs}"
    if not offered:
        raise UsageError(f"{part} needs the true state, which this env does not offer; {remedy}.")
    found = {
        pattern: [i for i, name in enumerate(offered) if fnmatchcase(name, pattern)]
        for pattern in wanted or ("*",)
    }
    if missing := ", ".join(pattern for pattern, columns in found.items() if not columns):
        # Of the cells of a grid one name is enough.
        names = ", ".join(dict.fromkeys(re.sub(r"_\d+_\d+$", "_*", name) for name in offered))
        if setting:
            raise UsageError(
                f"{setting} has {missing}, and the bytes of the true state are {names} in this "
                f"env; choose among these, or leave out --{setting}."
            )
        raise UsageError(
            f"{part} needs {missing} of the true state, which consists of {names} in this env; "
            f"{remedy}."
        )
    return list(dict.fromkeys(i for columns in found.values() for i in columns))
