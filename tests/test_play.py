"""Play: keys, panels, the session, its timeline, and what a page may wish for."""

from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import STRAW, Copying, played

from agents.dqn import DQNConfig
from agents.networks import MLPConfig
from experiments.play.history import Entry, History
from experiments.play.keys import Keyboard
from experiments.play.panels import (
    Bars,
    Images,
    Matrix,
    Picture,
    View,
    pack,
    pack_view,
    unpack,
)
from experiments.play.wishes import WISHES, carry_out

PACMAN = "noop up right left down upright upleft downright downleft".split()
BREAKOUT = "noop fire right left".split()


@pytest.mark.parametrize(
    ("names", "held", "action"),
    [
        (PACMAN, [], "noop"),
        (PACMAN, ["ArrowUp", "ArrowRight"], "upright"),
        (PACMAN, ["Space"], "noop"),
        (PACMAN, ["ArrowLeft", "ArrowRight"], "right"),  # of opposites the newer
        (PACMAN, ["ArrowRight", "ArrowLeft", "ArrowUp"], "upleft"),
        (BREAKOUT, ["ArrowLeft", "Space"], "fire"),  # no action does both: the newest
        (BREAKOUT, ["Space", "ArrowLeft"], "left"),
        (["noop", "fire", "rightfire", "right"], ["Space", "ArrowRight"], "rightfire"),
        (["left", "stay", "right"], ["ArrowDown"], "stay"),
        (["0", "1"], ["Digit2"], "1"),
    ],
)
def test_held_keys_are_an_action(names: list[str], held: list[str], action: str) -> None:
    assert Keyboard(names).action(held) == names.index(action)


def test_a_world_without_an_idle_action_waits_for_a_key() -> None:
    maze = Keyboard(["up", "right", "down", "left"])
    assert maze.action([]) is None
    assert maze.keys == ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"]
    assert Keyboard(["0", "1"]).keys == ["Digit1", "Digit2"]
    assert Keyboard(BREAKOUT).keys == ["ArrowLeft", "ArrowRight", "Space"]


def test_a_packed_view_is_what_was_to_be_seen() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    stage = Images("stage", (Picture(noise, "a"), Picture(grey, "b")))
    bars = Bars("bars", ("x", "y"), (1.0, float("inf")), 1)
    plan = Matrix("plan", ("x",), np.array([[0.0, 1.0]], np.float32))
    about, panels, blobs = unpack(pack({"tick": 3}, pack_view(View(stage, (bars, plan)))))
    assert about == {"tick": 3}
    for picture, image in zip(panels[0]["pictures"], (noise, grey), strict=True):
        begin, length = picture["at"]
        shown = imageio.imread(blobs[begin : begin + length])
        assert np.array_equal(shown, image)
        assert picture["size"] == [image.shape[1], image.shape[0]]
    assert (panels[1]["kind"], panels[1]["values"]) == ("bars", [1.0, None])
    assert panels[2]["cells"] == [[0, 99]]


def test_a_person_plays_and_the_agent_goes_on_thinking() -> None:
    session = played(STRAW)
    carry_out(session, {"do": "hand", "on": True})
    for held, done in ((["ArrowLeft"], 0), ([], 1), (["ArrowRight"], 2)):
        carry_out(session, {"do": "keys", "held": held})
        session.tick()
        assert session.done == done
    before = session.game.length
    carry_out(session, {"do": "play", "on": False})
    assert not session.ticking
    carry_out(session, {"do": "step"})
    assert session.game.length == before + 1


def test_looking_back_shows_what_was_shown() -> None:
    session = played(DQNConfig(network=MLPConfig(), capacity=500))
    shown = {0: session.message()}
    for _ in range(30):
        session.tick()
        shown[session.ticks] = session.message(session.ticks - 1)
    carry_out(session, {"do": "scrub", "to": 11})
    assert not session.ticking
    about, *then = unpack(session.message(30))
    known, *now = unpack(shown[11])
    assert then == now
    assert (about["tick"], about["did"], about["live"]) == (11, known["did"], False)
    assert [event[0] for event in known["events"]] == [11]
    carry_out(session, {"do": "live"})
    about, *then = unpack(session.message())
    assert then == list(unpack(shown[30])[1:])
    assert [event[0] for event in about["events"]] == list(range(31))
    rewards = [event[1] for event in about["events"] if event[3]]
    assert rewards
    assert set(rewards) <= {-1.0, 1.0}, "each episode's end is marked with its reward"


def test_the_timeline_forgets_its_beginning_first() -> None:
    history = History(limit=100)
    for tick in range(50):
        history.add(Entry(tick, {}, b"x" * 10, 0.0, None, False))
    assert (history.oldest, len(history.entries), history.size) == (40, 10, 100)
    assert [history.at(t).tick for t in (0, 45, 99)] == [40, 45, 49]
    assert [event[0] for event in history.events_since(46)] == [47, 48, 49]
    history.add(Entry(49, {}, b"y", 0.0, None, False))
    assert (history.entries[-1].body, history.size) == (b"y", 91)


def test_a_film_that_cannot_be_written_does_not_end_the_play(tmp_path: Path) -> None:
    session = played()
    (tmp_path / "videos").write_text("a file where the folder would be")
    session.films = tmp_path / "videos"
    carry_out(session, {"do": "record", "on": True})
    assert session.tick()
    assert session.filmed.startswith("not, as ")
    assert session.film is None


def test_recording_leaves_a_film(tmp_path: Path) -> None:
    session = played(predictor=Copying((1, 10, 5)))
    session.films = tmp_path / "videos"
    carry_out(session, {"do": "record", "on": True})
    for _ in range(9):
        session.tick()
    carry_out(session, {"do": "record", "on": False})
    film = Path(session.filmed)
    assert film.parent == tmp_path / "videos"
    assert imageio.imread(film, plugin="pyav").shape == (9, 496, 960, 3)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["do", "to", "on", "held", "name"]), inner, max_size=4)
    ),
    max_leaves=6,
)
near_wishes = st.fixed_dictionaries(
    {"do": st.sampled_from([word for word in WISHES if word != "record"])},
    optional=dict.fromkeys(("to", "on", "held", "name"), json_values),
)


def test_whatever_a_page_says_the_play_goes_on() -> None:
    session = played(predictor=Copying((1, 10, 5)))

    @settings(max_examples=300, deadline=None)
    @given(json_values | near_wishes)
    def say(message: Any) -> None:
        ignored = session.ignored
        understood = carry_out(session, message)
        assert session.ignored == ignored + (not understood)
        assert session.tick() in (True, False)
        assert unpack(session.message())[0]["ignored"] == session.ignored

    say()
    assert session.ignored > 0


def test_what_cannot_be_meant_is_ignored() -> None:
    session = played()
    for message in (
        None, [], "step", {}, {"do": "fly"}, {"do": ["keys"]}, {"do": "keys", "held": "ArrowUp"},
        {"do": "keys", "held": ["x"] * 99}, {"do": "speed", "to": 0}, {"do": "speed", "to": True},
        {"do": "mode", "to": "dream"}, {"do": "play", "on": 1}, {"do": "scrub", "to": -1},
        {"do": "limit", "to": float("nan")}, {"do": "slide", "name": "latent", "to": "x"},
    ):  # fmt: skip
        assert not carry_out(session, message), message
    assert session.ignored == 15
    assert session.mode == "watch"
