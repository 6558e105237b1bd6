"""Sessions in lockstep: equal chance, waiting, which runs compare; going on from the past."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reverie.agents.dqn import DQNConfig
from reverie.agents.policies import ConstantPolicy, RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvConfig
from reverie.envs.maze import MazeConfig
from reverie.experiments.evaluation.drawn_text import text_width
from reverie.experiments.evaluation.video import Image
from reverie.experiments.inspectors.panels import View
from reverie.experiments.play.film import FILM_WIDTH, Film
from reverie.experiments.play.game import Game
from reverie.experiments.play.lockstep import Lockstep, check_comparable
from reverie.experiments.play.messages import execute
from reverie.experiments.play.session import Session
from reverie.experiments.play.setup import PlaySetup

from play_fixtures import StaticPredictor, build_session
from sample_agents import SMALL_PPO

STICKY = AtariConfig("breakout", PROTOCOLS["machado"])
SHORT = MazeConfig(rooms=3, max_episode_steps=40)


def random_session(env: EnvConfig, run: str = "r", policy: Any = None) -> Session:
    game = Game(env)
    policy = policy or RandomPolicy(game.spec.num_actions)
    return Session(PlaySetup(run, game, "random policy", policy, ()))


def states(played: Lockstep) -> list[dict[str, Any]]:
    return [player["state"] for player in json.loads(played.message())["players"]]


def test_the_chance_of_an_episode_does_not_depend_on_the_episodes_before() -> None:
    """Sticky actions and the policy's own draws; one player has played longer before."""
    early, late = random_session(STICKY), random_session(STICKY)
    for _ in range(25):
        late.step()
    screens: list[list[Any]] = []
    for session in (early, late):
        session.reset()
        screens.append([])
        for _ in range(25):
            assert session.step()
            screens[-1].append(session.game.screen().copy())
    assert np.array_equal(screens[0], screens[1])
    assert len(np.unique(np.stack(screens[0]), axis=0)) > 10
    actions = [x.game.actions for x in (early, late)]
    assert actions[0] == actions[1]
    for session in (early, late):
        session.close()


def test_who_ends_an_episode_first_waits_so_that_all_begin_the_next_one_together() -> None:
    played = Lockstep([random_session(SHORT), random_session(SHORT, policy=ConstantPolicy(3))])
    a, b = played.sessions
    waits, begun = 0, 0
    for _ in range(250):
        assert played.step()
        assert a.timestep == b.timestep
        assert a.game.episode == b.game.episode
        waiting = [state["waiting"] for state in states(played)]
        assert not all(waiting)
        waits += any(waiting)
        if a.game.length == b.game.length == 0:
            begun += 1
            assert np.array_equal(a.game.screen(), b.game.screen()), "the same maze"
    assert waits
    assert begun >= 3
    assert min(len(a.returns), len(b.returns)) >= 2
    entries = a.history.entries, b.history.entries
    assert [x.event.timestep for x in entries[0]] == [x.event.timestep for x in entries[1]]
    played.close()


def test_manual_control_moves_both_or_none() -> None:
    """A maze has no action that does nothing, so both wait for a key."""
    played = Lockstep([random_session(SHORT), random_session(SHORT)])
    played.execute({"command": "set_manual", "value": True})
    assert not played.step()
    played.execute({"command": "set_keys", "value": ["ArrowLeft"]})
    assert played.step()
    assert [x.last_action for x in played.sessions] == [3, 3]
    assert not played.execute({"command": "set_slider", "player": 1, "name": 3})
    assert [x.ignored_messages for x in played.sessions] == [0, 1]
    played.close()


@pytest.mark.parametrize(
    ("envs", "runs", "message"),
    [
        ((CatchConfig(), SHORT), "ab", "a plays catch under own and b maze under .*one env"),
        (
            (STICKY, AtariConfig("breakout")),
            "ab",
            "breakout under machado and b breakout under mfec",
        ),
        ((CatchConfig(), CatchConfig()), "aa", "a is named twice; name two different runs"),
    ],
    ids=["env", "rules", "run"],
)
def test_runs_that_do_not_compare_are_refused(envs: Any, runs: str, message: str) -> None:
    sessions = [random_session(env, run=run) for env, run in zip(envs, runs, strict=True)]
    with pytest.raises(UsageError, match=message):
        check_comparable(sessions)
    for session in sessions:
        session.close()


