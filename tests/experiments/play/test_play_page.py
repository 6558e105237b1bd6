"""The page of `reverie play` in a real browser, and its server without one."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.dqn import DQNConfig
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.batched_env import BatchedEnv
from reverie.experiments.play.session import Session
from reverie.world_models.density.histogram import HistogramConfig

from play_fixtures import (
    CATCH,
    OVERFLOWING,
    Page,
    build_session,
    chromium,
    open_page,
    serving,
    socket_address,
)
from sample_agents import EXAMPLES, SMALL_PPO, shortened


def dyna_session(speed: int = 15) -> Session:
    """Build a session of a barely trained Dyna agent."""
    session = build_session(shortened(EXAMPLES["dyna"]), timesteps=10)
    session.speed = speed
    return session


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


def paddle(page: Page) -> int:
    """Return the column of Catch's paddle, from the pixels of the page."""
    return page.pixels()[-5:].index(255)


def test_the_page_with_manual_control_and_with_an_agent(browser: Any, tmp_path: Path) -> None:
    session = dyna_session()
    with (
        serving(session, folder=tmp_path) as (address, thread),
        open_page(browser, address) as page,
    ):
        browser_page = page.page
        page.wait_for(lambda state: state.get("timestep", 0) > 3)
        assert browser_page.title() == "catch · reverie play"
        assert browser_page.locator("#watch").get_attribute("aria-pressed") == "true"
        assert "Action values" in browser_page.locator(".inspection").text_content()

        # Keys control the paused game, one timestep at a time.
        browser_page.locator("#pause").click()
        page.wait_for(lambda state: state["playing"] is False)
        browser_page.locator("#manual").click()
        page.wait_for(lambda state: state["manual"])
        browser_page.locator("#new-episode").click()
        page.wait_for(lambda state: state["length"] == 0)
        assert paddle(page) == 2
        for key, column in (("ArrowLeft", 1), ("ArrowRight", 2), ("ArrowRight", 3)):
            timestep = page.state()["timestep"]
            browser_page.keyboard.down(key)
            browser_page.keyboard.press("n")
            page.wait_for(lambda state, timestep=timestep: state["timestep"] == timestep + 1)  # type: ignore[misc]
            assert browser_page.locator("#pad .held").count() == 1
            browser_page.keyboard.up(key)
            assert paddle(page) == column

        # Keys control the running game.
        browser_page.keyboard.press("p")
        page.wait_for(lambda state: state["playing"])
        browser_page.keyboard.down("ArrowLeft")
        page.wait_for(lambda state: state["lastAction"] == "left" and paddle(page) == 0)
        browser_page.keyboard.up("ArrowLeft")
        page.wait_for(lambda state: state["lastAction"] == "stay")

        # Toggles.
        browser_page.keyboard.press("h")
        page.wait_for(lambda state: not state["manual"])
        for name, element in (
            ("stochastic", "stochastic"), ("agentSeesDream", "agent-sees-dream"),
        ):  # fmt: skip
            browser_page.locator("#dream").click()
            page.wait_for(lambda state: state["mode"] == "dream" and state["horizon"] > 2)
            browser_page.locator(f"#{element}").check()
            page.wait_for(lambda state, name=name: state[name])  # type: ignore[misc]
        assert browser_page.locator(".main-view canvas").count() == 3
        assert browser_page.locator(".panels > article").count() >= 4
        # In one call, because the cards change during play.
        left = "cards => cards.map(card => card.getBoundingClientRect().x)"
        positions = browser_page.locator(".panels > article").evaluate_all(left)
        assert max(positions) < 1280, "the panels do not overflow sideways"
        main_view = browser_page.locator(".main-view").bounding_box()
        controls = browser_page.locator("#controls").bounding_box()
        assert main_view["y"] + main_view["height"] <= controls["y"], "no overlap"
        browser_page.locator("#resync").click()
        page.wait_for(lambda state: state["horizon"] < 2)
        browser_page.locator("#max-horizon").select_option("10")
        browser_page.locator("#speed").select_option("60")
        page.wait_for(lambda state: state["maxHorizon"] == 10 and state["speed"] == 60)
        browser_page.screenshot(path=tmp_path / "dream.png")

        # Seeking, and recording.
        page.wait_for(lambda state: state["newest"] > 120)
        box = browser_page.locator(".timeline").bounding_box()
        browser_page.mouse.click(box["x"] + 0.1 * box["width"], box["y"] + 20)
        sought = page.wait_for(lambda state: not state["live"])
        assert sought["timestep"] < sought["newest"] - 20
        browser_page.locator("#live").click()
        page.wait_for(lambda state: state["live"])
        browser_page.locator("#record").click()
        page.wait_for(lambda state: (state["recordedFrames"] or 0) > 5)
        browser_page.locator("#record").click()
        video = page.wait_for(lambda state: state["recordingResult"] != "")["recordingResult"]
        assert Path(video).stat().st_size > 1000
        assert page.errors == []
        browser_page.close()
        thread.join(20)
        assert not thread.is_alive(), "the server stops when the page is closed"


