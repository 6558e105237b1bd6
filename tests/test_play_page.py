"""The page of `reverie play` in a real browser, and its server as any program may ask it."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playing import Page, chromium, opened, played, serving
from test_agents import EXAMPLES, brief
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from agents.density_bonus import PseudoCountConfig
from agents.dqn import DQNConfig
from envs.atari import AtariConfig
from envs.protocol import PROTOCOLS
from envs.stream import Stream
from experiments.play.panels import unpack
from experiments.play.session import Session


def dreamer(speed: int = 15) -> Session:
    """A dreamer that has learned next to nothing."""
    session = played(brief(EXAMPLES["dreamer"]), ticks=10)
    session.speed = speed
    return session


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


def paddle(page: Page) -> int:
    """The column of Catch's paddle, from the pixels on the screen."""
    return page.pixels()[-5:].index(255)


def test_the_page_plays_by_hand_and_by_agent(browser: Any, tmp_path: Path) -> None:
    session = dreamer()
    session.films = tmp_path
    with (
        serving(session) as (address, thread),
        opened(browser, address) as page,
    ):
        act = page.page
        page.until(lambda now: now.get("tick", 0) > 3)
        assert act.title() == "catch · reverie play"
        assert act.locator("#watch").get_attribute("aria-selected") == "true"
        assert "Action values" in act.locator("#insides").inner_text()

        # Keys move the game: a tick at a time, with time standing still.
        act.locator("#pause").click()
        page.until(lambda now: now["playing"] is False)
        act.locator("#hand").click()
        page.until(lambda now: now["byHand"])
        act.locator("#new").click()
        page.until(lambda now: now["length"] == 0)
        assert paddle(page) == 2
        for key, column in (("ArrowLeft", 1), ("ArrowRight", 2), ("ArrowRight", 3)):
            tick = page.now()["tick"]
            act.keyboard.down(key)
            act.keyboard.press("n")
            page.until(lambda now, tick=tick: now["tick"] == tick + 1)  # type: ignore[misc]
            assert act.locator("kbd.held").count() == 1
            act.keyboard.up(key)
            assert paddle(page) == column

        # Keys move the running game.
        act.keyboard.press("p")
        page.until(lambda now: now["playing"])
        act.keyboard.down("ArrowLeft")
        page.until(lambda now: now["did"] == "left" and paddle(page) == 0)
        act.keyboard.up("ArrowLeft")
        page.until(lambda now: now["did"] == "stay")

        # Toggles.
        act.keyboard.press("h")
        page.until(lambda now: not now["byHand"])
        for name in ("explores", "dreams"):
            act.locator("#dream").click()
            page.until(lambda now: now["mode"] == "dream" and now["horizon"] > 2)
            act.locator(f"#{name}").check()
            page.until(lambda now, name=name: now[name])  # type: ignore[misc]
        assert act.locator("#stage canvas").count() == 3
        assert act.locator("#cards > article").count() >= 4
        # All at once: they are drawn anew while it plays.
        left = "cards => cards.map(card => card.getBoundingClientRect().x)"
        places = act.locator("#cards > article").evaluate_all(left)
        assert max(places) < 1280, "the insides never grow sideways"
        stage, controls = act.locator("#stage").bounding_box(), act.locator("#time").bounding_box()
        assert stage["y"] + stage["height"] <= controls["y"], "nothing lies over the controls"
        act.locator("#resync").click()
        page.until(lambda now: now["horizon"] < 2)
        act.locator("#limit").select_option("10")
        act.locator("#speed").select_option("60")
        page.until(lambda now: now["limit"] == 10 and now["speed"] == 60)
        act.screenshot(path=tmp_path / "dream.png")

        # Looking back, and recording.
        page.until(lambda now: now["newest"] > 120)
        box = act.locator("#timeline").bounding_box()
        act.mouse.click(box["x"] + 0.1 * box["width"], box["y"] + 20)
        back = page.until(lambda now: not now["live"])
        assert back["tick"] < back["newest"] - 20
        act.locator("#live").click()
        page.until(lambda now: now["live"])
        act.locator("#record").click()
        page.until(lambda now: (now["filming"] or 0) > 5)
        act.locator("#record").click()
        film = page.until(lambda now: now["filmed"] != "")["filmed"]
        assert Path(film).stat().st_size > 1000
        assert page.complaints == []
        act.close()
        thread.join(20)
        assert not thread.is_alive(), "it stops when the page is closed"


