"""Who may use the page of `reverie play`, and sockets that would keep it from them."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from reverie.experiments.play import connections, launch
from reverie.experiments.play.connections import MAX_UNREAD_BYTES, MAX_WAITING

from play_fixtures import build_session, chromium, open_page, serving, socket_address

ROOT = Path(__file__).parents[3]


def status(address: str, cookie: str = "") -> tuple[int, str, str]:
    """Return the status of a request, the cookie that it sets, and the text."""
    request = urllib.request.Request(address, headers={"Cookie": cookie} if cookie else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers.get("set-cookie", ""), response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("set-cookie", ""), error.read().decode()


def test_every_file_and_the_socket_need_the_token() -> None:
    with serving(build_session()) as (address, _), serving(build_session()) as (other, _):
        base, _, token = address.partition("/?token=")
        code, set_cookie, text = status(address)
        assert (code, "page.js" in text) == (200, True)
        cookie, *attributes = set_cookie.split("; ")
        assert {"HttpOnly", "SameSite=Strict"} <= {*attributes}
        wrong = [f"?token={token[:-1]}", f"?token={token}x", "?token=", "?token=%C3%A9%FF", ""]
        other_cookie = status(other)[1].partition(";")[0]
        assert other_cookie.partition("=")[0] != cookie.partition("=")[0], "both are kept"
        for path in ("/", "/page.js", "/icon.svg", "/moment", "/missing"):
            for query in wrong:
                code, set_cookie, text = status(base + path + query, other_cookie)
                assert (code, set_cookie) == (403, "")
                assert "reverie play" in text and token not in text
            assert status(base + path, f"{other_cookie}; {cookie}")[0] == (404 if path == "/missing" else 200)
        url = socket_address(base + "/?")
        for query in wrong:
            with pytest.raises(InvalidStatus, match="403"):
                connect(url.removesuffix("?") + query)
        with connect(url, additional_headers={"Cookie": cookie}) as page:
            assert json.loads(page.recv())["players"][0]["env"] == "catch"


def test_a_browser_keeps_the_token_over_reloads(tmp_path: Path, monkeypatch: Any) -> None:
    with serving(build_session()) as (address, _), chromium() as browser:
        with open_page(browser, address.partition("?")[0]) as stranger:
            assert "token" in stranger.page.locator("body").inner_text()
            for width in (360, 1920):
                stranger.page.set_viewport_size({"width": width, "height": 600})
                wide = stranger.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width
        opened = list[str]()
        monkeypatch.setattr(launch.webbrowser, "open", opened.append)
        with launch._browser(address):
            file = Path(opened[0].removeprefix("file://"))
            assert file.stat().st_mode & 0o077 == 0
            with open_page(browser, opened[0]) as page:
                page.wait_for(lambda state: state.get("timestep", 0) > 1)
                page.page.reload()
                page.wait_for(lambda state: state.get("timestep", 0) > 1)
                page.page.goto(address.partition("?")[0])
                page.wait_for(lambda state: state.get("timestep", 0) > 1)
                assert page.errors == []
        assert not file.exists()


def test_idle_sockets_make_room_and_are_closed_in_time(monkeypatch: Any) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1.0)
    with serving(build_session()) as (address, _), ExitStack() as stack:
        server = address.removeprefix("http://").partition("/")[0].split(":")
        idle = []
        for i in range(3 * MAX_WAITING):
            idle.append(stack.enter_context(socket.create_connection((server[0], int(server[1])))))
            if i % 2:
                idle[-1].send(b"GET / HTTP/1.1\r\nHost: loc")  # and never more
        idle[0].settimeout(0.5)
        assert is_closed(idle[0]), "before its time"
        assert status(address)[0] == 200
        assert not is_closed_now(idle[-1])
        idle[-1].settimeout(5.0)
        assert is_closed(idle[-1])


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def is_closed_now(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return is_closed(client)
    except BlockingIOError:
        return False


def test_a_client_that_pings_and_does_not_read_is_dropped(monkeypatch: Any) -> None:
    monkeypatch.setattr(connections, "MAX_UNREAD_BYTES", 1 << 20)
    with serving(build_session()) as (address, _):
        with connect(socket_address(address), max_queue=1) as page:
            page.recv_events_paused = True
            pings = b"\x89\xfd\0\0\0\0" + bytes(125)
            page.socket.settimeout(20)
            with pytest.raises(OSError):
                for _ in range(2000):
                    page.socket.sendall(pings * 500)
        with connect(socket_address(address)) as page:
            page.recv(timeout=20)
