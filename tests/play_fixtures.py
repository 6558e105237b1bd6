"""Sessions of play without a run folder, their page, and a real browser that opens it."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.agents.interface import AgentConfig
from reverie.agents.loop import interact
from reverie.agents.policies import EpsilonGreedy, RandomPolicy
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.interface import Carry, EnvConfig, Metrics, Segment
from reverie.experiments.inspectors.panels import Panel
from reverie.experiments.play import launch
from reverie.experiments.play.game import Game
from reverie.experiments.play.lockstep import Lockstep
from reverie.experiments.play.playback import Playback
from reverie.experiments.play.server import Server
from reverie.experiments.play.session import Session
from reverie.experiments.play.setup import PlaySetup
from reverie.world_models.interface import Prediction
from reverie.world_models.planning.straw import STRAWConfig

from sample_agents import EXAMPLES

CATCH = CatchConfig()


def build_session(
    config: AgentConfig | None = None,
    bonus: Any = None,
    *,
    env: EnvConfig = CATCH,
    predictor: Any = None,
    timesteps: int = 40,
) -> Session:
    """Build a session of a briefly trained agent, or of a random policy."""
    game = Game(env)
    if config is None:
        policy: Any = RandomPolicy(game.spec.num_actions)
        return Session(PlaySetup("r", game, "random policy", policy, (bonus,), predictor))
    envs = BatchedEnv(env.build(2), seed=1)
    agent = config.build(envs.spec, seed=0)
    for t in islice(interact(envs, agent), timesteps):
        agent.learn(t)
    envs.close()
    simulator = getattr(agent, "simulator", None)
    predictor = simulator.predictor if simulator else predictor
    policy = EpsilonGreedy(agent, game.spec.num_actions, 0.0)
    return Session(PlaySetup("r", game, "agent", policy, (agent, bonus), predictor))


def panels_by_title(session: Session, kind: type[Panel]) -> dict[str, Any]:
    """Return the panels of a kind by title."""
    return {panel.title: panel for panel in session.view.panels if isinstance(panel, kind)}


STRAW = replace(
    EXAMPLES["ppo"],
    planner=STRAWConfig(length=20, filters=3),  # type: ignore[call-arg]
)


class StaticPredictor:
    """A predictor that returns its last observed frame."""

    channels, num_actions, context, batch_shape = 1, 3, 1, (1, 1)

    def __init__(self, obs_shape: tuple[int, int, int]) -> None:
        self.obs_shape = obs_shape

    def start(self, obs: Any, action: Any, first: Any) -> Carry:
        self.context_given = obs, action, first
        return {"obs": obs[:, -1]}

    def predict(self, state: Carry, action: Any) -> tuple[Prediction, Carry]:
        nothing = torch.zeros(len(action))
        return Prediction(state["obs"], nothing, nothing + 1), state

    def update(self, segment: Segment) -> Metrics:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@contextmanager
def serving(
    *sessions: Session, playback: Playback | None = None, folder: Path = Path("videos")
) -> Iterator[tuple[str, threading.Thread]]:
    """Serve the page of sessions or of a moment; yield its URL and the server's thread."""
    played = playback or Lockstep(sessions, folder)
    with launch.free_port(8450) as bound_socket:
        server = Server(played)
        thread = threading.Thread(target=server.run, args=([bound_socket],), daemon=True)
        thread.start()
        while not server.uvicorn.started:
            time.sleep(0.01)
        try:
            yield server.address(bound_socket.getsockname()[1]), thread
        finally:
            server.uvicorn.should_exit = True
            thread.join(20)
            played.close()


def socket_address(address: str) -> str:
    """Return the address of the page's WebSocket, with the token."""
    return address.replace("http", "ws").replace("/?", "/play?")


OVERFLOWING = """async () => {
const frame = () => new Promise(requestAnimationFrame);
await frame(); await frame();
return [...document.querySelectorAll('body *:not(svg *)')].filter((node) => {
  const { left, right, width } = node.getBoundingClientRect();
  const block = getComputedStyle(node).display !== 'inline';
  const wide = block && node.scrollWidth > node.clientWidth + 1;
  return width && (wide || left < -0.5 || right > innerWidth + 0.5);
}).map((node) => `${node.tagName} ${node.id} ${node.scrollWidth} ${node.clientWidth}`); }"""
"""Returns the elements that are wider than the window, or than their box.

The page sizes its pictures in the frame after a change of its own size, so two frames pass first.
"""


class Page:
    """The page in Chromium, and the errors and warnings on its console."""

    def __init__(self, page: Any) -> None:
        self.page, self.errors = page, list[str]()
        self.pressed: dict[str, Any] = {}
        """The state before the last key was pressed, where a test keeps it."""
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def state(self) -> dict[str, Any]:
        """Return the state that the page has rendered last."""
        state: dict[str, Any] = self.page.evaluate("window.reverie.state || {}")
        return state

    def states(self) -> list[dict[str, Any]]:
        """Return the states of all players on the page."""
        states: list[dict[str, Any]] = self.page.evaluate("window.reverie.states")
        return states

    def wait_for(
        self, predicate: Callable[[dict[str, Any]], bool], seconds: float = 30
    ) -> dict[str, Any]:
        """Wait until the rendered state satisfies a predicate, and return the state."""
        end = time.monotonic() + seconds
        while not predicate(state := self.state()):
            shown = {name: x for name, x in state.items() if name != "events"}
            assert time.monotonic() < end, f"timeout; the page shows {json.dumps(shown)}"
            time.sleep(0.02)
        return state

    def pixels(self, index: int = 0) -> list[int]:
        """Return a picture of the main view as gray levels, row by row."""
        levels: list[int] = self.page.evaluate(
            """(index) => {
              const canvas = document.querySelectorAll('.main-view canvas')[index];
              const { width, height } = canvas;
              const copy = new OffscreenCanvas(width, height)
                .getContext('2d', { willReadFrequently: true });
              copy.drawImage(canvas, 0, 0);
              const { data } = copy.getImageData(0, 0, width, height);
              return [...data].filter((_, i) => i % 4 === 0);
            }""",
            index,
        )
        return levels


@contextmanager
def chromium() -> Iterator[Any]:
    """Launch a headless browser; skip the test if none is installed."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("Chromium is not installed; run `apt-get install chromium`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
        )
        yield launched
        launched.close()


@contextmanager
def open_page(browser: Any, address: str, **settings: Any) -> Iterator[Page]:
    """Open the page, by default at 1280 x 720, and close it at the end."""
    settings = {"viewport": {"width": 1280, "height": 720}} | settings
    page = Page(browser.new_page(**settings))
    page.page.goto(address)
    yield page
    page.page.close()
