"""Connections to the page's server: each has the token, and few may wait.

A connection that has not sent its first request makes room for newer ones, so that idle sockets
keep nobody out, and a client that does not read what it is sent is dropped.
"""

import re
import secrets
from asyncio import Transport
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_WAITING = 12
"""Connections that may be open before their first request; the oldest one is closed for another."""
REQUEST_SECONDS = 10.0
"""Time in which the first request must arrive."""
MAX_UNREAD_BYTES = 16 << 20
"""Sent to a page that does not read them; more of them end its connection."""
NO_TOKEN = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>reverie play</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 36em; margin: 15vh auto; padding: 0 1em }
  h1 { font-size: 1.25em }
</style>
<h1>This address has no valid token</h1>
<p>Open the whole address, with <code>?token=</code>, that <code>reverie play</code> has printed in
its terminal when it started. Each start has a new one.</p>
"""


class TokenRequired:
    """An application that admits a request with the token, in its address or in a cookie.

    The address sets the cookie, which the other files and the WebSocket of the page come with.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = HTTPConnection(scope)
        # Pages of several servers on one host share their cookies.
        name = "reverie-" + re.sub(r"\D", "", connection.headers.get("host", ""))
        given = connection.query_params.get("token")

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and given is not None:
                cookie = f"{name}={self.token}; HttpOnly; SameSite=Strict; Path=/"
                MutableHeaders(scope=message).append("set-cookie", cookie)
            await send(message)

        offered = given or "", connection.cookies.get(name, "")
        if any(secrets.compare_digest(x.encode(), self.token.encode()) for x in offered):
            await self.app(scope, receive, send_with_cookie)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close(1008)
        else:
            await HTMLResponse(NO_TOKEN, 403, {"connection": "close"})(scope, receive, send)


class BoundedConnection(H11Protocol):
    """A connection that is closed unless its first request arrives in time or before its turn."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.opened = self.loop.time()

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(REQUEST_SECONDS, self.close_if_waiting)
        connections = [x for x in self.connections if isinstance(x, BoundedConnection)]
        waiting = sorted((x for x in connections if x.is_waiting), key=lambda x: x.opened)
        for connection in waiting[:-MAX_WAITING]:
            connection.close_if_waiting()

    @property
    def is_waiting(self) -> bool:
        """Whether the first request has not arrived; one that became a WebSocket has."""
        return self in self.connections and not self.cycle

    def close_if_waiting(self) -> None:
        """Close the connection if its first request has not arrived."""
        if self.is_waiting:
            self.transport.abort()


class BoundedSocket(WebSocketsSansIOProtocol):
    """A WebSocket that is dropped if its client sends, pings for instance, but does not read."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self.transport.abort()
