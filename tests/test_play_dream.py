"""The dream beside the truth: the same actions, a predictor's own rollout, and waking up."""

import numpy as np
import torch
from playing import Copying, panels, played

from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.protocol import PROTOCOLS, AtariProtocol
from experiments.play.dream import Dream
from experiments.play.game import Game
from experiments.play.panels import (
    Line,
)
from experiments.play.wishes import carry_out
from world_models.prediction.mlp import MLPPredictorConfig


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
