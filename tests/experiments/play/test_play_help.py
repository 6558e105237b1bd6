"""The page for newcomers: the help and its keys, phones, contrast, and two players."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.experiments.play.session import Session
from reverie.world_models.density.histogram import HistogramConfig

from play_fixtures import (
    CATCH,
    OVERFLOWING,
    Page,
    StaticPredictor,
    build_session,
    chromium,
    open_page,
    serving,
)
from sample_agents import SMALL_PPO


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as launched:
        yield launched


def full_session() -> Session:
    """Build a session with all that has keys: a predictor, and a density that completes frames."""
    bonus = PseudoCountConfig(density=HistogramConfig()).build(BatchedEnv(CATCH.build(1)).spec)
    return build_session(SMALL_PPO, bonus, predictor=StaticPredictor((1, 10, 5)))


@dataclass
class Check:
    """What is so after a key is pressed; ``before`` prepares it."""

    after: Callable[[dict[str, Any]], bool]
    before: tuple[str, ...] = ()


def checks(page: Page) -> dict[str, Check]:
    """What each key does, in an order in which each changes something."""

    def on_page(script: str) -> Callable[[dict[str, Any]], bool]:
        return lambda state: bool(page.page.evaluate(script))

    return {
        "P": Check(lambda state: not state["playing"]),
        "N": Check(lambda state: state["timestep"] == page.pressed["timestep"] + 1),
        ",": Check(lambda state: state["timestep"] == page.pressed["timestep"] - 1),
        ".": Check(lambda state: state["timestep"] == page.pressed["timestep"] + 1, (",", ",")),
        "L": Check(lambda state: state["live"], (",",)),
        "G": Check(
            lambda state: state["live"] and state["newest"] == page.pressed["newest"] + 1, (",",)
        ),
        "E": Check(
            lambda state: state["length"] == 0 and state["episode"] > page.pressed["episode"]
        ),
        "H": Check(lambda state: state["manual"]),
        "← →": Check(on_page("document.querySelector('#pad .held')?.ariaLabel === 'left'")),
        "V": Check(lambda state: state["recordedFrames"] is not None),
        "D": Check(lambda state: state["mode"] == "dream"),
        "R": Check(lambda state: state["horizon"] == 0, ("N", "N")),
        "W": Check(lambda state: state["mode"] == "watch"),
        "B": Check(lambda state: state["erased"] == 25),
        "X": Check(lambda state: state["erased"] == 0),
        "T": Check(on_page("['light', 'dark'].includes(localStorage.theme)")),
        "S": Check(on_page("document.querySelector('#status').textContent.includes('Saved')")),
        "O": Check(on_page("window.opened === 1")),
        "?": Check(on_page("document.querySelector('#help-dialog').open")),
    }


def test_every_key_of_the_help_does_what_the_help_says(browser: Any, tmp_path: Any) -> None:
    with (
        serving(full_session(), folder=tmp_path) as (address, _),
        open_page(browser, address) as page,
    ):
        page.wait_for(lambda state: state.get("timestep", 0) > 3)
        page.page.evaluate(
            "document.querySelector('#file').click = () => { window.opened = 1; };"
            "HTMLAnchorElement.prototype.click = () => {};"
        )
        page.page.keyboard.press("?")
        rows = page.page.locator("#shortcuts tr:has(td)").all()
        helps = {x.locator("kbd").inner_text(): x.locator("td").nth(1).inner_text() for x in rows}
        assert "The large picture is the game" in page.page.locator("#help-text").inner_text()
        page.page.keyboard.press("Escape")
        assert page.page.locator("#help-dialog").is_hidden()
        table = checks(page)
        assert table.keys() == helps.keys()
        for key, check in table.items():
            for earlier in check.before:
                timestep = page.state()["timestep"]
                page.page.keyboard.press(earlier.lower())
                page.wait_for(lambda state, t=timestep: state["timestep"] != t)  # type: ignore[misc]
            assert helps[key]
            page.pressed = page.state()
            assert not check.after(page.state()), f"{key} has nothing to do"
            if key == "← →":
                page.page.keyboard.down("ArrowLeft")
                page.wait_for(check.after)
                page.page.keyboard.up("ArrowLeft")
                continue
            page.page.keyboard.press(key.lower())
            page.wait_for(check.after)
        named = page.page.locator("[aria-keyshortcuts]").evaluate_all(
            "nodes => nodes.map((node) => node.getAttribute('aria-keyshortcuts'))"
        )
        assert {*helps} - {"← →"} == {*named} - {"C"}
        assert page.errors == []


SMALL_TARGETS = """() => [...document.querySelectorAll('button, select, label, .timeline')]
  .filter((node) => node.offsetParent && !node.closest('label label'))
  .map((node) => [node.id || node.textContent, node.getBoundingClientRect()])
  .filter(([, box]) => box.height < 40 || box.width < 40)
  .map(([name, box]) => `${name} ${box.width} x ${box.height}`)"""
SMALL_TEXTS = """() => [...document.querySelectorAll('body *')]
  .filter((node) => node.offsetParent)
  .filter((node) => [...node.childNodes].some((x) => x.nodeType === 3 && x.data.trim()))
  .filter((node) => parseFloat(getComputedStyle(node).fontSize) < 11.9)
  .map((node) => node.textContent)"""
PHONE = {
    "viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True,
    "device_scale_factor": 2,
}  # fmt: skip


def test_a_phone_reaches_everything_and_plays_by_touch(browser: Any) -> None:
    for shown in ((full_session(),), (full_session(), build_session(SMALL_PPO))):
        with serving(*shown) as (address, _), open_page(browser, address, **PHONE) as page:
            page.wait_for(lambda state: state.get("timestep", 0) > 2)
            hint = page.page.locator("#hint")
            assert "Tap You play" in hint.inner_text()
            page.page.locator("#manual").tap()
            page.wait_for(lambda state: state["manual"])
            for mode in ("dream", "watch") if len(shown) == 1 else ("watch",):
                page.page.locator(f"#{mode}").tap()
                page.wait_for(lambda state, mode=mode: state["mode"] == mode)  # type: ignore[misc]
                assert page.page.evaluate(OVERFLOWING) == []
                assert page.page.evaluate(SMALL_TARGETS) == []
                assert page.page.evaluate(SMALL_TEXTS) == []
            names = page.page.locator("#pad button").evaluate_all("x => x.map((y) => y.ariaLabel)")
            assert names == ["left", "right"]
            button = page.page.locator("#pad button").first
            button.dispatch_event("pointerdown", {"pointerId": 1})
            page.wait_for(lambda state: state["lastAction"] == "left")
            button.dispatch_event("pointerup", {"pointerId": 1})
            page.wait_for(lambda state: state["lastAction"] == "stay")
            page.page.locator("#hint-close").tap()
            assert hint.is_hidden()
            assert [x for x in page.errors if "setPointerCapture" not in x] == []


def test_the_pad_has_the_directions_of_the_game(browser: Any) -> None:
    session = build_session(env=AtariConfig("ms_pacman"))
    assert [name for name, _ in session.keyboard.pad] == [
        "upleft", "up", "upright", "left", "right", "downleft", "down", "downright",
    ]  # fmt: skip
    for name, keys in session.keyboard.pad:
        assert session.game.action_names[session.keyboard.action(keys) or 0] == name
    session.close()


CONTRASTS = """() => {
  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number);
    return color.startsWith('color(') ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((x, i) => a * x + (1 - a) * under[i]);
  const luminance = (color) => color.slice(0, 3).map((x) => x / 255)
    .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const background = (node) => {
    if (!node) return [255, 255, 255];
    const color = parse(getComputedStyle(node).backgroundColor);
    return color[3] === 1 ? color : over(color, background(node.parentElement));
  };
  return [...document.querySelectorAll('body *')].filter((node) => node.checkVisibility()
    && [...node.childNodes].some((x) => x.nodeType === 3 && x.data.trim())
    && !node.closest(':disabled, option, template, script')).map((node) => {
    const style = getComputedStyle(node), under = background(node);
    const color = over(parse(node.tagName === 'text' ? style.fill : style.color), under);
    const [low, high] = [luminance(color), luminance(under)].sort((a, b) => a - b);
    return [(high + 0.05) / (low + 0.05), node.textContent.trim().slice(0, 40)];
  });
}"""
"""Returns the contrast of every text that is shown with what is behind it, and the text."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_a_contrast_of_4_5(browser: Any, scheme: str) -> None:
    shown = build_session(SMALL_PPO, timesteps=0), full_session()
    with (
        serving(*shown) as (address, _),
        open_page(browser, address, color_scheme=scheme) as page,
    ):
        page.wait_for(lambda state: state.get("timestep", 0) > 2)
        page.page.keyboard.press("h")
        page.wait_for(lambda state: state["manual"])
        page.page.keyboard.press(",")
        page.wait_for(lambda state: not state["live"])
        page.page.keyboard.press("?")
        found = page.page.evaluate(CONTRASTS)
        assert {"Untrained", "Policy", "Go on from here", "You play", "pause or play"} <= {
            text for _, text in found
        }
        assert [x for x in found if x[0] < 4.5] == []
        dark = "getComputedStyle(document.body).backgroundColor"
        assert (page.page.evaluate(dark) == "rgb(18, 20, 26)") == (scheme == "dark")


