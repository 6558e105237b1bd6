"""The dream: a predictor's rollout beside the emulator, its errors, and its resyncs."""

import numpy as np
import torch

from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS, AtariProtocol
from reverie.envs.catch import CatchConfig
from reverie.experiments.inspectors.dream import Dream
from reverie.experiments.inspectors.panels import (
    LineChart,
)
from reverie.experiments.play.game import Game
from reverie.experiments.play.messages import execute
from reverie.world_models.prediction.ensemble import EnsembleConfig
from reverie.world_models.prediction.feedforward import TINY
from reverie.world_models.prediction.mlp import MLPPredictorConfig

from play_fixtures import StaticPredictor, build_session, panels_by_title


def test_a_static_predictor_has_the_error_of_a_frozen_frame() -> None:
    session = build_session(predictor=StaticPredictor((1, 10, 5)))
    assert session.mode == "dream", "there is no agent to inspect"
    for _ in range(7):
        session.step()
    chart = panels_by_title(session, LineChart)["Error by horizon"]
    assert chart.series["imagined"] == chart.series["frozen frame"]
    assert session.dream is not None
    assert session.dream.horizon == 7
    assert max(chart.series["imagined"]) > 0
    execute(session, {"command": "resync"})
    assert session.dream.horizon == 0
    emulator, imagined, error = session.view.pictures
    assert np.array_equal(emulator.image, imagined.image)
    assert not error.image.any() or (error.image == error.image[0, 0]).all()


def test_a_dream_resyncs_at_its_max_horizon_and_at_new_episodes() -> None:
    session = build_session(predictor=StaticPredictor((1, 10, 5)))
    execute(session, {"command": "set_max_horizon", "value": 4})
    horizons = []
    for _ in range(12):
        session.step()
        horizons.append(session.dream.horizon)  # type: ignore[union-attr]
    # Nine timesteps of an episode, and the tenth, which is the first of the next one.
    assert horizons == [1, 2, 3, 0, 1, 2, 3, 0, 1, 0, 1, 2]


def test_a_dream_is_the_predictors_own_rollout_once_its_frame_stack_is_full() -> None:
    model = MLPPredictorConfig().build(obs_shape=(2, 16, 5), num_actions=3, seed=3)
    game = Game(CatchConfig(rows=16))
    dream = Dream(model)
    dream.reset(game.time_step)
    first_frame = game.time_step.frame[0]
    dream.step(1, game.step(1))
    assert dream.horizon == 0, "one of the two stacked frames is from before the episode"
    carry = {"obs": torch.cat([first_frame, game.time_step.frame[0]])[None]}
    for action in (0, 2, 1):
        dream.step(action, game.step(action))
        _, carry = model.predict(carry, torch.tensor([action]))
    assert torch.equal(dream.carry["obs"], carry["obs"])
    assert dream.horizon == 3


def test_a_dream_of_an_ensemble_shows_where_its_members_disagree() -> None:
    model = EnsembleConfig(TINY, members=2).build(obs_shape=(1, 10, 5), num_actions=3)
    session = build_session(predictor=model)
    assert session.view.pictures[3].image.max() < 4, "black before the first prediction"
    session.step()
    dream, disagreement = session.dream, session.view.pictures[3]
    assert disagreement.caption.startswith("disagreement")
    assert dream is not None
    brightness = disagreement.image.astype(int).sum(2)
    values = model.disagreement(dream.carry)[0, 0].numpy()
    assert brightness.flat[values.argmax()] == brightness.max() > brightness.min()


def test_a_dream_stacks_frames_as_the_env_does() -> None:
    """Frames are stacked as by ale_py, also across episodes."""
    protocol = AtariProtocol("short", sticky=0.25, stack=4, frames_cap=120)
    game = Game(AtariConfig("pong", protocol))
    model = StaticPredictor((4, 84, 84))
    model.context = 5
    dream = Dream(model)
    dream.reset(game.time_step)
    observations, actions, firsts = [game.time_step.obs[0]], [], [True]
    for timestep in range(70):
        action = timestep % game.spec.num_actions
        step = game.step(action)
        dream.observe(action, step)
        observations.append(step.obs[0])
        actions.append(action)
        firsts.append(bool(step.first[0]))
        dream.resync()
        obs, action, first = (x[0] for x in model.context_given)
        assert len(obs) == min(len(observations), 5)
        assert torch.equal(obs, torch.stack(observations[-len(obs) :]))
        assert action.tolist() == actions[len(actions) - len(obs) + 1 :]
        assert first.tolist() == firsts[-len(obs) :]
    assert sum(firsts) > 1
    game.close()


def test_the_screen_is_the_emulators_and_a_reset_uses_a_new_seed() -> None:
    game = Game(AtariConfig("breakout", PROTOCOLS["mfec"]))
    seeds = set()
    for _ in range(3):
        assert game.screen().shape == (210, 160, 3)
        assert (game.score, game.length) == (0.0, 0)
        seeds |= {*game.envs.emulator_seeds()}
        for timestep in range(10):
            game.step(timestep % 4)
        game.reset()
    assert len(seeds) == 3
    game.close()
