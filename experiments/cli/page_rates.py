"""A benchmark of the page of ``reverie play`` with a real browser and real games."""

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from playwright.sync_api import sync_playwright

from ...agents.dqn import DQNConfig
from ...agents.episodic.mfec import MFEC
from ...agents.policies import EpsilonGreedy
from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS
from ...envs.interface import EnvConfig
from ..config.presets import PRESETS
from ..play.game import Game
from ..play.launch import PlayOptions, free_port
from ..play.lockstep import Lockstep
from ..play.server import Server
from ..play.session import SPEEDS, Session
from ..play.setup import PlaySetup

MEASURED_SECONDS, NUM_KEYS = 6.0, 40
MEASURE_KEYS = """async (count) => {
  const { reverie } = window, latencies = [];
  const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const dispatch = (kind, code) => document.body.dispatchEvent(
    new KeyboardEvent(kind, { code, bubbles: true }));
  for (let i = 0; i < count; i += 1) {
    await new Promise((done) => setTimeout(done, 150 + ((37 * i) % 100)));
    const [code, action] = i % 2 ? ['ArrowLeft', 'left'] : ['ArrowRight', 'right'];
    const start = performance.now();
    const rendered = new Promise((done) => {
      reverie.onFrame = (state) => { if (state.lastAction === action) done(); };
    });
    dispatch('keydown', code);
    await rendered;
    await painted();
    latencies.push(performance.now() - start);
    dispatch('keyup', code);
  }
  return latencies;
}"""
"""Returns milliseconds from each key press to the painted frame with its action."""


def measure(browser: str) -> Iterator[tuple[str, str, float, str]]:
    """Yield rows of (name, unit, value, remark), measured in the browser of this path.

    They are the frame rate of the page at its highest speed, and its latency from key to screen.
    """
    torch.set_num_threads(PlayOptions().threads)
    gray = AtariConfig("ms_pacman", PROTOCOLS["nature"])
    rgb = replace(gray.protocol, grayscale=False, stack=1, height=210, width=160)
    envs = {"84 x 84": gray, "210 x 160, RGB": replace(gray, protocol=rgb)}
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
        )
        for (size, env), preset in product(envs.items(), ("dqn-cts", "mfec", "strawe")):
            with _open_page(chromium, preset, env) as page:
                rate, latencies = _measure_page(page)
            name = f"watching {preset}, observations of {size}"
            yield f"{name}: shown on the page", "frames_per_second", rate, ""
            percentile = statistics.quantiles(latencies, n=20)[-1]
            remark = f"95%: {percentile:.0f} ms, worst {max(latencies):.0f} ms"
            yield f"{name}: key to screen", "seconds", statistics.median(latencies) / 1000, remark
        chromium.close()


def _measure_page(page: Any) -> tuple[float, list[float]]:
    """Return frames per second, and milliseconds from each key to the screen."""
    frames, start = page.evaluate("window.reverie.frames"), time.perf_counter()
    time.sleep(MEASURED_SECONDS)
    rate = (page.evaluate("window.reverie.frames") - frames) / (time.perf_counter() - start)
    page.locator("#speed").select_option("15")
    page.locator("#manual").click()
    time.sleep(1.0)
    latencies: list[float] = page.evaluate(MEASURE_KEYS, NUM_KEYS)
    return rate, latencies


@contextmanager
def _open_page(chromium: Any, preset: str, env: EnvConfig) -> Iterator[Any]:
    """Open the page of a preset's untrained agent, and wait for one second."""
    game = Game(env)
    spec = replace(game.spec, num_envs=PRESETS[preset].num_envs)
    config = PRESETS[preset].agent
    if isinstance(config, DQNConfig):
        config = replace(config, buffer_size=1000)  # the agent does not learn here
    agent, bonus = config.build(spec), PRESETS[preset].bonus.build(spec)
    if isinstance(agent, MFEC):
        _fill_tables(agent)
    policy = EpsilonGreedy(agent, game.spec.num_actions, env.eval_epsilon)
    session = Session(PlaySetup(preset, game, preset, policy, (agent, bonus)))
    session.speed = SPEEDS[-1]
    with free_port(8600) as bound_socket:
        server = Server(Lockstep([session]))
        thread = threading.Thread(target=server.run, args=([bound_socket],), daemon=True)
        thread.start()
        page = chromium.new_page(viewport={"width": 1280, "height": 720})
        page.goto(server.address(bound_socket.getsockname()[1]))
        time.sleep(1.0)
        yield page
        page.close()
        server.uvicorn.should_exit = True
        thread.join()
    session.close()


def _fill_tables(agent: MFEC, num_keys: int = 20_000) -> None:
    """Fill the tables with random keys, as after several hundred episodes."""
    for action in range(agent.spec.num_actions):
        agent.tables.update(
            action,
            torch.randn(num_keys, agent.representation.dim),
            torch.arange(num_keys) + num_keys * action,
            torch.rand(num_keys) * 1000,
        )
