"""The server of the page: a WebSocket on the loopback interface, and a clock.

A frame is sent only after the page has shown the ones before it, and it is always the newest:
frames that a slow page cannot take are dropped, never queued. The server stops when the page is
closed.
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
from starlette.responses import Response
from starlette.routing import Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..runs.files import to_json
from .messages import execute
from .session import Session

T = TypeVar("T")
PAGE_FOLDER = Path(__file__).parent / "page"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
MAX_FRAMES_IN_FLIGHT = 2
"""Frames sent that the page has not confirmed."""
RECONNECT_SECONDS = 3.0
"""Time in which a closed page may reconnect, for example on a reload."""
MAX_MESSAGE_BYTES = 1 << 16
"""Of a message from the page; a larger one closes the connection."""
SOCKETS = "ws://127.0.0.1:* ws://localhost:*"
SECURITY_POLICY = f"default-src 'self'; connect-src 'self' {SOCKETS}; frame-ancestors 'none'"


class Clock:
    """Steps the session at its speed, and runs all calls to it one after another in one thread."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.thread = ThreadPoolExecutor(1, "play")
        self.interrupted, self.updated = asyncio.Event(), asyncio.Event()
        self.next_step_time = 0.0

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the session's thread."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *args)

    async def execute(self, message: object) -> None:
        """Execute a command between two steps; a key in manual control steps immediately."""
        held_keys = self.session.held_keys
        await self.call(execute, self.session, message)
        self.updated.set()
        if not self.session.manual or self.session.held_keys != held_keys:
            self.interrupted.set()

    async def run(self) -> None:
        """Step forever; an immediate step for a key delays the next regular step."""
        while True:
            if not self.session.running:
                await self.interrupted.wait()
                self.next_step_time = time.monotonic()
            interrupted = False
            with suppress(TimeoutError):
                timeout = max(self.next_step_time - time.monotonic(), 0.0)
                interrupted = await asyncio.wait_for(self.interrupted.wait(), timeout)
            self.interrupted.clear()
            if interrupted and not self.session.manual:
                continue
            if self.session.running and await self.call(self.session.step):
                self.updated.set()
            period = 1 / self.session.speed
            # A delay of more than one period is not made up for.
            self.next_step_time = max(self.next_step_time, time.monotonic() - period) + period


class Server:
    """Serves the page's files and its WebSocket."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.clock = Clock(session)
        self.socket: WebSocket | None = None
        """Of the open page."""
        self.error: BaseException | None = None
        app = Starlette(
            routes=[
                WebSocketRoute("/play", self.serve_socket),
                Mount("/", PageFiles(directory=PAGE_FOLDER, html=True)),
            ],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=ALLOWED_HOSTS)],
        )
        config = uvicorn.Config(
            app, log_level="warning", lifespan="off", ws_max_size=MAX_MESSAGE_BYTES,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self.uvicorn = uvicorn.Server(config)

    def run(self, sockets: list[Any]) -> None:
        """Serve until the page is closed; raises the error that stopped the session, if any."""
        self.uvicorn.run(sockets)
        if self.error is not None:
            raise self.error

    async def serve_socket(self, socket: WebSocket) -> None:
        """Serve one page until it is closed or another page is opened."""
        if not same_origin(socket):
            await socket.close(1008)
            return
        await socket.accept()
        previous, self.socket = self.socket, socket
        if previous is not None:
            with suppress(RuntimeError, WebSocketDisconnect):
                await previous.close(4001, "opened elsewhere")
        unused_frames = asyncio.BoundedSemaphore(MAX_FRAMES_IN_FLIGHT)
        coroutines = (
            self.clock.run(),
            self._send(socket, unused_frames),
            self._receive(socket, unused_frames),
        )
        tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        if self.socket is not socket:
            return
        for task in done:
            error = task.exception()
            if error is not None and not isinstance(error, WebSocketDisconnect):
                self.error = error
                self.uvicorn.should_exit = True
        self.socket = None
        asyncio.get_running_loop().call_later(RECONNECT_SECONDS, self._stop_if_closed)

    async def _send(self, socket: WebSocket, unused_frames: asyncio.Semaphore) -> None:
        """Send the newest frame whenever there is an update and the page is ready."""
        await socket.send_text(to_json(self.session.info()))
        since, updated = -1, self.clock.updated
        updated.set()
        while True:
            await updated.wait()
            await unused_frames.acquire()
            updated.clear()
            newest = self.session.timestep
            await socket.send_bytes(await self.clock.call(self.session.message, since))
            since = newest

    async def _receive(self, socket: WebSocket, unused_frames: asyncio.Semaphore) -> None:
        """Receive commands, and confirmations that the page has shown a frame."""
        while True:
            event = await socket.receive()
            if event["type"] == "websocket.disconnect":
                raise WebSocketDisconnect
            try:
                message = json.loads(event.get("text") or "")
            except (ValueError, RecursionError):
                message = None
            if message == {"command": "frame_shown"}:
                with suppress(ValueError):  # more confirmations than frames
                    unused_frames.release()
            else:
                await self.clock.execute(message)

    def _stop_if_closed(self) -> None:
        if self.socket is None:
            self.uvicorn.should_exit = True


class PageFiles(StaticFiles):
    """Serves the page's files, restricted to one another and never cached."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers["content-security-policy"] = SECURITY_POLICY
        response.headers["cache-control"] = "no-store"
        return response


def same_origin(connection: HTTPConnection) -> bool:
    """Return whether a request comes from this page, or from a client that sends no origin."""
    origin = connection.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == connection.headers.get("host")
