"""The insides of whoever plays: what is shown is what the parts say."""

from typing import Any

import numpy as np
import pytest
import torch
from playing import STRAW, panels, played
from test_agents import LAW_AGENTS, brief

from agents.density_bonus import PseudoCountConfig, SurpriseConfig
from agents.dqn import DQNConfig
from agents.episodic import EpisodicConfig
from agents.networks import MLPConfig
from agents.simhash import SimHashConfig
from envs.catch import CatchConfig
from envs.stream import Stream
from experiments.play.panels import (
    Bars,
    Images,
    Matrix,
    Numbers,
    Slider,
    unpack,
)
from experiments.play.wishes import carry_out
from world_models.representation.vae import VAEConfig


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
