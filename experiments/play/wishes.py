"""What a page may wish for: messages from outside, checked before anything is done."""

import math
from collections.abc import Callable
from typing import Any

from experiments.play.session import SPEEDS, Session

Wish = dict[str, Any]


def carry_out(session: Session, message: object) -> bool:
    """Do what a message asks; one that cannot be understood is ignored, and counted."""
    try:
        if not isinstance(message, dict):
            raise ValueError
        WISHES[message["do"]](session, message)
    except (KeyError, ValueError, TypeError, OverflowError):
        session.ignored += 1
        return False
    return True


def _keys(session: Session, wish: Wish) -> None:
    held = wish["held"]
    if not isinstance(held, list) or len(held) > 20 or not all(type(k) is str for k in held):
        raise ValueError
    session.held = tuple(held)


def _mode(session: Session, wish: Wish) -> None:
    mode = wish["to"]
    if mode not in ("watch", "dream") or (mode == "dream" and session.dream is None):
        raise ValueError
    if session.mode != mode:
        session.mode, session.scrubbed = mode, None
        _resync(session, wish)


def _play(session: Session, wish: Wish) -> None:
    session.playing, session.scrubbed = _truth(wish), None


def _step(session: Session, wish: Wish) -> None:
    session.playing, session.scrubbed = False, None
    session.tick()


def _speed(session: Session, wish: Wish) -> None:
    session.speed = int(_number(wish["to"], SPEEDS[0], SPEEDS[-1]))


def _hand(session: Session, wish: Wish) -> None:
    session.by_hand = _truth(wish)


def _explore(session: Session, wish: Wish) -> None:
    session.explores = _truth(wish)
    session.look_again()


def _dreams(session: Session, wish: Wish) -> None:
    session.dreams = _truth(wish)
    session.look_again()


def _limit(session: Session, wish: Wish) -> None:
    session.limit = int(_number(wish["to"], 0, 10_000))


def _resync(session: Session, wish: Wish) -> None:
    if session.dream is not None:
        session.dream.resync()
    session.look_again()


def _new(session: Session, wish: Wish) -> None:
    session.scrubbed = None
    session.begin()


def _record(session: Session, wish: Wish) -> None:
    session.record(_truth(wish))


def _scrub(session: Session, wish: Wish) -> None:
    session.scrubbed = int(_number(wish["to"], 0, session.ticks))


def _live(session: Session, wish: Wish) -> None:
    session.scrubbed = None


def _slide(session: Session, wish: Wish) -> None:
    name, value = wish["name"], wish["to"]
    session.turn(name, None if value is None else _number(value, -math.inf, math.inf))
    session.look_again()


def _truth(wish: Wish) -> bool:
    if not isinstance(wish["on"], bool):
        raise ValueError
    return wish["on"]


def _number(value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    if not math.isfinite(value) or not least <= value <= most:
        raise ValueError
    return value


WISHES: dict[str, Callable[[Session, Wish], None]] = {
    "keys": _keys, "mode": _mode, "play": _play, "step": _step, "speed": _speed, "hand": _hand,
    "explore": _explore, "dreams": _dreams, "limit": _limit, "resync": _resync, "new": _new,
    "record": _record, "scrub": _scrub, "live": _live, "slide": _slide,
}  # fmt: skip
"""By the word in a message's ``do``."""
