"""Play: keys, panels, insides, dreams, the timeline, and what a page may wish for."""

import json
import re
import socket
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_agents import EXAMPLES, LAW_AGENTS, brief

from agents.density_bonus import PseudoCountConfig, SurpriseConfig
from agents.dqn import DQNConfig
from agents.episodic import EpisodicConfig
from agents.interface import AgentConfig
from agents.loop import interact
from agents.networks import MLPConfig
from agents.policies import EpsilonGreedy, RandomPolicy
from agents.simhash import SimHashConfig
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.errors import UsageError
from envs.interface import Memory, Metrics, Segment
from envs.protocol import PROTOCOLS, AtariProtocol
from envs.stream import Stream
from experiments import Experiment, cli
from experiments.play import command
from experiments.play.cast import Cast
from experiments.play.dream import Dream
from experiments.play.game import Game
from experiments.play.history import Entry, History
from experiments.play.keys import Keyboard
from experiments.play.panels import (
    Bars,
    Images,
    Line,
    Matrix,
    Numbers,
    Panel,
    Picture,
    Slider,
    View,
    pack,
    pack_view,
    unpack,
)
from experiments.play.session import Session
from experiments.play.wishes import WISHES, carry_out
from world_models.interface import Prediction
from world_models.planning.straw import STRAWConfig
from world_models.prediction.mlp import MLPPredictorConfig
from world_models.representation.vae import VAEConfig

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


# Sessions without a run folder.


def played(
    config: AgentConfig | None = None,
    bonus: Any = None,
    predictor: Any = None,
    ticks: int = 40,
) -> Session:
    """A session of an agent that has played a little."""
    env = CatchConfig()
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
    return Session(Cast("r", game, "agent", policy, (agent, bonus), dream, "" if dream else "no"))


def panels(session: Session, kind: type[Panel]) -> dict[str, Any]:
    return {panel.title: panel for panel in session.view.insides if isinstance(panel, kind)}


STRAW = replace(
    EXAMPLES["actor-critic"],
    planner=STRAWConfig(length=20, filters=3),  # type: ignore[call-arg]
)


@pytest.mark.parametrize("name", LAW_AGENTS)
def test_every_agent_is_seen_into(name: str) -> None:
    """Whatever is in the table of agents plays, shows something, and its shown choice is done."""
    session = played(brief(LAW_AGENTS[name]), ticks=130)
    assert session.view.insides, "an agent without insides: add a line to INSIDES"
    for _ in range(12):
        choice = session.now.action
        assert session.tick()
        assert session.done == choice
        about, shown, blobs = unpack(session.message())
        assert about["did"] == session.game.names[choice]
        assert len(shown) == 1 + len(session.view.insides)
        ends = [sum(p["at"]) for panel in shown for p in panel.get("pictures", [])]
        assert max(ends) == len(blobs)
        for bars in panels(session, Bars).values():
            assert bars.chosen == session.now.action
            assert bars.labels == session.game.names
    session.close()


def test_what_is_shown_of_a_q_network_is_what_it_says() -> None:
    session = played(DQNConfig(network=MLPConfig(), capacity=500))
    agent = session.cast.parts[0]
    session.tick()
    with torch.no_grad():
        values = agent.online(session.game.step.obs)[0]
    shown = panels(session, Bars)["Action values"]
    assert shown.values == pytest.approx(values.tolist())
    assert shown.chosen == int(values.argmax())
    assert session.history.entries[-1].value == pytest.approx(float(values.max()))


def test_what_is_shown_of_a_plan_is_in_memory() -> None:
    session = played(STRAW)
    for _ in range(6):
        session.tick()
        plan = panels(session, Matrix)["Plan"]
        assert plan.labels == ("left", "stay", "right", "window", "plan anew")
        odds = session.now.following["plan"][0].softmax(0)
        assert np.allclose(plan.values[:3], odds[:, : plan.values.shape[1]].numpy())
        assert plan.values[:3].sum(0) == pytest.approx(1.0, abs=1e-5)
        policy = panels(session, Bars)["Policy"]
        assert sum(policy.values) == pytest.approx(1.0)
        assert policy.values == pytest.approx(odds[:, 0].tolist(), abs=1e-5)


def test_what_is_remembered_is_in_the_tables() -> None:
    session = played(EpisodicConfig(neighbours=2, capacity=500), ticks=200)
    agent = session.cast.parts[0]
    session.tick()
    key, digest = session.now.following["key"], session.now.following["digest"]
    values, _ = agent.tables.estimate(key, digest)
    assert panels(session, Bars)["Remembered returns"].values == tuple(values[:, 0].tolist())
    action = session.now.action
    nearest = panels(session, Numbers)[f"Nearest memories of {session.game.names[action]}"]
    _, slots = agent.tables.nearest(key)
    best = float(agent.tables.returns[action, slots[action, 0, 0]])
    assert nearest.rows[0][1].startswith(f"{best:,.0f} at ")
    assert "keeps keys alone" in nearest.note


