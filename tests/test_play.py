"""Play: keys, panels, insides, dreams, the timeline, and what a page may wish for."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import STRAW, Copying, panels, played
from websockets.sync.client import connect

from agents.dqn import DQNConfig
from agents.networks import MLPConfig
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.errors import UsageError
from envs.protocol import PROTOCOLS, AtariProtocol
from experiments import Experiment, cli
from experiments.play import command
from experiments.play.cast import cast
from experiments.play.dream import Dream
from experiments.play.game import Game
from experiments.play.history import Entry, History
from experiments.play.keys import Keyboard
from experiments.play.panels import (
    Bars,
    Images,
    Line,
    Matrix,
    Picture,
    View,
    pack,
    pack_view,
    unpack,
)
from experiments.play.session import Session
from experiments.play.wishes import WISHES, carry_out
from world_models.prediction.mlp import MLPPredictorConfig

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


# Dreams.


def test_a_dream_in_which_nothing_happens_is_a_frozen_frame() -> None:
    session = played(predictor=Copying((1, 10, 5)))
    assert session.mode == "dream", "there is nobody to watch"
    for _ in range(7):
        session.tick()
    line = panels(session, Line)["Error by horizon"]
    assert line.series["imagined"] == line.series["a frozen frame"]
    assert session.dream is not None
    assert session.dream.horizon == 7
    assert max(line.series["imagined"]) > 0
    carry_out(session, {"do": "resync"})
    assert session.dream.horizon == 0
    emulator, imagined, error = session.view.stage.pictures
    assert np.array_equal(emulator.image, imagined.image)
    assert not error.image.any() or (error.image == error.image[0, 0]).all()


def test_a_dream_wakes_at_its_limit_and_where_an_episode_begins() -> None:
    session = played(predictor=Copying((1, 10, 5)))
    carry_out(session, {"do": "limit", "to": 4})
    horizons = []
    for _ in range(12):
        session.tick()
        horizons.append(session.dream.horizon)  # type: ignore[union-attr]
    # Nine ticks of an episode, and the tenth, on which the next one begins.
    assert horizons == [1, 2, 3, 0, 1, 2, 3, 0, 1, 0, 1, 2]


def test_a_dream_is_the_predictors_own_rollout_once_its_look_is_full() -> None:
    model = MLPPredictorConfig().build(obs_shape=(2, 16, 5), num_actions=3, seed=3)
    game = Game(CatchConfig(rows=16))
    dream = Dream(model)
    dream.begin(game.step)
    first = game.step.frame[0]
    dream.tick(1, game.tick(1))
    assert dream.horizon == 0, "of the two frames of a look, one was before the episode"
    state = {"obs": torch.cat([first, game.step.frame[0]])[None]}
    for action in (0, 2, 1):
        dream.tick(action, game.tick(action))
        _, state = model.predict(state, torch.tensor([action]))
    assert torch.equal(dream.state["obs"], state["obs"])
    assert dream.horizon == 3


def test_looks_of_a_dream_are_the_worlds_own_stacks() -> None:
    """What is stacked here from single frames is what ale_py stacks, across episodes too."""
    protocol = AtariProtocol("short", sticky=0.25, stack=4, frames_cap=120)
    game = Game(AtariConfig("pong", protocol))
    model = Copying((4, 84, 84))
    model.context = 5
    dream = Dream(model)  # type: ignore[arg-type]
    dream.begin(game.step)
    looks, actions, firsts = [game.step.obs[0]], [], [True]
    for tick in range(70):
        action = tick % game.spec.num_actions
        step = game.tick(action)
        dream.see(action, step)
        looks.append(step.obs[0])
        actions.append(action)
        firsts.append(bool(step.first[0]))
        dream.resync()
        count = model.seen.obs.shape[1]
        assert count == min(max(len(looks) - 3, 1), 5)
        assert torch.equal(model.seen.obs[0], torch.stack(looks[-count:]))
        assert model.seen.action[0].tolist() == actions[len(actions) - count + 1 :]
        assert model.seen.first[0].tolist() == firsts[-count:]
    assert sum(firsts) > 1
    game.close()


def test_the_screen_is_the_emulators_and_a_new_episode_is_another() -> None:
    game = Game(AtariConfig("breakout", PROTOCOLS["mfec"]))
    begun = []
    for _ in range(3):
        assert game.screen().shape == (210, 160, 3)
        begun.append((game.score, game.length, game.number))
        for tick in range(10):
            game.tick(tick % 4)
        game.begin()
    assert begun == [(0.0, 0, 0), (0.0, 0, 1), (0.0, 0, 2)]
    game.close()


# The session as a page knows it.


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


# The command.


def test_a_busy_port_is_passed_over() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with command.free_port(port) as bound:
            assert bound.getsockname()[1] > port


def test_without_the_extra_a_sentence_says_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs starlette, uvicorn, websockets.*pip install"):
        command.check_extra()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "catch"
    words = ["--steps", "64", "--streams", "2", "--agent.capacity", "200", "--device", "cpu"]
    words += ["--bare-seconds", "0", "--quiet", "--folder", str(folder), "--env.rows", "16"]
    assert cli.main(["train", "dqn", "env:catch", "agent.network:mlp", *words]) == 0
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "catch"
    words = ["--frames", "400", "--streams", "2", "--folder", str(folder), "--device", "cpu"]
    assert cli.main(["collect", "random", "env:catch", "--env.rows", "16", *words]) == 0
    return folder


def pretrained(part: str, recording: Path, *words: str) -> Path:
    folder = recording.parent / f"{part.replace(':', '-')}{len(words)}"
    command = ["pretrain", part, "--data", str(recording), "--folder", str(folder), *words]
    assert cli.main([*command, "--steps", "3", "--batch", "4", "--device", "cpu", "--quiet"]) == 0
    return folder


def test_a_pretrained_predictor_is_played_by_chance_by_hand_or_by_another_runs_agent(
    run: Path, recording: Path
) -> None:
    dream = pretrained("predictor:mlp", recording, "--stack", "1")
    for agent, player in (("", "random play"), (str(run), "DoubleDQN")):
        session = Session(cast(dream, agent=agent, device="cpu"))
        assert session.hello()["player"] == player
        assert session.dream is not None
        carry_out(session, {"do": "mode", "to": "dream"})
        for _ in range(5):
            assert session.tick()
        assert session.dream.horizon == 5
        assert bool(panels(session, Bars)) == bool(agent), "the agent's values, where there is one"
        session.close()
    other = pretrained("predictor:mlp", recording)  # reads stacks of four
    with pytest.raises(UsageError, match=r"looks \(1, 16, 5\); the predictor is of catch"):
        cast(other, agent=str(run), device="cpu")


def test_a_pretrained_representation_is_watched(recording: Path) -> None:
    fit = pretrained("representation:vae", recording)
    session = Session(cast(fit, device="cpu"))
    assert session.mode == "watch"
    session.tick()
    assert [p.caption for p in panels(session, Images)["Representation"].pictures][:2] == [
        "seen", "reconstructed",
    ]  # fmt: skip
    session.close()


def test_a_film_is_made_by_a_command(run: Path, capsys: Any) -> None:
    film = run / "watch.gif"
    assert cli.main(["play", str(run), "--film", str(film), "--ticks", "12", "--threads", "1"]) == 0
    assert imageio.imread(film, index=None).shape[:3] == (6, 330, 640)
    assert "12 steps in" in capsys.readouterr().out


def test_the_command_says_where_the_page_is_and_ends_with_it(run: Path) -> None:
    """In a process of its own, on a port that is busy; the page is a socket that is closed."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.cli", "play", str(run), "--port", str(port)],
            cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        said = [next(process.stdout) for _ in range(4)]
    assert said[0] == f"Port {port} is busy; took the next free one.\n"
    assert said[2].startswith("Watch only. This run has no predictor")
    address = re.search(r"http://(127\.0\.0\.1:\d+)", said[1])
    assert address
    with connect(f"ws://{address[1]}/play") as page:
        assert json.loads(page.recv())["world"] == "catch"
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Name the run to play"),
        (["/nowhere"], "no run folder"),
        (["RUN", "--mode", "dream"], "has no predictor"),
        (["RUN", "--agent", "RUN"], "leave out --agent"),
        (["ROMLESS"], "There is no game 'pack_man'. Did you mean"),
    ],
)
def test_bad_input_is_one_sentence(run: Path, words: list[str], says: str, capsys: Any) -> None:
    romless = run.parent / "romless"
    if not romless.exists():
        romless.mkdir()
        (romless / "checkpoints").symlink_to(run / "checkpoints")
        config = json.loads((run / "config.json").read_text())
        experiment = Experiment(env=AtariConfig("ms_pacman"))
        from experiments.config import encode

        config["env"] = encode(experiment)["env"] | {"game": "pack_man"}
        (romless / "config.json").write_text(json.dumps(config))
    named = {"RUN": str(run), "ROMLESS": str(romless)}
    assert cli.main(["play", *(named.get(word, word) for word in words)]) == 2
    said = capsys.readouterr().err
    assert re.search(re.escape(says), said), said
    assert said.count("\n") == 1