def test_the_theme_and_the_closed_hint_are_remembered(browser: Any) -> None:
    with serving(build_session(SMALL_PPO)) as (address, _), open_page(browser, address) as page:
        page.wait_for(lambda state: state.get("timestep", 0) > 1)
        page.page.keyboard.press("t")
        theme = page.page.evaluate("document.documentElement.dataset.theme")
        page.page.locator("#hint-close").click()
        page.page.reload()
        page.wait_for(lambda state: state.get("timestep", 0) > 1)
        assert page.page.evaluate("document.documentElement.dataset.theme") == theme
        assert page.page.locator("#hint").is_hidden()


def test_two_players_are_controlled_together(browser: Any) -> None:
    with (
        serving(build_session(SMALL_PPO), build_session()) as (address, _),
        open_page(browser, address) as page,
    ):
        page.wait_for(lambda state: state.get("timestep", 0) > 12)
        assert page.page.locator(".stage h2").all_inner_texts() == [
            "A · agent",
            "B · random policy",
        ]
        assert "Policy" in page.page.locator(".panels").first.text_content()
        assert page.page.locator(".panels").nth(1).inner_text() == ""
        assert page.page.locator(".empty").nth(1).is_visible()
        page.page.keyboard.press("p")
        page.wait_for(lambda state: not state["playing"])
        page.page.locator("#speed").select_option("60")
        page.page.keyboard.press("n")
        page.wait_for(lambda state: state["speed"] == 60)
        page.page.locator(".timeline").nth(1).press("ArrowLeft")
        page.wait_for(lambda state: not state["live"])
        a, b = page.states()
        for name in ("timestep", "playing", "speed", "live", "episode"):
            assert a[name] == b[name], name
        for width in (360, 1280, 1920):
            page.page.set_viewport_size({"width": width, "height": 900})
            assert page.page.evaluate(OVERFLOWING) == [], width
        boxes = [x.bounding_box() for x in page.page.locator(".stage canvas").all()]
        assert boxes[0]["y"] == boxes[1]["y"]
        assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
        assert page.errors == []