def test_observations_and_names_of_protocols_do_not_keep_runs_from_being_compared() -> None:
    protocol = replace(PROTOCOLS["machado"], name="mine", height=42, width=42)
    sessions = [random_session(STICKY, run="a"), random_session(replace(STICKY, protocol=protocol))]
    check_comparable(sessions)
    for session in sessions:
        session.close()


@pytest.mark.parametrize("env", [STICKY, CatchConfig()], ids=["breakout", "catch"])
def test_what_goes_on_from_a_past_timestep_is_what_came_after_it(env: EnvConfig) -> None:
    """The env, its chance, the agent's carry and its draws are as they were."""
    config = SMALL_PPO if isinstance(env, CatchConfig) else DQNConfig(buffer_size=200)
    session = build_session(config, env=env, timesteps=20)
    for _ in range(45):
        session.step()
    recorded = [entry.packed_view for entry in session.history.entries]
    assert execute(session, {"command": "seek", "value": 23})
    assert execute(session, {"command": "go_on"})
    assert (session.timestep, session.sought_timestep) == (46, None)
    for timestep in range(23, 45):
        assert session.history.entries[-1].packed_view == recorded[timestep]
        session.step()
    assert [entry.packed_view for entry in session.history.entries][:46] == recorded
    assert not execute(session, {"command": "go_on"}), "the newest timestep is shown"
    session.close()


def test_both_go_on_from_one_timestep_if_one_history_is_shorter() -> None:
    """Its views are larger, so that its oldest timesteps are dropped before those of the other."""
    played = Lockstep([build_session(), build_session(SMALL_PPO)])
    for _ in range(30):
        played.step()
    histories = [x.history for x in played.sessions]
    histories[1].max_bytes = histories[1].num_bytes // 2
    for _ in range(10):
        played.step()
    assert histories[0].oldest == histories[1].oldest > 10
    played.execute({"command": "seek", "value": 3})
    played.execute({"command": "go_on"})
    first, second = (x.game for x in played.sessions)
    assert (first.episode, first.length) == (second.episode, second.length)
    kept = [sum(x.num_bytes for x in history.entries) for history in histories]
    assert kept == [x.num_bytes for x in histories]
    played.close()


def test_a_dream_begins_at_the_shown_timestep() -> None:
    session = build_session(predictor=StaticPredictor((1, 10, 5)))
    assert session.dream
    execute(session, {"command": "set_mode", "value": "watch"})
    frames = [session.game.time_step.frame[0]]
    for _ in range(7):
        session.step()
        frames.append(session.game.time_step.frame[0])
    assert not frames[4].equal(frames[7])
    execute(session, {"command": "seek", "value": 4})
    assert execute(session, {"command": "set_mode", "value": "dream"})
    assert (session.dream.horizon, session.game.length) == (0, 4)
    assert session.dream.obs[-1].equal(frames[4])
    session.step()
    assert session.dream.horizon == 1
    session.close()


def test_a_film_of_two_runs_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs of one algorithm have equal captions otherwise."""
    captions: list[str] = []

    def render(_: Film, view: View, caption: str) -> Image:
        captions.append(caption)
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(Film, "render", render)
    for runs in (("runs/one",), ("runs/one", "runs/" + 60 * "long-name-")):
        sessions = [random_session(SHORT, run) for run in runs]
        played = Lockstep(sessions)
        played.render()
        for session in sessions:
            session.close()
    assert captions[0].startswith("maze")
    assert captions[1].startswith("A · one   maze")
    assert captions[2].startswith("B · long-name-")
    assert "…   maze" in captions[2]
    assert text_width(captions[2]) < FILM_WIDTH
