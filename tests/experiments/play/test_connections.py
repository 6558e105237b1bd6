"""Who may use the page of `reverie play`, and sockets that would keep it from them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import imageio.v3 as imageio
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from reverie.experiments.play import connections, launch
from reverie.experiments.play.connections import MAX_WAITING

from play_fixtures import build_session, chromium, open_page, serving, socket_address

PATH = os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))


def status(address: str, cookie: str = "") -> tuple[int, str, str]:
    """Return the status of a request, the cookie that it sets, and the text."""
    request = urllib.request.Request(address, headers={"Cookie": cookie} if cookie else {})
    try:
        response: Any = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        text = response.read().decode(errors="replace")
        return response.status, response.headers.get("set-cookie", ""), text


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
                assert "reverie play" in text
                assert token not in text
            code = 404 if path == "/missing" else 200
            assert status(base + path, f"{other_cookie}; {cookie}")[0] == code
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
        monkeypatch.setattr("webbrowser.open", opened.append)
        with launch._browser(address):
            file = Path(opened[0].removeprefix("file://"))
            assert file.stat().st_mode & 0o077 == 0
            with open_page(browser, opened[0]) as page:
                page.page.wait_for_url(address)
                page.wait_for(lambda state: state.get("timestep", 0) > 1)
                page.page.reload()
                page.wait_for(lambda state: state.get("timestep", 0) > 1)
                page.page.goto(address.partition("?")[0])
                page.wait_for(lambda state: state.get("timestep", 0) > 1)
                assert page.errors == []
        assert not file.exists()


def test_idle_sockets_make_room_and_are_closed_in_time(monkeypatch: Any) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 2.5)
    with serving(build_session()) as (address, _), ExitStack() as stack:
        port, idle = urlsplit(address).port, list[socket.socket]()
        for i in range(3 * MAX_WAITING):
            idle.append(stack.enter_context(socket.create_connection(("127.0.0.1", port))))
            if i % 2:
                idle[-1].send(b"GET / HTTP/1.1\r\nHost: loc")  # and never more
        idle[0].settimeout(1.5)
        assert is_closed(idle[0]), "before its time"
        assert status(address)[0] == 200
        assert not is_closed_now(idle[-1])
        idle[-1].settimeout(20)
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
        with connect(socket_address(address), max_queue=1) as page:  # reads no more than one frame
            pings = b"\x89\xfd\0\0\0\0" + bytes(125)
            page.socket.settimeout(20)
            with pytest.raises(ConnectionError):
                page.socket.sendall(pings * 1_000_000)
        with connect(socket_address(address)) as page:
            page.recv(timeout=20)


def test_with_64_descriptors_idle_sockets_do_not_keep_out_the_page_and_sigterm_ends_its_film(
    tmp_path: Path,
) -> None:
    command = f"ulimit -n 64; exec {sys.executable} -m reverie.experiments.cli.main play"
    process = subprocess.Popen(
        ["sh", "-c", f"{command} pretrained:freeway --mode watch --port 8470"],
        cwd=tmp_path, env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": PATH},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    assert process.stderr
    with process, ExitStack() as stack:
        stack.callback(process.kill)
        printed = next(line for line in process.stdout if line.startswith("Playing"))
        address = re.findall(r"http://\S+", printed)[0]
        port = urlsplit(address).port
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert status(address)[0] == 200
        assert status(address.replace("/?", "/page.js?"))[0] == 200
        with connect(socket_address(address)) as page:
            page.send('{"command": "set_speed", "value": 60}')
            page.send('{"command": "set_recording", "value": true}')
            recorded = 0
            while recorded < 9:
                if isinstance(message := page.recv(timeout=20), bytes):
                    recorded = json.loads(message)["players"][0]["state"]["recordedFrames"] or 0
                    page.send('{"command": "frame_shown"}')
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 128 + signal.SIGTERM
        errors = process.stderr.read()
        assert "Traceback" not in errors
        assert "system resource" not in errors, "descriptors are left"
    (film,) = tmp_path.rglob("*.mp4")
    assert "partial" not in film.name
    assert len(imageio.imread(film, plugin="pyav")) >= 9
