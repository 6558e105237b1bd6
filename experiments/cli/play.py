"""``reverie play RUN [--flags]``; its page needs the extra ``play``."""

from ..play.launch import play as run

__all__ = ["run"]
