"""Commands that the page sends to the session, validated before they are executed."""

import math
from typing import Any

from ..inspectors.frame_completion import FrameCompletion
from .session import SPEEDS, Session


def execute(session: Session, message: object) -> bool:
    """Execute a command; an invalid message is ignored and counted.

    ``message`` is parsed from JSON: an object with ``command`` and, for most commands, ``value``.
    Returns whether it was valid. Commands for all sessions of a page together are those of
    ``Lockstep``.
    """
    match message:
        case {"command": "set_keys", "value": [*keys]} if _are_keys(keys):
            session.held_keys = tuple(keys)
        case {"command": "set_mode", "value": "watch" | "dream" as mode} if (
            mode == "watch" or session.dream
        ):
            session.set_mode(mode)
        case {"command": "set_playing", "value": bool(playing)}:
            session.playing, session.sought_timestep = playing, None
        case {"command": "set_speed", "value": speed} if _within(speed, SPEEDS[0], SPEEDS[-1]):
            session.speed = int(speed)
        case {"command": "set_manual", "value": bool(manual)}:
            session.manual = manual
        case {"command": "set_stochastic", "value": bool(stochastic)}:
            session.stochastic = stochastic
            session.refresh()
        case {"command": "set_show_boxes", "value": bool(show)}:
            session.show_boxes = show
            session.refresh()
        case {"command": "set_agent_sees_dream", "value": bool(sees_dream)}:
            session.agent_sees_dream = sees_dream
            session.refresh()
        case {"command": "set_max_horizon", "value": horizon} if _within(horizon, 0, 10_000):
            session.max_horizon = int(horizon)
        case {"command": "resync"}:
            session.resync()
        case {"command": "new_episode"}:
            session.sought_timestep = None
            session.reset()
        case {"command": "seek", "value": timestep} if _within(timestep, 0, session.timestep):
            session.sought_timestep = int(timestep)
        case {"command": "go_live"}:
            session.sought_timestep = None
        case {"command": "go_on"} if session.sought_timestep is not None:
            session.go_on()
        case {"command": "set_slider", "name": str(name), "value": value} if (
            value is None or _within(value, -math.inf, math.inf)
        ):
            session.set_slider(name, value)
        case {"command": "erase", "value": [_, *_] as points} if _are_points(points):
            session.change_erased(lambda frame: frame.erase(points))
        case {"command": "erase_lower_half"}:
            session.change_erased(FrameCompletion.erase_lower_half)
        case {"command": "restore"}:
            session.change_erased(FrameCompletion.restore)
        case _:
            session.ignored_messages += 1
            return False
    return True


def _are_keys(keys: list[Any]) -> bool:
    return len(keys) <= 20 and all(type(key) is str for key in keys)


def _are_points(points: list[Any]) -> bool:
    """Return whether these are at most 500 points (x, y) of a picture, from 0 to 1."""
    return len(points) <= 500 and all(
        isinstance(point, list) and len(point) == 2 and all(_within(x, 0, 1) for x in point)
        for point in points
    )


def _within(value: Any, minimum: float, maximum: float) -> bool:
    """Return whether a value is a finite number within bounds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and minimum <= value <= maximum and abs(value) < math.inf
