"""The server of the page: a WebSocket on the loopback interface, and a clock.

A frame is sent only after the page has shown the ones before it, and it is always the newest:
frames that a slow page cannot take are dropped, never queued. The server stops when the page is
closed.
"""

import asyncio
import re
import secrets
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
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from ...envs.errors import UsageError
from ..runs.files import to_json
from ..runs.json_values import parse_json
from .connections import BoundedConnection, BoundedSocket, TokenRequired
from .lockstep import Lockstep
from .moment_file import MAX_FILE_BYTES, SUFFIX, read_moment
from .playback import Playback

T = TypeVar("T")
PAGE_FOLDER = Path(__file__).parent / "page"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
MAX_FRAMES_IN_FLIGHT = 2
"""Frames sent that the page has not confirmed."""
RECONNECT_SECONDS = 3.0
"""Time in which a closed page may reconnect, for example on a reload, after each of its files."""
MAX_MESSAGE_BYTES = 1 << 16
"""Of a message from the page; a larger one closes the connection."""
BACKLOG = 8
"""Connections that are accepted at once, before any of them can be closed."""
BODY_SECONDS = 20.0
"""Time in which a file must arrive."""
SOCKETS = "ws://127.0.0.1:* ws://localhost:*"
SECURITY_POLICY = f"default-src 'self'; connect-src 'self' {SOCKETS}; frame-ancestors 'none'"


class Clock:
    """Steps what is played at its speed, and runs all calls to it one after another in a thread."""

    def __init__(self, played: Lockstep | Playback) -> None:
        self.played = played
        self.thread = ThreadPoolExecutor(1, "play")
        self.interrupted, self.updated = asyncio.Event(), asyncio.Event()
        self.next_step_time = 0.0

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the thread of what is played."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *args)

    async def execute(self, message: object) -> None:
        """Execute a command between two steps; a key in manual control steps immediately."""
        held_keys = self.played.held_keys
        await self.call(self.played.execute, message)
        self.updated.set()
        if not self.played.manual or self.played.held_keys != held_keys:
            self.interrupted.set()

    async def show(self, played: Lockstep | Playback) -> None:
        """Play something, in which no key is held."""
        await self.call(played.execute, {"command": "set_keys", "value": []})
        self.played = played
        self.updated.set()
        self.interrupted.set()

    def _step(self) -> bool:
        """Step unless a command that came first has paused; return whether something moved."""
        return self.played.running and self.played.step()

    async def run(self) -> None:
        """Step forever; an immediate step for a key delays the next regular step."""
        while True:
            if not self.played.running:
                await self.interrupted.wait()
                self.next_step_time = time.monotonic()
            interrupted = False
            with suppress(TimeoutError):
                timeout = max(self.next_step_time - time.monotonic(), 0.0)
                interrupted = await asyncio.wait_for(self.interrupted.wait(), timeout)
            self.interrupted.clear()
            if interrupted and not self.played.manual:
                continue
            if await self.call(self._step):
                self.updated.set()
            period = 1 / self.played.speed
            # A delay of more than one period is not made up for.
            self.next_step_time = max(self.next_step_time, time.monotonic() - period) + period