def test_a_run_without_a_predictor_has_no_dream_mode(browser: Any, tmp_path: Path) -> None:
    env = AtariConfig("breakout", PROTOCOLS["machado"])
    bonus = PseudoCountConfig().build(BatchedEnv(env.build(1)).spec)
    session = build_session(DQNConfig(buffer_size=400), bonus, env=env)
    with serving(session) as (address, _), open_page(browser, address) as page:
        page.wait_for(lambda state: state.get("timestep", 0) > 20)
        assert page.page.locator("#dream").is_disabled()
        assert "no learned predictor" in page.page.locator("#dream").get_attribute("title")
        inspection = page.page.locator(".inspection").text_content()
        for title in ("Action values", "Counts of CTS", "pseudo-count", "Surprise", "fire"):
            assert title in inspection
        assert page.page.evaluate("document.body.scrollHeight <= 720"), "the page fits 1280 x 720"
        page.page.screenshot(path=tmp_path / "watch.png")
        assert len(np.unique(page.pixels())) > 3
        assert page.errors == []


def test_pixels_are_erased_with_a_mouse_with_touch_and_with_keys(browser: Any) -> None:
    bonus = PseudoCountConfig(density=HistogramConfig()).build(BatchedEnv(CATCH.build(1)).spec)
    session = build_session(bonus=bonus)
    for _ in range(10):
        session.step()
    with serving(session) as (address, _), open_page(browser, address) as page:
        page.wait_for(lambda state: state.get("timestep", 0) > 10)
        assert page.page.locator("#restore").is_disabled()
        canvas = page.page.locator("canvas.erasable")
        box = canvas.bounding_box()
        page.page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.55 * box["height"])
        page.page.mouse.down()
        page.page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.55 * box["height"])
        page.page.mouse.up()
        page.wait_for(lambda state: state["erased"] == 5)
        page.page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.95 * box["height"])
        timestep = page.state()["timestep"]
        page.wait_for(lambda state: state["timestep"] > timestep + 3)
        assert page.state()["erased"] == 5, (
            "they stay erased, and no other is while none is pressed"
        )
        assert "5 erased" in page.page.locator(".panels").text_content()
        page.page.keyboard.press("x")
        page.wait_for(lambda state: state["erased"] == 0)
        page.page.keyboard.press("b")
        page.wait_for(lambda state: state["erased"] == 25)
        page.page.locator("#restore").click()
        page.wait_for(lambda state: state["erased"] == 0)
        touch = {"pointerType": "touch", "pointerId": 7, "isPrimary": True, "bubbles": True}
        touch |= {"clientX": box["x"] + 0.5 * box["width"], "clientY": box["y"] + 2}
        canvas.evaluate("node => { node.setPointerCapture = () => {}; }")  # of a made-up pointer
        canvas.dispatch_event("pointerdown", touch)
        canvas.dispatch_event("pointerup", touch)
        page.wait_for(lambda state: state["erased"] == 1)
        assert canvas.evaluate("node => getComputedStyle(node).touchAction") == "none"
        assert page.errors == []


