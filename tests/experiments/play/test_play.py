"""Play: keys, panels, the session, its history, videos, and the validation of commands."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.agents.dqn import DQNConfig
from reverie.agents.interface import ActOutput
from reverie.agents.networks import MLPConfig
from reverie.experiments.inspectors.panels import BarChart, Images, Picture, Slider, View
from reverie.experiments.play.encoding import pack, pack_view
from reverie.experiments.play.history import Entry, Event, History
from reverie.experiments.play.keys import Keyboard
from reverie.experiments.play.lockstep import Lockstep
from reverie.experiments.play.messages import execute
from reverie.world_models.planning.figar import FiGARConfig

from play_fixtures import STRAW, StaticPredictor, build_session
from sample_agents import SMALL_PPO

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
def test_held_keys_select_an_action(names: list[str], held: list[str], action: str) -> None:
    assert Keyboard(names).action(held) == names.index(action)


def test_an_env_without_a_noop_waits_for_a_key() -> None:
    maze = Keyboard(["up", "right", "down", "left"])
    assert maze.action([]) is None
    assert maze.keys == ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"]
    assert Keyboard(["0", "1"]).keys == ["Digit1", "Digit2"]
    assert Keyboard(BREAKOUT).keys == ["ArrowLeft", "ArrowRight", "Space"]


def test_a_packed_view_unpacks_to_the_same_panels() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    gray = np.arange(6, dtype=np.uint8).reshape(2, 3)
    pictures = Picture(noise, "a"), Picture(gray, "b")
    slider = Slider("latent", "latent", -3, 3, 0.05, None, 0.5)
    bars = BarChart("<bars>", ("x", "y"), (1.0, float("inf")), 1)
    view = View(pictures, (Images("images", pictures, "", (slider,)), bars), ("no update",))
    message = json.loads(pack({"timestep": 3}, pack_view(view)))
    assert message["state"] == {"timestep": 3}
    shown = message["view"]
    images, packed_bars = shown["panels"]
    for packed in (shown["pictures"], images["images"]):
        for picture, image in zip(packed, (noise, gray), strict=True):
            decoded = imageio.imread(base64.b64decode(picture["image"]["png"]))
            assert np.array_equal(decoded, image)
            assert picture["image"]["size"] == [image.shape[1], image.shape[0]]
    assert [picture["caption"] for picture in shown["pictures"]] == ["a", "b"]
    assert images["sliders"][0]["value"] is None
    texts = [text for _, _, text, *_ in packed_bars["drawing"]["texts"]]
    assert {"<bars>", "untried"} <= {*texts}
    assert shown["untrained"] == ["no update"]


def test_manual_control_overrides_the_policy() -> None:
    session = build_session(STRAW)
    execute(session, {"command": "set_manual", "value": True})
    for keys, action in ((["ArrowLeft"], 0), ([], 1), (["ArrowRight"], 2)):
        execute(session, {"command": "set_keys", "value": keys})
        session.step()
        assert session.last_action == action
    length, played = session.game.length, Lockstep([session])
    played.execute({"command": "set_playing", "value": False})
    assert not played.running
    played.execute({"command": "step"})
    assert session.game.length == length + 1


def test_a_policy_gets_the_action_that_a_person_chose_instead() -> None:
    """A planner that repeats actions, and an agent whose predictor starts from recent actions."""
    session = build_session(replace(SMALL_PPO, planner=FiGARConfig()))
    execute(session, {"command": "set_manual", "value": True})
    for keys, action in ((["ArrowLeft"], 0), (["ArrowRight"], 2), ([], 1)):
        execute(session, {"command": "set_keys", "value": keys})
        session.step()
        assert session.carry["action"].tolist() == [action]
    carry = {"context_action": torch.tensor([[0, 1, 1]]), "rng": torch.tensor([7])}
    two = torch.tensor([2])
    taken = ActOutput(two, carry).with_action(two).carry
    assert taken["context_action"].tolist() == [[0, 1, 2]]
    assert carry["context_action"].tolist() == [[0, 1, 1]]
    assert taken["rng"] is carry["rng"]
    no_context = {"context_action": torch.zeros(1, 0, dtype=torch.int64)}
    assert ActOutput(two, no_context).with_action(two).carry["context_action"].shape == (1, 0)


def test_seeking_shows_the_recorded_message() -> None:
    session = build_session(DQNConfig(network=MLPConfig(), buffer_size=500))
    messages = {0: session.message()}
    for _ in range(30):
        session.step()
        messages[session.timestep] = session.message(session.timestep - 1)
    execute(session, {"command": "seek", "value": 11})
    assert not session.running
    sought, recorded = json.loads(session.message(30)), json.loads(messages[11])
    assert sought["view"] == recorded["view"]
    state, recorded_state = sought["state"], recorded["state"]
    assert (state["timestep"], state["live"]) == (11, False)
    assert state["lastAction"] == recorded_state["lastAction"]
    assert [event[0] for event in recorded_state["events"]] == [11]
    execute(session, {"command": "go_live"})
    newest = json.loads(session.message())
    assert newest["view"] == json.loads(messages[30])["view"]
    state = newest["state"]
    assert [event[0] for event in state["events"]] == list(range(31))
    rewards = [event[1] for event in state["events"] if event[3]]
    assert rewards
    assert set(rewards) <= {-1.0, 1.0}, "the last event of an episode has its reward"


def test_the_history_drops_the_oldest_entries() -> None:
    history = History(max_bytes=100)
    for timestep in range(50):
        history.add(Entry(Event(timestep, 0.0, None, False), {}, b"x" * 10))
    assert (history.oldest, len(history.entries), history.num_bytes) == (40, 10, 100)
    assert [history.at(t).event.timestep for t in (0, 45, 99)] == [40, 45, 49]
    assert [event[0] for event in history.events_since(46)] == [47, 48, 49]
    history.add(Entry(Event(49, 0.0, None, False), {}, b"y"))
    assert (history.entries[-1].packed_view, history.num_bytes) == (b"y", 91)


def test_a_video_that_cannot_be_written_does_not_stop_the_session(tmp_path: Path) -> None:
    (tmp_path / "videos").write_text("a file in place of the folder")
    played = Lockstep([build_session()], tmp_path / "videos")
    assert played.execute({"command": "set_recording", "value": True})
    assert played.recording_result.endswith(".mp4 ended (File exists; nothing of it is kept)")
    assert played.video is None


def test_recording_writes_a_video(tmp_path: Path) -> None:
    session = build_session(predictor=StaticPredictor((1, 10, 5)))
    played = Lockstep([session], tmp_path / "videos")
    played.execute({"command": "set_recording", "value": True})
    for _ in range(9):
        played.step()
    played.execute({"command": "set_recording", "value": False})
    video = Path(played.recording_result)
    assert video.parent == tmp_path / "videos"
    assert imageio.imread(video, plugin="pyav").shape == (10, 720, 1280, 3)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["command", "value", "name", "player"]), inner, max_size=4
        )
    ),
    max_leaves=6,
)
COMMANDS = (
    "set_keys", "set_mode", "set_playing", "step", "set_speed", "set_manual", "set_stochastic",
    "set_agent_sees_dream", "set_max_horizon", "resync", "new_episode", "seek", "go_live",
    "set_slider", "go_on",
)  # fmt: skip
near_commands = st.fixed_dictionaries(
    {"command": st.sampled_from(COMMANDS)},
    optional=dict.fromkeys(("value", "name", "player"), json_values),
)


def test_any_message_leaves_the_session_running() -> None:
    session = build_session(predictor=StaticPredictor((1, 10, 5)))
    played = Lockstep([session])

    @settings(max_examples=300, deadline=None)
    @given(json_values | near_commands)
    def send(message: Any) -> None:
        ignored = session.ignored_messages
        valid = played.execute(message)
        assert session.ignored_messages == ignored + (not valid)
        assert played.step() in (True, False)
        assert json.loads(session.message())["state"]["ignoredMessages"] == ignored + (not valid)

    send()
    assert session.ignored_messages > 0


def test_invalid_messages_are_ignored_and_counted() -> None:
    session = build_session()
    messages: tuple[object, ...] = (
        None, [], "step", {}, {"command": "fly"}, {"command": ["set_keys"]},
        {"command": "set_keys", "value": "ArrowUp"}, {"command": "set_keys", "value": ["x"] * 99},
        {"command": "set_speed", "value": 0}, {"command": "set_speed", "value": True},
        {"command": "set_mode", "value": "dream"}, {"command": "set_playing", "value": 1},
        {"command": "seek", "value": -1}, {"command": "set_max_horizon", "value": float("nan")},
        {"command": "set_slider", "name": "latent", "value": "x"},
    )  # fmt: skip
    for message in messages:
        assert not execute(session, message), message
    assert session.ignored_messages == 15
    assert session.mode == "watch"