def test_remembered_frames_are_shown_where_they_are_kept_and_decoded_where_keys_can_be() -> None:
    small = VAEConfig(latent=4)
    for refit, says in ((10**6, "remembered frames"), (0, "decoded from keys")):
        config = EpisodicConfig(
            neighbours=2, capacity=500, refit_every=refit,
            representation=small, fit_after=40, fit_steps=20,
        )  # fmt: skip
        session = played(config, ticks=200)
        session.tick()
        title = f"Nearest memories of {session.game.names[session.now.action]}"
        shown = panels(session, Images)[title]
        assert says in shown.note
        assert shown.pictures[0].image.shape == (10, 5)
        if refit:
            agent = session.cast.parts[0]
            _, slots = agent.tables.nearest(session.now.following["key"])
            look = agent.tables.looks[session.now.action, slots[session.now.action, 0, 0], -1]
            assert np.array_equal(shown.pictures[0].image, look.numpy())
        assert panels(session, Slider), "and its representation has sliders"


def test_a_latent_slider_changes_what_is_drawn_and_lets_go() -> None:
    class Fitted:
        representation = VAEConfig(latent=4).build(obs_shape=(1, 10, 5), seed=1)

    session = played(bonus=Fitted())

    def drawn() -> list[Any]:
        return [picture.image for picture in panels(session, Images)["Representation"].pictures]

    before = drawn()
    assert np.array_equal(before[1], before[2])
    for name, value in (("rank", 0), ("latent", 3.0)):
        assert carry_out(session, {"do": "slide", "name": name, "to": value})
    assert not np.array_equal(before[2], drawn()[2])
    assert np.array_equal(before[1], drawn()[1])
    carry_out(session, {"do": "slide", "name": "latent", "to": None})
    assert np.array_equal(before[2], drawn()[2])
    carry_out(session, {"do": "slide", "name": "latent", "to": 99})
    slider = next(x for x in panels(session, Slider).values() if x.name == "latent")
    assert slider.value == 3.0, "held within its range"


@pytest.mark.parametrize(
    "config",
    [PseudoCountConfig(), PseudoCountConfig(form="gain"), SurpriseConfig(), SimHashConfig()],
)
def test_a_frame_is_counted_once_however_often_it_is_shown(config: Any) -> None:
    """The shown bonus is the one that training would pay, tick for tick."""
    spec = Stream(CatchConfig().build(1)).spec
    shown, paid = config.build(spec, seed=0), config.build(spec, seed=0)
    session = played(bonus=shown)
    for _ in range(25):
        session.tick()
        session.look_again()
        step = session.game.step
        rows = dict(next(p for t, p in panels(session, Numbers).items() if "Count" in t).rows)
        if not bool(step.first[0]):
            assert rows["bonus"] == f"{float(paid.visit(step.frame)[0]):.4f}"
    session.close()


def test_the_surprise_of_the_pixels_is_that_of_the_frame() -> None:
    spec = Stream(CatchConfig().build(1)).spec
    bonus = PseudoCountConfig().build(spec)
    session = played(bonus=bonus)
    for _ in range(5):
        session.tick()
    images = panels(session, Images)["Surprise"]
    assert images.pictures[1].image.shape == (10, 5, 3)
    assert "nats" in images.note


# Dreams.


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


def test_a_dream_is_the_predictors_own_rollout() -> None:
    model = MLPPredictorConfig().build(obs_shape=(2, 10, 5), num_actions=3, seed=3)
    game = Game(CatchConfig())
    dream = Dream(model)
    dream.begin(game.step)
    first = game.step.frame[0]
    look = torch.cat([torch.zeros_like(first), first])[None]
    state = {"obs": look}
    for action in (0, 2, 1):
        dream.tick(action, game.tick(action))
        _, state = model.predict(state, torch.tensor([action]))
    assert torch.equal(dream.state["obs"], state["obs"])


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
    assert imageio.imread(film, plugin="pyav").shape == (9, 540, 960, 3)


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
    words += ["--bare-seconds", "0", "--quiet", "--folder", str(folder)]
    assert cli.main(["train", "dqn", "env:catch", "agent.network:mlp", *words]) == 0
    return folder


def test_a_film_is_made_by_a_command(run: Path, capsys: Any) -> None:
    film = run / "watch.gif"
    assert cli.main(["play", str(run), "--film", str(film), "--ticks", "12", "--threads", "1"]) == 0
    assert imageio.imread(film, index=None).shape[:3] == (12, 540, 960)
    assert "12 steps in" in capsys.readouterr().out


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
