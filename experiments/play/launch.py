"""``reverie play RUN``: load a run, two, or a moment, and serve its page or record a video."""

import importlib.util
import socket
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import torch
import tyro

from ...envs.checks import at_least, check, within
from ...envs.errors import Interrupted, UsageError
from ..config.arguments import parse_flags, take_imports
from ..evaluation.video import VideoWriter
from ..runs.outputs import check_writable
from ..runs.runtime import interrupts, pick_threads, raising_interrupted
from ..text.terminal_text import paragraph
from .lockstep import Lockstep, check_comparable
from .moment_file import SUFFIX, read_moment_file
from .playback import Playback
from .session import REAL_TIME, SPEEDS, Mode, Session
from .setup import load_setup

REQUIRED_MODULES = ("starlette", "uvicorn", "websockets")
MAX_PORTS = 50
"""Consecutive ports to try."""


@dataclass(frozen=True)
class PlayOptions:
    """Options of ``reverie play``."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = ""
    """Run folder, or a file of a moment that the page has saved."""
    other: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_B")] = ""
    """Run whose agent plays beside the first one, in the same env, with the same chance."""
    port: int = 8321
    """Port of the page on 127.0.0.1; if it is busy, the next free one."""
    agent: str = ""
    """Run whose agent plays; only if RUN is a pretraining, which has no agent."""
    mode: Mode | None = None
    """dream or watch; by default watch, or dream if RUN has no agent to inspect."""
    speed: int = REAL_TIME
    """Agent steps per second."""
    seed: int = 0
    """Seed of the env and of the policy."""
    open: bool = False
    """Open the page in a browser on this machine."""
    video: Path | None = None
    """Write an MP4 or GIF to this path instead of serving a page."""
    timesteps: int = 300
    """Agent steps of the video."""
    max_horizon: int = 0
    """Imagined steps after which the dream resyncs with the emulator; 0 for never."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""
    threads: int = 1
    """CPU threads; 0 for all cores. More than 1 seldom speeds up a batch of one observation, and
    takes a core from the browser."""

    def __post_init__(self) -> None:
        check(self, "", within(1, 65_535), "port")
        check(self, "", within(1, 10**6), "timesteps")
        check(self, "", within(SPEEDS[0], SPEEDS[-1]), "speed")
        check(self, "", at_least(0), "max_horizon")
        if self.video is not None and self.video.suffix not in (".mp4", ".gif"):
            raise UsageError(f"--video {self.video} must end in .mp4 or .gif.")
        if self.video is None:
            self.refuse("timesteps", because="A page is played until it is closed")
        else:
            self.refuse("port", "open", because=f"A video is written to {self.video}")

    def refuse(self, *names: str, because: str) -> None:
        """Raise UsageError if one of these options is not its default."""
        for field in fields(self):
            if field.name in names and getattr(self, field.name) != field.default:
                flag = f"--{field.name.replace('_', '-')}"
                flag = self.other if field.name == "other" else flag
                raise UsageError(f"{because}; remove {flag}, which has no effect.")


def play(argv: list[str]) -> int:
    """Play a run on a page until the page is closed, or record a video of it."""
    argv, _ = take_imports(argv)
    options = parse_flags(PlayOptions, argv, "reverie play")
    run = options.run
    if not run:
        raise UsageError("RUN is missing: name the run folder, as in reverie play runs/NAME.")
    if options.video is None:
        check_extra()
    else:
        check_writable(options.video, remedy="choose another path with --video")
    if Path(run).suffix == SUFFIX and not Path(run).is_dir():
        _play_moment(options)
        return 0
    torch.set_num_threads(pick_threads(options.threads))
    played = open_sessions(options)
    try:
        if options.video is not None:
            record_video(played, options.video, options.timesteps)
        else:
            serve(played, options)
    finally:
        played.close()
    return 0


