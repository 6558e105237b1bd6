"""``reverie play RUN``: what is played, where its page is, and what is missing."""

import importlib.util
import socket
import webbrowser
from dataclasses import dataclass
from pathlib import Path

import torch

from envs.checks import at_least, check, within
from envs.errors import UsageError
from experiments.machine import pick_threads
from experiments.parse import import_modules, parse_flags
from experiments.play.cast import cast
from experiments.play.film import Film
from experiments.play.session import REAL_TIME, SPEEDS, Mode, Session
from experiments.play.wishes import carry_out

EXTRA = ("starlette", "uvicorn", "websockets")
PORTS = 50
"""Ports that are tried, one after the other, where the first is busy."""


@dataclass(frozen=True)
class PlayOptions:
    """Where the page is, and what it begins with."""

    port: int = 8321
    """Of the page, on this machine alone; the next free one where it is busy."""
    agent: str = ""
    """A trained run whose agent plays, where RUN is a pretraining and has no player."""
    mode: Mode | None = None
    """dream or watch; by default the dream where there is nobody to watch."""
    speed: int = REAL_TIME
    """Agent steps a second."""
    seed: int = 0
    """Of the game and of the player's dice."""
    open: bool = False
    """Open the page in this machine's browser."""
    film: Path | None = None
    """Write an MP4 or a GIF instead of opening a page."""
    ticks: int = 300
    """Agent steps of that film."""
    limit: int = 0
    """Steps after which a dream is shown the truth again; 0 for never."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""
    threads: int = 1
    """CPU threads; 0 takes all cores. One look at a time is seldom faster with more, and the
    browser wants a core too."""

    def __post_init__(self) -> None:
        check(self, "", within(1, 65_535), "port")
        check(self, "", within(1, 10**6), "ticks")
        check(self, "", within(SPEEDS[0], SPEEDS[-1]), "speed")
        check(self, "", at_least(0), "limit")
        if self.film is not None and self.film.suffix not in (".mp4", ".gif"):
            raise UsageError(f"--film {self.film} must end in .mp4 or .gif.")


def play(words: list[str]) -> int:
    """Play a run on a page, until the page is closed."""
    words = import_modules(words)
    run = words.pop(0) if words and not words[0].startswith("-") else ""
    options = parse_flags(PlayOptions, words, "reverie play RUN")
    if not run:
        raise UsageError("Name the run to play: reverie play runs/...")
    if options.film is None:
        check_extra()
    torch.set_num_threads(pick_threads(options.threads))
    members = cast(run, agent=options.agent, seed=options.seed, device=options.device)
    session = Session(members, seed=options.seed, films=Path(run) / "videos")
    wishes = [{"do": "speed", "to": options.speed}, {"do": "limit", "to": options.limit}]
    if options.mode == "dream" and session.dream is None:
        session.close()
        raise UsageError(f"{run}: {members.why_no_dream}")
    if options.mode is not None:
        wishes.append({"do": "mode", "to": options.mode})
    for wish in wishes:
        carry_out(session, wish)
    try:
        if options.film is not None:
            film(session, options.film, options.ticks)
            print(f"{options.ticks} steps in {options.film}")
        else:
            serve(session, options)
    finally:
        session.close()
    return 0


def film(session: Session, path: Path, ticks: int) -> None:
    """Play so many steps and film them."""
    made = Film(path, session.speed)
    try:
        for _ in range(ticks):
            session.tick()
            made.add(session.view, session.caption())
        made.close()
    except OSError as error:
        raise UsageError(
            f"The film {path} cannot be written ({error.strerror or error}); "
            "choose another with --film."
        ) from error


def serve(session: Session, options: PlayOptions) -> None:
    """Serve the page until it is closed, and say where it is."""
    from experiments.play.server import Server  # what the extra brings

    bound = free_port(options.port)
    port = bound.getsockname()[1]
    if port != options.port:
        print(f"Port {options.port} is busy; took the next free one.")
    address = f"http://127.0.0.1:{port}"
    print(
        f"Playing {session.cast.run} on {address} (from elsewhere: ssh -L {port}:127.0.0.1:{port})"
    )
    if session.cast.why_no_dream:
        print(f"Watch only. {session.cast.why_no_dream}")
    print("It stops when the page is closed.", flush=True)
    if options.open:
        webbrowser.open(address)
    Server(session).run([bound])
    print("The page was closed.")


def check_extra() -> None:
    """Raise UsageError where what serves the page is not installed."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"The page needs {', '.join(missing)}, which is not installed; "
            "run `pip install -e '.[play]'`."
        )


def free_port(first: int) -> socket.socket:
    """A socket on loopback at the first free port from ``first`` on."""
    for port in range(first, min(first + PORTS, 65_536)):
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(("127.0.0.1", port))
            bound.listen()
            return bound
        except OSError:
            bound.close()
    raise UsageError(f"No port from {first} on is free; name another with --port.")
