"""`reverie play` as a person meets it: a real browser on this machine, and a real game."""

import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from agents.dqn import DQNConfig
from agents.episodic import EpisodicControl
from agents.policies import EpsilonGreedy
from envs.atari import AtariConfig
from envs.errors import UsageError
from envs.interface import EnvConfig
from envs.protocol import PROTOCOLS
from experiments.bench.sitting import Row, Sitting, row
from experiments.play.command import PlayOptions, check_extra
from experiments.presets import PRESETS

SECONDS, KEYS = 6.0, 40
PRESS = """async (count) => {
  const { reverie } = window, found = [];
  const painted = () => new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
  const press = (kind, code) => document.body.dispatchEvent(
    new KeyboardEvent(kind, { code, bubbles: true }));
  for (let i = 0; i < count; i += 1) {
    await new Promise((go) => setTimeout(go, 150 + ((37 * i) % 100)));
    const [code, did] = i % 2 ? ['ArrowLeft', 'left'] : ['ArrowRight', 'right'];
    const begin = performance.now();
    const seen = new Promise((go) => {
      reverie.onshow = (now) => { if (now.did === did) go(); };
    });
    press('keydown', code);
    await seen;
    await painted();
    found.push(performance.now() - begin);
    press('keyup', code);
  }
  return found;
}"""
"""Milliseconds from each key to the browser's first frame after the answer to it was drawn."""


def play(sitting: Sitting) -> list[Row]:
    """Frames a second on the page at its greatest speed, and from a key to the screen at 15."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright

        check_extra()
    except (ImportError, UsageError):
        browser = None
    if browser is None:
        sitting.console.print("The page is not timed: it needs Chromium and the extras play, dev.")
        return []
    torch.set_num_threads(PlayOptions().threads)
    grey = AtariConfig("ms_pacman", PROTOCOLS["nature"])
    colour = replace(
        grey, protocol=replace(grey.protocol, grey=False, stack=1, height=210, width=160)
    )
    rows: list[Row] = []
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu"]
        )
        for env, size in ((grey, "84 x 84"), (colour, "210 x 160, RGB")):
            for preset in ("dqn-cts", "episodic", "strawe"):
                with _opened(chromium, preset, env) as page:
                    rate, keys = _timed(page)
                what = f"watching {preset}, looks of {size}"
                rows.append(row(f"{what}: shown on the page", "frames_per_second", rate))
                worst = f"95%: {sorted(keys)[int(0.95 * KEYS)]:.0f} ms, worst {max(keys):.0f} ms"
                key = statistics.median(keys) / 1000
                rows.append(row(f"{what}: key to screen", "seconds", key, worst))
        chromium.close()
    return rows


def _timed(page: Any) -> tuple[float, list[float]]:
    """Frames a second over some seconds, and milliseconds from keys to the screen."""
    frames, begin = page.evaluate("window.reverie.frames"), time.perf_counter()
    time.sleep(SECONDS)
    rate = (page.evaluate("window.reverie.frames") - frames) / (time.perf_counter() - begin)
    page.locator("#speed").select_option("15")
    page.locator("#hand").click()
    time.sleep(1.0)
    keys: list[float] = page.evaluate(PRESS, KEYS)
    return rate, keys


@contextmanager
def _opened(chromium: Any, preset: str, env: EnvConfig) -> Iterator[Any]:
    """A page that shows an agent of a preset, a second after it was opened."""
    from experiments.play.cast import Cast
    from experiments.play.command import free_port
    from experiments.play.game import Game
    from experiments.play.server import Server
    from experiments.play.session import SPEEDS, Session

    game = Game(env)
    spec = replace(game.spec, num_envs=PRESETS[preset].streams)
    config = PRESETS[preset].agent
    if isinstance(config, DQNConfig):
        config = replace(config, capacity=1000)  # it learns nothing here
    agent, bonus = config.build(spec), PRESETS[preset].bonus.build(spec)
    if isinstance(agent, EpisodicControl):
        _remember(agent)
    policy = EpsilonGreedy(agent, game.spec.num_actions, env.eval_epsilon)
    session = Session(Cast(preset, game, preset, policy, (agent, bonus), None, "not timed"))
    session.speed = SPEEDS[-1]
    with free_port(8600) as bound:
        server = Server(session)
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        page = chromium.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"http://127.0.0.1:{bound.getsockname()[1]}")
        time.sleep(1.0)
        yield page
        page.close()
        server.uvicorn.should_exit = True
        thread.join()
    session.close()


def _remember(agent: EpisodicControl, keys: int = 20_000) -> None:
    """Fill the tables, as after some hundred episodes."""
    for action in range(agent.spec.num_actions):
        agent.tables.store(
            action,
            torch.randn(keys, agent.representation.dim),
            torch.arange(keys) + keys * action,
            torch.rand(keys) * 1000,
        )
