"""Sessions of play without a run folder, their page, and a real browser that looks at it."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from test_agents import EXAMPLES

from agents.interface import AgentConfig
from agents.loop import interact
from agents.policies import EpsilonGreedy, RandomPolicy
from envs.catch import CatchConfig
from envs.interface import EnvConfig, Memory, Metrics, Segment
from envs.stream import Stream
from experiments.play import command
from experiments.play.cast import Cast
from experiments.play.game import Game
from experiments.play.panels import Panel
from experiments.play.server import Server
from experiments.play.session import Session
from world_models.interface import Prediction
from world_models.planning.straw import STRAWConfig

WHY = "There is no predictor."
CATCH = CatchConfig()


def played(
    config: AgentConfig | None = None,
    bonus: Any = None,
    *,
    env: EnvConfig = CATCH,
    predictor: Any = None,
    ticks: int = 40,
) -> Session:
    """A session of an agent that has played a little."""
    game = Game(env)
    if config is None:
        policy: Any = RandomPolicy(game.spec.num_actions)
        return Session(Cast("r", game, "chance", policy, (bonus,), predictor, "none"))
    stream = Stream(env.build(2), seed=1)
    agent = config.build(stream.spec, seed=0)
    for t in islice(interact(stream, agent), ticks):
        agent.learn(t)
    stream.close()
    simulator = getattr(agent, "simulator", None)
    dream = simulator.predictor if simulator else None
    policy = EpsilonGreedy(agent, game.spec.num_actions, 0.0)
    return Session(Cast("r", game, "agent", policy, (agent, bonus), dream, "" if dream else WHY))


def panels(session: Session, kind: type[Panel]) -> dict[str, Any]:
    return {panel.title: panel for panel in session.view.insides if isinstance(panel, kind)}


STRAW = replace(
    EXAMPLES["actor-critic"],
    planner=STRAWConfig(length=20, filters=3),  # type: ignore[call-arg]
)


class Copying:
    """A predictor for which nothing ever changes."""

    colours, num_actions, context, lesson = 1, 3, 1, (1, 1)

    def __init__(self, obs_shape: tuple[int, int, int]) -> None:
        self.obs_shape = obs_shape

    def start(self, context: Segment) -> Memory:
        self.seen = context
        return {"obs": context.obs[:, -1]}

    def predict(self, state: Memory, action: Any) -> tuple[Prediction, Memory]:
        nothing = torch.zeros(len(action))
        return Prediction(state["obs"], nothing, nothing + 1), state

    def update(self, segment: Segment) -> Metrics:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@contextmanager
def serving(session: Session) -> Iterator[tuple[str, threading.Thread]]:
    """The page of a session on a port of its own: its address, and the thread that serves it."""
    with command.free_port(8450) as bound:
        server = Server(session)
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        while not server.uvicorn.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}", thread
        finally:
            server.uvicorn.should_exit = True
            thread.join(20)
            session.close()


class Page:
    """The page in Chromium, and what it complained of."""

    def __init__(self, page: Any) -> None:
        self.page, self.complaints = page, list[str]()
        page.on("console", lambda m: m.type in ("error", "warning") and self.note(m.text))
        page.on("pageerror", lambda error: self.note(str(error)))

    def note(self, complaint: str) -> None:
        self.complaints.append(complaint)

    def now(self) -> dict[str, Any]:
        """What the page has shown last."""
        shown: dict[str, Any] = self.page.evaluate("window.reverie.drawn || {}")
        return shown

    def until(self, good: Callable[[dict[str, Any]], bool], seconds: float = 30) -> dict[str, Any]:
        """Wait for the page to show something, and say what it was."""
        end = time.monotonic() + seconds
        while not good(now := self.now()):
            shown = {name: x for name, x in now.items() if name != "events"}
            assert time.monotonic() < end, f"it never came; the page shows {json.dumps(shown)}"
            time.sleep(0.02)
        return now

    def pixels(self, place: int = 0) -> list[int]:
        """A picture of the stage as shades of grey, row by row."""
        shades: list[int] = self.page.evaluate(
            """(place) => {
              const canvas = document.querySelectorAll('#stage canvas')[place];
              const { width, height } = canvas;
              const copy = new OffscreenCanvas(width, height)
                .getContext('2d', { willReadFrequently: true });
              copy.drawImage(canvas, 0, 0);
              const { data } = copy.getImageData(0, 0, width, height);
              return [...data].filter((_, i) => i % 4 === 0);
            }""",
            place,
        )
        return shades


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; without one the test is skipped, and says so."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed; `apt-get install chromium` brings it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        launched = driver.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
        )
        yield launched
        launched.close()


@contextmanager
def opened(browser: Any, address: str) -> Iterator[Page]:
    """The page at 1280 x 720, closed in the end."""
    page = Page(browser.new_page(viewport={"width": 1280, "height": 720}))
    page.page.goto(address)
    yield page
    page.page.close()