def test_a_run_without_a_predictor_is_watched_and_says_so(browser: Any, tmp_path: Path) -> None:
    env = AtariConfig("breakout", PROTOCOLS["machado"])
    bonus = PseudoCountConfig().build(Stream(env.build(1)).spec)
    session = played(DQNConfig(capacity=400), bonus, env=env)
    with serving(session) as (address, _), opened(browser, address) as page:
        page.until(lambda now: now.get("tick", 0) > 20)
        assert page.page.locator("#dream").is_disabled()
        assert "no predictor" in page.page.locator("#said").inner_text()
        insides = page.page.locator("#insides").inner_text()
        for title in ("Action values", "Counting by CTS", "pseudo-count", "Surprise", "fire"):
            assert title in insides
        assert page.page.evaluate("document.body.scrollHeight <= 720"), "all of it at 1280 x 720"
        page.page.screenshot(path=tmp_path / "watch.png")
        assert len(np.unique(page.pixels())) > 3
        assert page.complaints == []


def test_a_page_closed_in_the_middle_is_taken_up_by_the_next(browser: Any) -> None:
    with serving(dreamer()) as (address, thread):
        with opened(browser, address) as page:
            page.until(lambda now: now.get("tick", 0) > 3)
            page.page.reload()
            page.until(lambda now: now.get("tick", 0) > 5)
            with opened(browser, address) as other:
                other.until(lambda now: now.get("tick", 0) > 8)
                curtain = page.page.locator("#curtain")
                curtain.wait_for(state="visible", timeout=10_000)
                assert "another page" in curtain.inner_text()
                assert other.complaints == []
        thread.join(20)
        assert not thread.is_alive()


# Without a browser.


def next_frame(socket: ClientConnection) -> dict[str, Any]:
    while isinstance(message := socket.recv(timeout=20), str):
        pass
    return unpack(message)[0]


def test_a_slow_page_is_sent_the_newest_frame_and_none_between() -> None:
    with (
        serving(dreamer(60)) as (address, _),
        connect(address.replace("http", "ws") + "/play") as socket,
    ):
        assert json.loads(socket.recv())["world"] == "catch"
        first = [next_frame(socket)["tick"] for _ in range(2)]
        with pytest.raises(TimeoutError):
            socket.recv(timeout=1.0)  # two are under way and none is shown: no third is sent
        socket.send(json.dumps({"do": "shown"}))
        frame = next_frame(socket)
        assert frame["tick"] > first[-1] + 20, "ticks in between were never sent"
        assert [event[0] for event in frame["events"]][-1] == frame["tick"]
        assert len(frame["events"]) >= 20, "but the timeline knows them"


def test_malformed_messages_are_ignored_and_counted() -> None:
    with (
        serving(dreamer()) as (address, thread),
        connect(address.replace("http", "ws") + "/play") as socket,
    ):
        bad = ["", "{", "[1,", '{"do": "fly"}', '{"do": "speed", "to": 1e999}', b"\x00\xff", "nul"]
        for message in [*bad, "[" * 5000]:
            socket.send(message)
        for _ in range(40):
            frame = next_frame(socket)
            socket.send(json.dumps({"do": "shown"}))
            if frame["ignored"] == len(bad) + 1:
                break
        assert frame["ignored"] == len(bad) + 1
        assert thread.is_alive()
        socket.send("x" * 100_000)
        with pytest.raises(ConnectionClosed):
            all(socket.recv(timeout=5) for _ in range(100))


def test_other_origins_and_hosts_are_refused() -> None:
    with serving(dreamer()) as (address, _):
        url = address.replace("http", "ws") + "/play"
        for origin in ("http://evil.example", "http://127.0.0.1:1", "null"):
            with pytest.raises(InvalidStatus, match="403"):
                connect(url, origin=origin)  # type: ignore[arg-type]
        request = urllib.request.Request(address, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(request)
        with urllib.request.urlopen(address) as answer:
            assert "default-src 'self'" in answer.headers["content-security-policy"]
            assert b"reverie" in answer.read()
        with connect(url, origin=address) as socket:  # type: ignore[arg-type]
            assert next_frame(socket)["tick"] >= 0
