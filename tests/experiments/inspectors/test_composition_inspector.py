"""Models that compose a frame in steps: the panel of the steps, and the boxes over the game."""

import json
from typing import Any

import numpy as np
import pytest
from composing_latent import BOXES, PRESENCE, ComposingConfig

from reverie.agents.bonuses.density_bonus import SurpriseConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.maze import MazeConfig
from reverie.experiments.evaluation.box_drawings import Boxes, draw_boxes
from reverie.experiments.inspectors.panels import Images
from reverie.experiments.play.messages import execute
from reverie.experiments.play.session import Session
from reverie.world_models.density.bound import BoundConfig
from reverie.world_models.latents.vae import VAEConfig
from reverie.world_models.representation.variational import VariationalConfig

from play_fixtures import build_session, panels_by_title

SPEC = BatchedEnv(CatchConfig().build(1)).spec
EXPECTED = Boxes((BOXES / 10).numpy() * [1, 2, 1, 2], PRESENCE.numpy())  # of frames of 10 x 5


def part_of(kind: str, latent: VAEConfig) -> Any:
    """A representation, or a bonus from the bound of the same model."""
    if kind == "representation":
        return VariationalConfig(latent).build(obs_shape=SPEC.obs_shape)
    density = BoundConfig(latent=latent, samples=2)
    return SurpriseConfig(density=density).build(SPEC)


def screen(session: Session) -> Any:
    return session.view.pictures[0].image


@pytest.mark.parametrize("kind", ["representation", "density"])
def test_boxes_are_drawn_over_the_game_until_they_are_switched_off(kind: str) -> None:
    session = build_session(bonus=part_of(kind, ComposingConfig()))
    assert session.info()["boxes"] is True
    for _ in range(3):
        session.step()
        assert np.array_equal(screen(session), draw_boxes(session.game.screen(), EXPECTED))
    assert execute(session, {"command": "set_show_boxes", "value": False})
    assert np.array_equal(screen(session), session.game.screen())
    assert json.loads(session.message())["state"]["showBoxes"] is False
    assert execute(session, {"command": "set_show_boxes", "value": True})
    assert not np.array_equal(screen(session), session.game.screen())
    assert not execute(session, {"command": "set_show_boxes", "value": 1})
    session.close()


@pytest.mark.parametrize("kind", ["representation", "density"])
def test_the_panel_has_a_picture_of_every_step_with_its_presence(kind: str) -> None:
    session = build_session(bonus=part_of(kind, ComposingConfig()))
    session.step()
    panel = panels_by_title(session, Images)["Composition by ComposingVAE"]
    assert [picture.caption for picture in panel.pictures] == ["step 1, 100%", "step 2, 25%"]
    assert "the box that it writes" in panel.note
    first, second = (picture.image.astype(int) for picture in panel.pictures)
    inside = np.s_[3, 2]  # of the outlines of both boxes
    assert first.shape == second.shape == (10, 5, 3)
    assert (abs(second[inside] - 2 * first[inside]) <= 1).all(), "the first step writes half"
    session.close()


def test_without_boxes_the_steps_are_shown_and_the_game_is_as_it_is() -> None:
    session = build_session(bonus=part_of("representation", ComposingConfig(has_boxes=False)))
    session.step()
    assert session.info()["boxes"] is False
    assert np.array_equal(screen(session), session.game.screen())
    panel = panels_by_title(session, Images)["Composition by ComposingVAE"]
    assert [picture.image.shape for picture in panel.pictures] == [(10, 5)] * 2
    session.close()


def test_a_model_that_does_not_compose_has_no_such_panel() -> None:
    for kind in ("representation", "density"):
        session = build_session(bonus=part_of(kind, VAEConfig(size=2)))
        assert not [x for x in panels_by_title(session, Images) if x.startswith("Composition")]
        assert session.info()["boxes"] is False
        session.close()


def test_a_screen_that_shows_more_than_a_frame_has_no_boxes() -> None:
    env = MazeConfig(rooms=3, view=5)
    spec = BatchedEnv(env.build(1)).spec
    bonus = VariationalConfig(ComposingConfig()).build(obs_shape=spec.obs_shape)
    session = build_session(bonus=bonus, env=env)
    session.step()
    assert np.array_equal(screen(session), session.game.screen())
    assert "Composition by ComposingVAE" in panels_by_title(session, Images)
    session.close()
