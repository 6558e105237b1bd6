"""The server of the page: one socket on loopback, and a clock.

A frame is sent only where the page has shown those before it, and then it is the newest: what a
slow page cannot take is dropped, never queued. The server stops when the page is closed.
"""

import asyncio
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from experiments.play.session import Session
from experiments.play.wishes import carry_out

T = TypeVar("T")
PAGE = Path(__file__).parent / "page"
LOOPBACK = ("127.0.0.1", "localhost")
AHEAD = 2
"""Frames that may be on their way to the page at a time."""
LINGER = 3.0
"""Seconds in which a closed page may come back, as when it is loaded anew."""
LARGEST = 1 << 16
"""Bytes of a message from the page; a larger one ends the connection."""
SOCKETS = "ws://127.0.0.1:* ws://localhost:*"
POLICY = f"default-src 'self'; connect-src 'self' {SOCKETS}; frame-ancestors 'none'"


class Clock:
    """Ticks the session at its pace; everything that touches it happens in one thread, in turn."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.thread = ThreadPoolExecutor(1, "play")
        self.nudged, self.fresh = asyncio.Event(), asyncio.Event()
        self.due = 0.0

    async def ask(self, function: Callable[..., T], *arguments: Any) -> T:
        """What a function of the session answers."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *arguments)

    async def do(self, message: object) -> None:
        """Carry out a wish between two ticks; a key by hand is answered at once."""
        held = self.session.held
        await self.ask(carry_out, self.session, message)
        self.fresh.set()
        if not self.session.by_hand or self.session.held != held:
            self.nudged.set()

    async def run(self) -> None:
        """Tick for ever; a key that is pressed early borrows its tick from the next one's time."""
        while True:
            if not self.session.ticking:
                await self.nudged.wait()
                self.due = time.monotonic()
            pressed = False
            with suppress(TimeoutError):
                left = max(self.due - time.monotonic(), 0.0)
                pressed = await asyncio.wait_for(self.nudged.wait(), left)
            self.nudged.clear()
            if pressed and not self.session.by_hand:
                continue
            if self.session.ticking and await self.ask(self.session.tick):
                self.fresh.set()
            period = 1 / self.session.speed
            # What is more than a tick late is not made up for.
            self.due = max(self.due, time.monotonic() - period) + period


class Server:
    """The page and its socket."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.clock = Clock(session)
        self.viewer: WebSocket | None = None
        self.error: BaseException | None = None
        self.app = Starlette(
            routes=[
                WebSocketRoute("/play", self.play),
                Mount("/", StaticFiles(directory=PAGE, html=True)),
            ],
            middleware=[
                Middleware(TrustedHostMiddleware, allowed_hosts=list(LOOPBACK)),
                Middleware(Guarded),
            ],
        )
        config = uvicorn.Config(
            self.app, log_level="warning", lifespan="off", ws_max_size=LARGEST,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self.uvicorn = uvicorn.Server(config)

    def run(self, sockets: list[Any]) -> None:
        """Serve until the page is closed; raises what ended the play, if anything did."""
        self.uvicorn.run(sockets)
        if self.error is not None:
            raise self.error

    async def play(self, socket: WebSocket) -> None:
        """One page: its wishes in, the newest frame out, until it closes or another one opens."""
        if not same_origin(socket):
            await socket.close(1008)
            return
        await socket.accept()
        before, self.viewer = self.viewer, socket
        if before is not None:
            with suppress(RuntimeError, WebSocketDisconnect):
                await before.close(4001, "opened elsewhere")
        sending = Sending(socket, self.clock)
        work = self.clock.run(), sending.run(), sending.hear()
        jobs = [asyncio.create_task(job) for job in work]
        done, rest = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        for job in rest:
            job.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        if self.viewer is not socket:
            return
        for job in done:
            error = job.exception()
            if error is not None and not isinstance(error, WebSocketDisconnect):
                self.error = error
                self.uvicorn.should_exit = True
        self.viewer = None
        asyncio.get_running_loop().call_later(LINGER, self._stop_if_left)

    def _stop_if_left(self) -> None:
        if self.viewer is None:
            self.uvicorn.should_exit = True


class Sending:
    """The two directions of one page's socket."""

    def __init__(self, socket: WebSocket, clock: Clock) -> None:
        self.socket, self.clock = socket, clock
        self.under_way = 0
        self.room = asyncio.Event()
        self.room.set()

    async def run(self) -> None:
        """Send what is newest whenever there is room and something new."""
        session = self.clock.session
        await self.socket.send_text(json.dumps(session.hello()))
        since, fresh = -1, self.clock.fresh
        fresh.set()
        while True:
            await fresh.wait()
            await self.room.wait()
            fresh.clear()
            newest = session.ticks
            message = await self.clock.ask(session.message, since)
            self.under_way += 1
            if self.under_way >= AHEAD:
                self.room.clear()
            await self.socket.send_bytes(message)
            since = newest

    async def hear(self) -> None:
        """Take wishes, and the page's word that a frame is on its screen."""
        while True:
            said = await self.socket.receive()
            if said["type"] == "websocket.disconnect":
                raise WebSocketDisconnect
            try:
                message = json.loads(said.get("text") or "")
            except (ValueError, RecursionError):
                message = None
            if message == {"do": "shown"}:
                self.under_way = max(self.under_way - 1, 0)
                self.room.set()
            else:
                await self.clock.do(message)


class Guarded:
    """Every answer says that the page is made of its own files alone."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        await self.app(scope, receive, guarded)


def same_origin(connection: HTTPConnection) -> bool:
    """Whether a browser's page is ours; what is no browser names no origin and is let in."""
    origin = connection.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == connection.headers.get("host")