def _play_moment(options: PlayOptions) -> None:
    """Serve the page of a moment; raises UsageError with options of an agent, or with a video."""
    names = [x.name for x in fields(options) if x.name not in ("run", "port", "speed", "open")]
    options.refuse(*names, because=f"{options.run} is a moment, which is shown as it was played")
    playback = Playback(read_moment_file(Path(options.run)), closable=False)
    playback.speed = options.speed
    serve(playback, options)


def open_sessions(options: PlayOptions) -> Lockstep:
    """Load the run, or both, and begin to play; raises UsageError if the two cannot be compared."""
    sessions: list[Session] = []
    try:
        for run in filter(None, (options.run, options.other)):
            agent = options.agent if run == options.run else ""
            setup = load_setup(run, agent=agent, seed=options.seed, device=options.device)
            session = Session(setup)
            sessions.append(session)
            if options.mode == "dream" and session.dream is None:
                raise UsageError(f"--mode dream is not possible for {run}. {setup.no_dream_reason}")
            session.speed, session.max_horizon = options.speed, options.max_horizon
        check_comparable(sessions)
        usual: Mode = sessions[0].mode if all(x.dream for x in sessions) else "watch"
        for session in sessions:
            session.set_mode(options.mode or usual)
    except BaseException:
        for session in sessions:
            session.close()
        raise
    return Lockstep(sessions, Path(options.run) / "videos")


def record_video(played: Lockstep, path: Path, timesteps: int) -> None:
    """Play for a number of timesteps and record them, after the present one.

    SIGINT, SIGTERM and SIGHUP end the video after the current timestep, with Interrupted.
    """
    video = VideoWriter(path, played.speed, live=True)
    try:
        with interrupts() as received:
            video.add(played.render())
            while video.length <= timesteps and not received:
                played.step()
                video.add(played.render())
            video.close()
    except OSError as error:
        raise UsageError(
            f"The video {path} cannot be written ({video.failure(error)}); "
            "choose another path with --video."
        ) from error
    print(f"{video.length - 1} timesteps in {path}")
    if received:
        raise Interrupted(received[0])


def serve(played: Lockstep | Playback, options: PlayOptions) -> None:
    """Print the page's address, and serve the page until it is closed."""
    from .server import Server  # imports the packages of the extra

    bound_socket = free_port(options.port)
    port = bound_socket.getsockname()[1]
    if port != options.port:
        print(f"Port {options.port} is busy; using {port}.")
    server = Server(played)
    address = server.address(port)
    print(f"Playing {' and '.join(filter(None, (options.run, options.other)))} on {address}")
    print(f"From another machine: ssh -L {port}:127.0.0.1:{port} HOST, then the same address")
    sessions = played.sessions if isinstance(played, Lockstep) else ()
    if reason := next(filter(None, (x.setup.no_dream_reason for x in sessions)), ""):
        print(paragraph(f"Watch mode only. {reason}"))
    print("Close the page to stop.", flush=True)
    with raising_interrupted(), _browser(address) if options.open else nullcontext():
        server.run([bound_socket])
    print("The page was closed.")


@contextmanager
def _browser(address: str) -> Iterator[None]:
    """Open an address in a browser by a file, as other users see the arguments of processes."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".html"))
        except OSError as error:
            raise UsageError(f"--open needs a temporary file ({error}); remove it.") from error
        file.write(f'<meta http-equiv="refresh" content="0; url={address}">')
        file.flush()
        webbrowser.open(Path(file.name).as_uri())
        yield


def check_extra() -> None:
    """Raise UsageError if the packages that serve the page are not installed."""
    missing = [name for name in REQUIRED_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"The page needs {', '.join(missing)}, which is not installed; "
            f"run `pip install {' '.join(missing)}`."
        )


def free_port(first: int) -> socket.socket:
    """Return a socket on loopback, bound to the first free port from ``first`` on."""
    ports = range(first, min(first + MAX_PORTS, 65_536))
    for port in ports:
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
    raise UsageError(
        f"--port {first}: no port from {first} to {ports[-1]} is free; choose another --port."
    )
