"""The inspectors of play: panels show what the agent's parts return."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from reverie.agents.bonuses.density_bonus import PseudoCountConfig, SurpriseConfig
from reverie.agents.bonuses.simhash import SimHashConfig
from reverie.agents.bonuses.true_counts import TrueCountsConfig
from reverie.agents.bonuses.visit_counts import VisitCounts
from reverie.agents.dqn import DQNConfig
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.networks import MLPConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.maze import MazeConfig
from reverie.experiments.evaluation.screen import frame_to_image, plane_colors
from reverie.experiments.inspectors.panels import (
    BarChart,
    Heatmap,
    Images,
    Table,
)
from reverie.experiments.inspectors.representation_inspector import decode_keys
from reverie.experiments.play.messages import execute
from reverie.world_models.latents.vae import VAEConfig
from reverie.world_models.planning.shortest_path import ShortestPathConfig
from reverie.world_models.representation.true_state import TrueStateConfig
from reverie.world_models.representation.variational import VariationalConfig

from play_fixtures import STRAW, build_session, panels_by_title
from sample_agents import LAW_AGENTS, SMALL_PPO, shortened


@pytest.mark.parametrize("name", LAW_AGENTS)
def test_every_agent_is_inspected(name: str) -> None:
    """Every agent of the table plays, has panels, and takes the action that they highlight."""
    session = build_session(shortened(LAW_AGENTS[name]), timesteps=130)
    assert session.view.panels, "an agent without inspectors: add a line to INSPECTORS"
    for _ in range(12):
        action = session.context.action
        first = session.game.last  # the next timestep begins an episode, without an action
        assert session.step()
        assert session.last_action == (-1 if first else action)
        message = json.loads(session.message())
        assert message["state"]["lastAction"] == (
            "" if first else session.game.action_names[action]
        )
        titles = [panel["title"] for panel in message["view"]["panels"]]
        assert titles == [panel.title for panel in session.view.panels]
        for chart in panels_by_title(session, BarChart).values():
            assert chart.highlighted == session.context.action
            assert chart.labels == session.game.action_names
    session.close()


@pytest.mark.parametrize(
    ("config", "chart"),
    [
        (MFECConfig(num_neighbors=2, representation=TrueStateConfig()), "Estimated returns"),
        (replace(SMALL_PPO, planner=ShortestPathConfig()), "Policy"),
    ],
    ids=["true-state", "shortest-path"],
)
def test_an_agent_that_reads_the_true_state_is_inspected(config: Any, chart: str) -> None:
    session = build_session(config, env=MazeConfig(rooms=3, max_episode_steps=10), timesteps=60)
    for _ in range(6):
        action = session.context.action
        assert session.step()
        assert session.last_action == action
        bars = panels_by_title(session, BarChart)[chart]
        assert bars.highlighted == int(np.argmax(bars.values))
    session.close()


def test_action_values_are_those_of_the_q_network() -> None:
    session = build_session(DQNConfig(network=MLPConfig(), buffer_size=500))
    agent = session.setup.parts[0]
    session.step()
    with torch.no_grad():
        values = agent.q_network(session.game.time_step.obs)[0]
    chart = panels_by_title(session, BarChart)["Action values"]
    assert chart.values == pytest.approx(values.tolist())
    assert chart.highlighted == int(values.argmax())
    assert session.history.entries[-1].event.value == pytest.approx(float(values.max()))


def test_the_shown_plan_is_the_plan_of_the_carry() -> None:
    session, age = build_session(STRAW), 0
    for _ in range(9):
        session.step()
        plan = panels_by_title(session, Heatmap)["Plan"]
        assert plan.labels == ("left", "stay", "right", "window", "replan")
        planned_probs = session.context.next_carry["plan"][0].softmax(0)
        assert np.allclose(plan.values[:3], planned_probs[:, : plan.values.shape[1]].numpy())
        assert plan.values[:3].sum(0) == pytest.approx(1.0, abs=1e-5)
        session.refresh()
        assert np.array_equal(panels_by_title(session, Heatmap)["Plan"].values, plan.values)
        age = 0 if bool(session.context.extras["replanned"][0]) else age + 1
        rows = dict(panels_by_title(session, Table)["Value and plan"].rows)
        assert rows["timesteps since replanning"] == str(age)
        assert rows["value"] == f"{float(session.context.extras['value'][0]):.3f}"
        policy = panels_by_title(session, BarChart)["Policy"]
        assert sum(policy.values) == pytest.approx(1.0)
        assert policy.values == pytest.approx(planned_probs[:, 0].tolist(), abs=1e-5)


def test_estimated_returns_and_neighbors_are_those_of_the_tables() -> None:
    session = build_session(MFECConfig(num_neighbors=2, capacity=500), timesteps=200)
    agent = session.setup.parts[0]
    session.step()
    key, digest = session.context.extras["key"], session.context.extras["digest"]
    values, _ = agent.tables.estimate(key, digest)
    chart = panels_by_title(session, BarChart)["Estimated returns"]
    assert chart.values == tuple(values[:, 0].tolist())
    action = session.context.action
    title = f"Nearest neighbors of {session.game.action_names[action]}"
    table = panels_by_title(session, Table)[title]
    _, indices = agent.tables.search(key)
    best = float(agent.tables.returns[action, indices[action, 0, 0]])
    assert table.rows[0][1].startswith(f"{best:,.0f} at ")
    assert "stores keys only" in table.note


def test_neighbors_are_shown_as_stored_frames_or_as_decoded_keys() -> None:
    small = VariationalConfig(VAEConfig(size=4))
    for refit, note in ((10**6, "remembered states"), (0, "decoded from keys")):
        config = MFECConfig(
            num_neighbors=2, capacity=500, refit_every=refit,
            representation=small, fit_after=40, fit_updates=20,
        )  # fmt: skip
        session = build_session(config, timesteps=200)
        session.step()
        action = session.context.action
        title = f"Nearest neighbors of {session.game.action_names[action]}"
        images = panels_by_title(session, Images)[title]
        assert note in images.note
        assert images.pictures[0].image.shape == (10, 5)
        if refit:
            agent = session.setup.parts[0]
            _, indices = agent.tables.search(session.context.extras["key"])
            frame = agent.tables.observations[action, indices[action, 0, 0], -1]
            assert np.array_equal(images.pictures[0].image, frame.numpy())
        assert panels_by_title(session, Images)["Representation"].sliders


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_decoded_frames_are_drawn_like_observed_ones(channels: int) -> None:
    """Of two stacked frames the newest, with all of its channels or planes."""
    model = VariationalConfig(VAEConfig(size=3)).build(obs_shape=(2 * channels, 6, 5), seed=1)
    keys = torch.zeros(1, model.dim)
    (image,) = decode_keys(model, keys, channels)
    with torch.no_grad():
        decoded = model.model.image(keys[:, :3])[0, -channels:]
    frame = (255 * decoded.clamp(0, 1)).round().to(torch.uint8)
    assert np.array_equal(image, frame_to_image(frame))
    assert image.shape == ((6, 5) if channels == 1 else (6, 5, 3))


def test_a_plane_is_as_opaque_as_it_is_on() -> None:
    frame = torch.zeros(5, 1, 3, dtype=torch.uint8)
    frame[1, 0, 0] = frame[4, 0, 0] = 255
    frame[1, 0, 1], frame[3, 0, 2] = 255, 51
    colors, image = plane_colors(5), frame_to_image(frame)
    assert np.array_equal(image[0, :2], colors[[5, 2]]), "the last plane is on top"
    assert np.array_equal(image[0, 2], np.round(colors[4] / 5).astype(np.uint8))


def test_a_latent_slider_changes_the_decoded_frame_and_can_be_reset() -> None:
    class RepresentationPart:
        representation = VariationalConfig(VAEConfig(size=4)).build(obs_shape=(1, 10, 5), seed=1)

    session = build_session(bonus=RepresentationPart())

    def shown_images() -> list[Any]:
        images = panels_by_title(session, Images)["Representation"]
        return [picture.image for picture in images.pictures]

    before = shown_images()
    assert np.array_equal(before[1], before[2])
    for name, value in (("rank", 0), ("latent", 3.0)):
        assert execute(session, {"command": "set_slider", "name": name, "value": value})
    assert not np.array_equal(before[2], shown_images()[2])
    assert np.array_equal(before[1], shown_images()[1])
    execute(session, {"command": "set_slider", "name": "latent", "value": None})
    assert np.array_equal(before[2], shown_images()[2])
    execute(session, {"command": "set_slider", "name": "latent", "value": 99})
    sliders = panels_by_title(session, Images)["Representation"].sliders
    slider = next(x for x in sliders if x.name == "latent")
    assert slider.value == 3.0, "clipped to its range"


@pytest.mark.parametrize(
    "config",
    [
        PseudoCountConfig(),
        PseudoCountConfig(form="gain"),
        SurpriseConfig(),
        SimHashConfig(),
        TrueCountsConfig(),
    ],
)
def test_a_frame_is_counted_once_even_if_it_is_shown_twice(config: Any) -> None:
    """The shown bonus is the bonus of training at every timestep."""
    spec = BatchedEnv(CatchConfig().build(1)).spec
    shown, trained = config.build(spec, seed=0), config.build(spec, seed=0)
    session = build_session(bonus=shown)
    for _ in range(25):
        session.step()
        session.refresh()
        step = session.game.time_step
        tables = panels_by_title(session, Table)
        rows = dict(next(table for title, table in tables.items() if "Count" in title).rows)
        seen = trained.inputs(step) if isinstance(trained, VisitCounts) else step.frame
        if not bool(step.first[0]):
            assert rows["bonus"] == f"{float(trained.observe(seen)[0]):.4f}"
    session.close()


def test_the_surprise_is_shown_per_pixel() -> None:
    spec = BatchedEnv(CatchConfig().build(1)).spec
    bonus = PseudoCountConfig().build(spec)
    session = build_session(bonus=bonus)
    for _ in range(5):
        session.step()
    images = panels_by_title(session, Images)["Surprise"]
    assert images.pictures[1].image.shape == (10, 5, 3)
    assert "nats" in images.note