def test_a_session_continues_on_a_reloaded_and_on_a_second_page(browser: Any) -> None:
    with serving(dyna_session()) as (address, thread):
        with open_page(browser, address) as page:
            page.wait_for(lambda state: state.get("timestep", 0) > 3)
            page.page.reload()
            page.wait_for(lambda state: state.get("timestep", 0) > 5)
            with open_page(browser, address) as other:
                other.wait_for(lambda state: state.get("timestep", 0) > 8)
                overlay = page.page.locator("#disconnected")
                overlay.wait_for(state="visible", timeout=10_000)
                assert "another page" in overlay.inner_text()
                assert other.errors == []
        thread.join(20)
        assert not thread.is_alive()


OVERLAPPING = """() => {
  const cards = innerWidth < 1100 ? 'article' : '.inspection'; // which scrolls from there on
  const parts = `header > *, .stage > *, #controls > *, footer > *, ${cards}`;
  const boxes = [...document.querySelectorAll(parts)]
    .map((node) => [node.id || node.tagName, node.getBoundingClientRect()])
    .filter(([, box]) => box.width && box.height);
  return boxes.flatMap(([a, p], i) => boxes.slice(i + 1)
    .filter(([, q]) => p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 1
      && q.top < p.bottom - 1).map(([b]) => `${a} over ${b}`));
}"""


