"""A page that is reloaded, closed with a key held, or paused while a step is due."""

import asyncio
import json
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from reverie.experiments.play import launch, server
from reverie.experiments.play.launch import PlayOptions, open_sessions
from reverie.experiments.play.lockstep import Lockstep
from reverie.experiments.play.server import Clock
from reverie.experiments.play.setup import PlaySetup

from play_fixtures import StaticPredictor, build_session, serving, socket_address


def send(socket: ClientConnection, command: str, value: Any = None) -> None:
    socket.send(json.dumps({"command": command, "value": value}))


def open_and_close(address: str) -> None:
    with connect(socket_address(address)) as socket:
        socket.recv()


def test_a_page_has_the_whole_time_to_return_each_time(monkeypatch: Any) -> None:
    """The time of an earlier closing does not count, nor does that of a page that is loading."""
    monkeypatch.setattr(server, "RECONNECT_SECONDS", 2.0)
    with serving(build_session()) as (address, thread):
        open_and_close(address)
        time.sleep(1.4)
        open_and_close(address)
        time.sleep(1.0)
        with urllib.request.urlopen(address) as response:
            assert response.status == 200
        time.sleep(1.4)
        open_and_close(address)
        thread.join(20)
        assert not thread.is_alive(), "it stops in the end"


def test_a_page_that_is_closed_holds_no_key() -> None:
    session = build_session()
    session.speed, session.manual = 60, True
    with serving(session) as (address, _):
        with connect(socket_address(address)) as socket:
            send(socket, "set_keys", ["ArrowLeft"])
            while not session.held_keys:
                time.sleep(0.01)
        with connect(socket_address(address)) as socket:
            socket.recv()
            assert session.held_keys == ()


def test_a_pause_comes_before_the_step_that_is_due_after_it() -> None:
    """As with a slow step: the clock asks for the next one while the pause waits for its turn."""
    session = build_session()
    release = threading.Event()

    async def play() -> None:
        clock = Clock(Lockstep([session], Path()))
        step = asyncio.create_task(clock.call(release.wait))
        pause = clock.execute({"command": "set_playing", "value": False})
        tasks = [step, asyncio.create_task(pause), asyncio.create_task(clock.run())]
        await asyncio.sleep(0.2)
        release.set()
        await asyncio.gather(*tasks[:2])
        await clock.call(int)  # what was asked for has run
        tasks[2].cancel()
        clock.thread.shutdown()

    asyncio.run(play())
    assert not session.playing
    assert session.timestep == 0
    session.close()


@pytest.mark.parametrize("first_dreams", [True, False])
def test_two_runs_dream_only_if_both_can(first_dreams: bool, monkeypatch: Any) -> None:
    def load_setup(run: str, **_: Any) -> PlaySetup:
        session = build_session()
        dreams = (run == "a") == first_dreams
        predictor: Any = StaticPredictor((1, 10, 5)) if dreams else None
        policy = session.setup.policy
        return PlaySetup(run, session.game, "random policy", policy, (), predictor)

    monkeypatch.setattr(launch, "load_setup", load_setup)
    played = open_sessions(PlayOptions("a", "b"))
    assert [x.mode for x in played.sessions] == ["watch", "watch"]
    played.close()
