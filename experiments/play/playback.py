"""Playback of a moment: its timesteps on the page, as those of a session, without env or agent."""

from typing import Any

from .encoding import pack, pack_players
from .history import History
from .session import REAL_TIME, SPEEDS


class Playback:
    """The players of a moment on one timeline, which runs until its last timestep."""

    def __init__(self, players: list[tuple[dict[str, Any], History]], *, closable: bool) -> None:
        self.players, self.closable = players, closable
        """``closable`` is whether the page was playing something else, and can return to it."""
        self.newest = max(x.entries[-1].event.timestep for _, x in players)
        self.timestep = min(x.oldest for _, x in players)
        """The shown one."""
        self.playing, self.speed, self.ignored_messages = True, REAL_TIME, 0
        self.manual, self.held_keys = False, ()

    @property
    def running(self) -> bool:
        return self.playing and self.timestep < self.newest

    def info(self) -> dict[str, Any]:
        """Return what the page needs once."""
        live = {"keys": [], "pad": [], "erasable": False, "boxes": False, "noDreamReason": ""}
        players = [info | live for info, _ in self.players]
        return {"moment": True, "closable": self.closable, "speeds": SPEEDS, "players": players}

    def message(self, since: int = -1) -> bytes:
        """Encode the shown timestep; the first message has the events of all the moment."""
        return pack_players(self._message(history, since) for _, history in self.players)

    def _message(self, history: History, since: int) -> bytes:
        entry = history.at(self.timestep)
        state = {
            **entry.state,
            "timestep": entry.event.timestep,
            "newest": history.entries[-1].event.timestep,
            "oldest": history.oldest,
            "live": self.running,
            "playing": self.running,
            "manual": False,
            "mode": "dream" if entry.state["dreamed"] else "watch",
            "speed": self.speed,
            "recordedFrames": None,
            "recordingResult": "",
            "ignoredMessages": self.ignored_messages,
            "erased": 0,
            "events": history.events_since(-1) if since < 0 else [],
        }
        return pack(state, entry.packed_view)

    def step(self) -> bool:
        """Show the next timestep; return False at the end."""
        if self.timestep == self.newest:
            return False
        self.timestep += 1
        return True

    def execute(self, message: object) -> bool:
        """Execute a command of the page; those of a live session alone are ignored and counted."""
        match message:
            case {"command": "set_playing", "value": bool(playing)}:
                if playing and self.timestep == self.newest:
                    self.timestep = min(x.oldest for _, x in self.players)
                self.playing = playing
            case {"command": "step"}:
                self.playing = False
                self.step()
            case {"command": "set_speed", "value": int(speed)} if SPEEDS[0] <= speed <= SPEEDS[-1]:
                self.speed = speed
            case {"command": "seek", "value": int(timestep)} if 0 <= timestep <= self.newest:
                self.playing, self.timestep = False, timestep
            case {"command": "go_live"}:
                self.playing, self.timestep = False, self.newest
            case {"command": "set_keys"}:
                pass
            case _:
                self.ignored_messages += 1
                return False
        return True

    def close(self) -> None:
        """Do nothing: no env is open."""
