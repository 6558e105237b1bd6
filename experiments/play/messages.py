"""Commands that the page sends to the session, validated before they are executed."""

import math
from collections.abc import Callable
from typing import Any, TypedDict, cast

from .session import SPEEDS, Session


class Command(TypedDict, total=False):
    """A message from the page, as parsed from JSON."""

    command: str
    """A key of ``HANDLERS``."""
    value: Any
    name: str
    """Of the slider that ``set_slider`` sets."""


def execute(session: Session, message: object) -> bool:
    """Execute a command; an invalid message is ignored and counted.

    Returns whether the message was valid.
    """
    try:
        if not isinstance(message, dict):
            raise ValueError
        HANDLERS[message["command"]](session, cast(Command, message))
    except (KeyError, ValueError, TypeError, OverflowError):
        session.ignored_messages += 1
        return False
    return True


def _set_keys(session: Session, command: Command) -> None:
    keys = command["value"]
    if not isinstance(keys, list) or len(keys) > 20 or not all(type(k) is str for k in keys):
        raise ValueError
    session.held_keys = tuple(keys)


def _set_mode(session: Session, command: Command) -> None:
    mode = command["value"]
    if mode not in ("watch", "dream") or (mode == "dream" and session.dream is None):
        raise ValueError
    if session.mode != mode:
        session.mode, session.sought_timestep = mode, None
        _resync(session, command)


def _set_playing(session: Session, command: Command) -> None:
    session.playing, session.sought_timestep = _boolean(command), None


def _step(session: Session, command: Command) -> None:
    session.playing, session.sought_timestep = False, None
    session.step()


def _set_speed(session: Session, command: Command) -> None:
    session.speed = int(_number(command["value"], SPEEDS[0], SPEEDS[-1]))


def _set_manual(session: Session, command: Command) -> None:
    session.manual = _boolean(command)


def _set_stochastic(session: Session, command: Command) -> None:
    session.stochastic = _boolean(command)
    session.refresh()


def _set_agent_sees_dream(session: Session, command: Command) -> None:
    session.agent_sees_dream = _boolean(command)
    session.refresh()


def _set_max_horizon(session: Session, command: Command) -> None:
    session.max_horizon = int(_number(command["value"], 0, 10_000))


def _resync(session: Session, command: Command) -> None:
    if session.dream is not None:
        session.dream.resync()
    session.refresh()


def _new_episode(session: Session, command: Command) -> None:
    session.sought_timestep = None
    session.reset()


def _set_recording(session: Session, command: Command) -> None:
    session.set_recording(_boolean(command))


def _seek(session: Session, command: Command) -> None:
    session.sought_timestep = int(_number(command["value"], 0, session.timestep))


def _go_live(session: Session, command: Command) -> None:
    session.sought_timestep = None


def _set_slider(session: Session, command: Command) -> None:
    name, value = command["name"], command["value"]
    session.set_slider(name, None if value is None else _number(value, -math.inf, math.inf))
    session.refresh()


def _boolean(command: Command) -> bool:
    value = command["value"]
    if not isinstance(value, bool):
        raise ValueError
    return value


def _number(value: object, minimum: float, maximum: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    if not math.isfinite(value) or not minimum <= value <= maximum:
        raise ValueError
    return value


HANDLERS: dict[str, Callable[[Session, Command], None]] = {
    "set_keys": _set_keys,
    "set_mode": _set_mode,
    "set_playing": _set_playing,
    "step": _step,
    "set_speed": _set_speed,
    "set_manual": _set_manual,
    "set_stochastic": _set_stochastic,
    "set_agent_sees_dream": _set_agent_sees_dream,
    "set_max_horizon": _set_max_horizon,
    "resync": _resync,
    "new_episode": _new_episode,
    "set_recording": _set_recording,
    "seek": _seek,
    "go_live": _go_live,
    "set_slider": _set_slider,
}
"""By the ``command`` of a message."""
