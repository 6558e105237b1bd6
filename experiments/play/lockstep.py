"""Lockstep: sessions of one env that are stepped together, each with the same chance.

Episode k of all has the same seed. Whoever ends it first waits for the others, so that all begin
the next one together.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ...envs.errors import UsageError
from ..evaluation.drawn_text import shortened
from ..evaluation.video import Image, VideoWriter
from .encoding import pack_players
from .film import FILM_WIDTH, Film
from .messages import execute
from .moment_file import moment
from .session import SPEEDS, Session


class Lockstep:
    """One session, or several beside each other, as one page shows and controls them."""

    def __init__(self, sessions: Sequence[Session], video_folder: Path = Path("videos")) -> None:
        self.sessions, self.video_folder = tuple(sessions), video_folder
        self.first = self.sessions[0]
        """The session whose speed, timestep and controls are those of all."""
        self.films = [Film() for _ in self.sessions]
        self.video: VideoWriter | None = None
        self.recording_result = ""
        """The path of the last recording, or why there is none."""

    @property
    def timestep(self) -> int:
        return self.first.timestep

    @property
    def running(self) -> bool:
        return self.first.running

    @property
    def manual(self) -> bool:
        return self.first.manual

    @property
    def held_keys(self) -> tuple[str, ...]:
        return self.first.held_keys

    @property
    def speed(self) -> int:
        return self.first.speed

    def info(self) -> dict[str, Any]:
        """Return what the page needs once, when it connects."""
        players = [session.info() for session in self.sessions]
        return {"moment": False, "closable": False, "speeds": SPEEDS, "players": players}

    def message(self, since: int = -1) -> bytes:
        """Encode what the page shows, with the events after timestep ``since``."""
        recorded = {
            "recordedFrames": self.video.length if self.video else None,
            "recordingResult": self.recording_result,
        }
        return pack_players(session.message(since, **recorded) for session in self.sessions)

    def execute(self, message: object) -> bool:
        """Execute a command in all sessions, or in that of its ``player``; return if it is valid.

        A command that some sessions do not know leaves the others as they were, too.
        """
        match message:
            case {"command": "step"}:
                for session in self.sessions:
                    session.playing, session.sought_timestep = False, None
                self.step()
            case {"command": "set_recording", "value": bool(recording)}:
                self.set_recording(recording)
            case {"command": _, "player": int(player)} if 0 <= player < len(self.sessions):
                return execute(self.sessions[player], message)
            case _:
                valid = [execute(session, message) for session in self.sessions]
                return all(valid)
        return True

    def step(self) -> bool:
        """Step the sessions whose episode goes on, or all; return False if a key is waited for."""
        moving = [x for x in self.sessions if not x.game.last] or self.sessions
        if any(session.next_action() is None for session in moving):
            return False
        for session in self.sessions:
            if session in moving:
                session.step()
            else:
                session.wait()
        oldest = max(session.history.oldest for session in self.sessions)
        for session in self.sessions:  # views of different sizes: all go back equally far
            session.history.drop_before(oldest)
        if self.video:
            self._record(self.video, lambda video: video.add(self.render()))
        return True

    def render(self) -> Image:
        """Render the newest views as the image of a film, beside each other, and name the runs."""
        images = []
        for i, (film, session) in enumerate(zip(self.films, self.sessions, strict=True)):
            caption = session.caption()
            if len(self.sessions) > 1:
                run = shortened(session.info()["run"], FILM_WIDTH / 2)
                caption = f"{'AB'[i]} · {run}   {caption}"
            images.append(film.render(session.view, caption))
        image: Image = np.concatenate(images, axis=1)
        return image

    def moment(self) -> bytes:
        """Return the shown timestep and those before it as the content of a file."""
        return moment((x.info(), x.history, x.shown_timestep) for x in self.sessions)

    def set_recording(self, recording: bool) -> None:
        """Start a video, or finish the one that is being recorded."""
        if recording and self.video is None:
            timestamp = datetime.now().strftime("%Y%m%d-%H%M%S")
            path = self.video_folder / f"{self.first.mode}-{timestamp}.mp4"
            self.video, self.recording_result = VideoWriter(path, self.speed, live=True), ""
            self._record(self.video, lambda video: video.add(self.render()))
        elif not recording and self.video is not None:
            video, self.recording_result = self.video, str(self.video.path)
            self.video = None
            self._record(video, VideoWriter.close)

    def _record(self, video: VideoWriter, change: Callable[[VideoWriter], None]) -> None:
        """Change a video, whose recording ends if it cannot be written; play goes on."""
        try:
            change(video)
        except OSError as error:
            self.video = None
            self.recording_result = f"{video.path} ended ({video.failure(error)})"

    def close(self) -> None:
        """Finish the video, and close the games."""
        self.set_recording(False)
        for session in self.sessions:
            session.close()


def check_comparable(sessions: Sequence[Session]) -> None:
    """Raise UsageError unless all sessions play one env under the same rules."""
    first, *others = (x.setup for x in sessions)
    for other in others:
        if Path(other.run).resolve() == Path(first.run).resolve():
            raise UsageError(f"{other.run} is named twice; name two different runs.")
        envs = [(x.game.env_name, x.game.rules, x.game.action_names) for x in (first, other)]
        if envs[0] != envs[1]:
            names = [f"{x.game.env_name} under {x.game.protocol}" for x in (first, other)]
            raise UsageError(
                f"{first.run} plays {names[0]} and {other.run} {names[1]}; choose two runs of one "
                "env with the same rules and actions to compare them."
            )