def test_the_page_fits_every_window_in_both_themes(browser: Any) -> None:
    """An untrained agent of 18 actions, with pictures, bars and a plan; nothing overflows."""
    env = AtariConfig("montezuma_revenge", PROTOCOLS["machado"])
    bonus = PseudoCountConfig().build(BatchedEnv(env.build(1)).spec)
    session = build_session(DQNConfig(buffer_size=400), bonus, env=env, timesteps=0)
    with serving(session) as (address, _), open_page(browser, address) as page:
        requests = list[str]()
        page.page.on("request", lambda request: requests.append(request.url))
        page.page.reload()
        widths = []
        for width in (360, 768, 1280, 1920, 2560):
            page.page.set_viewport_size({"width": width, "height": width * 9 // 16 + 200})
            timestep = page.state().get("timestep", 0)
            page.wait_for(lambda state, t=timestep: state.get("timestep", 0) > t + 2)  # type: ignore[misc]
            assert page.page.evaluate(OVERFLOWING) == [], width
            assert page.page.evaluate(OVERLAPPING) == [], width
            widths.append(page.page.locator(".main-view canvas").bounding_box()["width"])
        figure = "document.querySelector('figure')"
        set_width = f"{figure}.style.getPropertyValue('--picture')"
        assert float(page.page.evaluate(set_width).removesuffix("px")) == widths[-1]
        page.page.evaluate(f"{figure}.style.setProperty('--picture', '80px')")
        overlay = f"getComputedStyle({figure}, '::after').fontSize"
        assert page.page.evaluate(overlay) == "10px", "as wide as a narrow picture"
        assert widths[0] > 0.75 * 360
        assert widths[-1] > 900, "the picture uses the room"
        assert widths[1:] == sorted(widths[1:])
        assert page.page.locator(".untrained").is_visible()
        assert "made no update yet" in page.page.locator(".untrained").inner_text()
        color = "getComputedStyle(document.body).backgroundColor"
        before = page.page.evaluate(color)
        page.page.keyboard.press("t")
        assert page.page.evaluate(color) != before
        page.page.emulate_media(color_scheme="dark")
        page.page.keyboard.press("t")
        assert page.page.evaluate(color) == before
        assert requests
        assert all(url.startswith((address.partition("?")[0], "blob:")) for url in requests), (
            "no other host"
        )
        assert page.errors == []


def test_the_page_is_used_without_a_mouse(browser: Any) -> None:
    session = build_session(SMALL_PPO)
    with serving(session) as (address, _), open_page(browser, address) as page:
        page.page.emulate_media(reduced_motion="reduce")
        page.page.reload()
        page.wait_for(lambda state: state.get("playing") is False)
        assert page.page.locator(".untrained").is_hidden()
        for _ in range(5):
            timestep = page.state()["timestep"]
            page.page.keyboard.press("n")
            page.wait_for(lambda state, t=timestep: state["timestep"] == t + 1)  # type: ignore[misc]
        newest = page.state()["newest"]
        page.page.keyboard.press(",")
        page.wait_for(lambda state: state["timestep"] == newest - 1)
        page.page.locator(".timeline").focus()
        page.page.keyboard.press("ArrowLeft")
        page.wait_for(lambda state: state["timestep"] == newest - 2)
        assert page.page.locator(".timeline").get_attribute("aria-valuenow") == str(newest - 2)
        page.page.keyboard.press("Home")
        page.wait_for(lambda state: state["timestep"] == 0)
        page.page.keyboard.press("l")
        page.wait_for(lambda state: state["live"])

        controls = page.page.locator("button, select, input, .timeline, .inspection")
        ids = controls.evaluate_all(
            "nodes => nodes.filter(x => x.offsetParent && !x.disabled).map(x => x.id)"
        )
        reached = set()
        for _ in range(len(ids) + 4):
            page.page.keyboard.press("Tab")
            reached.add(page.page.evaluate("document.activeElement.id"))
            unmarked = "document.activeElement !== document.body && getComputedStyle"
            unmarked += "(document.activeElement).outlineStyle === 'none'"
            assert not page.page.evaluate(unmarked), "the focus is visible"
        assert {*ids} <= reached
        unnamed = controls.evaluate_all(
            """nodes => nodes.filter((x) => x.offsetParent && !x.innerText && !x.ariaLabel
              && !x.labels?.length).map((x) => x.id)"""
        )
        assert unnamed == []
        legend = page.page.locator("#legend li").all_inner_texts()
        for word in ("reward above 0", "lost life", "episode end", "shown timestep"):
            assert word in legend
        assert page.errors == []


# Without a browser.


def next_frame(socket: ClientConnection) -> dict[str, Any]:
    while isinstance(message := socket.recv(timeout=20), str):
        pass
    state: dict[str, Any] = json.loads(message)["players"][0]["state"]
    return state


def test_a_slow_page_is_sent_only_the_newest_frame() -> None:
    with (
        serving(dyna_session(60)) as (address, _),
        connect(socket_address(address)) as socket,
    ):
        assert json.loads(socket.recv())["players"][0]["env"] == "catch"
        received = [next_frame(socket)["timestep"] for _ in range(2)]
        with pytest.raises(TimeoutError):
            socket.recv(timeout=1.0)  # two frames are in flight, none is confirmed
        socket.send(json.dumps({"command": "frame_shown"}))
        frame = next_frame(socket)
        assert frame["timestep"] > received[-1] + 20, "the frames between were not sent"
        assert [event[0] for event in frame["events"]][-1] == frame["timestep"]
        assert len(frame["events"]) >= 20, "the events between were sent"


def test_malformed_messages_are_ignored_and_counted() -> None:
    with (
        serving(dyna_session()) as (address, thread),
        connect(socket_address(address)) as socket,
    ):
        invalid: list[str | bytes] = [
            "", "{", "[1,", '{"command": "fly"}', '{"command": "set_speed", "value": 1e999}',
            b"\x00\xff", "nul",
        ]  # fmt: skip
        for message in [*invalid, "[" * 5000]:
            socket.send(message)
        for _ in range(40):
            frame = next_frame(socket)
            socket.send(json.dumps({"command": "frame_shown"}))
            if frame["ignoredMessages"] == len(invalid) + 1:
                break
        assert frame["ignoredMessages"] == len(invalid) + 1
        assert thread.is_alive()
        socket.send("x" * 100_000)
        with pytest.raises(ConnectionClosed):
            all(socket.recv(timeout=5) for _ in range(100))


def test_other_origins_and_hosts_are_refused() -> None:
    with serving(dyna_session()) as (address, _):
        url = socket_address(address)
        for origin in ("http://evil.example", "http://127.0.0.1:1", "null"):
            with pytest.raises(InvalidStatus, match="403"):
                connect(url, origin=Origin(origin))
        request = urllib.request.Request(address, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(request)
        with urllib.request.urlopen(address) as response:
            assert "default-src 'self'" in response.headers["content-security-policy"]
            assert b"reverie" in response.read()
        with connect(url, origin=Origin(address.partition("/?")[0])) as socket:
            assert next_frame(socket)["timestep"] >= 0