class Server:
    """Serves the page's files, its WebSocket, and the moments that it saves and opens."""

    def __init__(self, played: Lockstep | Playback) -> None:
        self.played = played
        """What is played, unless the page has opened a moment."""
        self.clock = Clock(played)
        self.socket: WebSocket | None = None
        """Of the open page."""
        self.closing: asyncio.TimerHandle | None = None
        """Stops the server a while after the page was closed."""
        self.error: BaseException | None = None
        self.files = PageFiles(directory=PAGE_FOLDER, html=True)
        self.token = secrets.token_urlsafe(24)
        """Of the address: other users of this machine, who do not know it, are refused."""
        app = Starlette(
            routes=[
                WebSocketRoute("/play", self.serve_socket),
                Route("/moment", self.serve_moment, methods=["GET", "POST"]),
                Mount("/", self.serve_files),
            ],
            middleware=[
                Middleware(TrustedHostMiddleware, allowed_hosts=ALLOWED_HOSTS),
                Middleware(TokenRequired, token=self.token),
            ],
        )
        config = uvicorn.Config(
            app, log_level="warning", lifespan="off", ws_max_size=MAX_MESSAGE_BYTES,
            http=BoundedConnection, ws=BoundedSocket, backlog=BACKLOG, loop="asyncio",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self.uvicorn = uvicorn.Server(config)

    def address(self, port: int) -> str:
        """Return the address of the page, which has the token."""
        return f"http://127.0.0.1:{port}/?token={self.token}"

    def run(self, sockets: list[Any]) -> None:
        """Serve until the page is closed; raises the error that stopped the session, if any.

        At its end, also by a signal, no step is running.
        """
        try:
            self.uvicorn.run(sockets)
        finally:
            self.clock.thread.shutdown(cancel_futures=True)
        if self.error is not None:
            raise self.error

    async def serve_socket(self, socket: WebSocket) -> None:
        """Serve one page until it is closed or another page is opened."""
        if not same_origin(socket):
            await socket.close(1008)
            return
        await socket.accept()
        previous, self.socket = self.socket, socket
        if self.closing:
            self.closing.cancel()
            self.closing = None
        if previous is not None:
            with suppress(RuntimeError, WebSocketDisconnect):
                await previous.close(4001, "opened elsewhere")
        await self.clock.show(self.clock.played)  # a page that was closed releases no keys
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
        errors = [task.exception() for task in done]
        if self.socket is not socket:
            return
        for error in errors:
            if error is not None and not isinstance(error, WebSocketDisconnect):
                self.error = error
                self.uvicorn.should_exit = True
        self.socket = None
        self._close_later()

    async def _send(self, socket: WebSocket, unused_frames: asyncio.Semaphore) -> None:
        """Send the newest frame whenever there is an update and the page is ready."""
        shown, since, updated = None, -1, self.clock.updated
        updated.set()
        while True:
            await updated.wait()
            await unused_frames.acquire()
            updated.clear()
            if shown is not self.clock.played:
                shown, since = self.clock.played, -1
                await socket.send_text(to_json(shown.info()))
            newest = shown.timestep
            await socket.send_bytes(await self.clock.call(shown.message, since))
            since = newest

    async def _receive(self, socket: WebSocket, unused_frames: asyncio.Semaphore) -> None:
        """Receive commands, and confirmations that the page has shown a frame."""
        while True:
            event = await socket.receive()
            if event["type"] == "websocket.disconnect":
                raise WebSocketDisconnect
            try:
                message = parse_json(event.get("text") or "")
            except ValueError:
                message = None
            if message == {"command": "frame_shown"}:
                with suppress(ValueError):  # more confirmations than frames
                    unused_frames.release()
            elif message == {"command": "close_moment"}:
                await self.clock.show(self.played)
            else:
                await self.clock.execute(message)

    async def serve_moment(self, request: Request) -> Response:
        """Return the shown moment as a file, or open the file that the page sends."""
        if not same_origin(request):
            return Response("Not from this page.", 403)
        if request.method == "GET":
            if not isinstance(self.clock.played, Lockstep):
                return Response("This moment is in a file already.", 409)
            content = await self.clock.call(self.clock.played.moment)
            player = self.clock.played.first
            name = f"{player.game.env_name}-{player.shown_timestep}{SUFFIX}"
            name = re.sub(r"[^A-Za-z0-9._-]", "-", name)
            headers = {"content-disposition": f'attachment; filename="{name}"'}
            return Response(content, media_type="application/gzip", headers=headers)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                content = await _body(request)
            players = await self.clock.call(read_moment, content, "The file")
        except (UsageError, TimeoutError) as error:
            return PlainTextResponse(str(error) or "The file did not arrive in time.", 400)
        closable = isinstance(self.played, Lockstep)
        await self.clock.show(Playback(players, closable=closable))
        return Response(status_code=204)

    async def serve_files(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a file of the page, which is opening, and so is not closed yet."""
        if self.closing:
            self._close_later()
        await self.files(scope, receive, send)

    def _close_later(self) -> None:
        """Stop after a while, counted from now, unless a page connects before."""
        if self.closing:
            self.closing.cancel()
        loop = asyncio.get_running_loop()
        self.closing = loop.call_later(RECONNECT_SECONDS, self._stop)

    def _stop(self) -> None:
        self.uvicorn.should_exit = True


async def _body(request: Request) -> bytes:
    """Return what is sent, of which no more than a byte too many is kept."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_FILE_BYTES:
            break
    return bytes(content[: MAX_FILE_BYTES + 1])


class PageFiles(StaticFiles):
    """Serves the page's files, restricted to one another and never cached."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers["content-security-policy"] = SECURITY_POLICY
        response.headers["cache-control"] = "no-store"
        response.headers["referrer-policy"] = "no-referrer"  # it would hold the token
        return response


def same_origin(connection: HTTPConnection) -> bool:
    """Return whether a request comes from this page, or from a client that sends no origin."""
    origin = connection.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == connection.headers.get("host")
