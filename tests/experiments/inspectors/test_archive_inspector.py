"""The archive of Go-Explore as a map: rooms are those of the emulator, cells those of the agent."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from reverie import Experiment, TrainOptions, train
from reverie.agents.go_explore import GoExploreConfig
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.batched_env import spec_of
from reverie.envs.maze import MazeConfig
from reverie.envs.restorable import RestorableEnvs
from reverie.experiments.inspectors.archive_inspector import (
    CURRENT,
    MAP_SIZE,
    PYRAMID,
    ArchiveInspector,
)
from reverie.experiments.inspectors.learned_parts import ShownArchive
from reverie.experiments.inspectors.panels import Images, PlaceMap, Table
from reverie.experiments.play.game import Game
from reverie.experiments.play.session import Session
from reverie.experiments.play.setup import PlaySetup, load_setup

from play_fixtures import panels_by_title

MONTEZUMA = AtariConfig("montezuma_revenge", PROTOCOLS["deterministic"])
EXPLORER = GoExploreConfig(explore_steps=30, repeat_prob=0.5)


def test_rooms_and_places_are_those_of_the_true_state_of_every_cell() -> None:
    envs = RestorableEnvs(
        MONTEZUMA.build(1, privileged=True), num_envs=2, episode_steps=EXPLORER.return_after
    )
    agent = EXPLORER.build(envs.spec, seed=0)
    for t in islice(interact(envs, agent), 60):
        agent.learn(t)
    names = envs.spec.privileged
    envs.close()
    archive = agent.archive
    assert len(archive) > 5
    inspector = ArchiveInspector(ShownArchive(agent, spec_of(MONTEZUMA, snapshots=True).dynamics))
    true = np.stack([archive.snapshot(cell)[-len(names) :] for cell in range(len(archive))])
    columns = [names.index(name) for name in ("room", "player_x", "player_y")]
    assert inspector.state is not None
    assert np.array_equal(inspector.state, true[:, columns])
    assert len(np.unique(inspector.places, axis=0)) > 3

    game = Game(MONTEZUMA)
    policy = RandomPolicy(game.spec.num_actions)
    session = Session(PlaySetup("r", game, "random policy", policy, ()))
    session.inspectors = [inspector]
    session.refresh()
    rooms = panels_by_title(session, PlaceMap)["Map of rooms"]
    assert len(rooms.places) == sum(PYRAMID) == 24
    assert [place.label for place in rooms.places if place.image is not None] == ["1"]
    assert [place.label for place in rooms.places if place.highlighted] == ["1"]
    start = archive.index[agent.keys(game.time_step)[0]]
    rows = dict(panels_by_title(session, Table)["Archive"].rows)
    assert rows["cells"] == str(len(archive))
    assert rows["present cell"] == f"score 0, {archive.seen[start]} visits"
    image = panels_by_title(session, Images)["Room 1"].pictures[0].image
    row, column = np.argwhere((image == CURRENT).all(-1)).mean(0) / image.shape[:2]
    assert abs(row - inspector.places[start, 0]) < 2 / MAP_SIZE[0]
    assert abs(column - inspector.places[start, 1]) < 2 / MAP_SIZE[1]
    session.close()


def test_a_run_without_rooms_shows_its_cells_and_one_without_cells_says_so(tmp_path: Path) -> None:
    experiment = Experiment(
        replace(EXPLORER, explore_steps=12), MazeConfig(rooms=3), total_timesteps=200, num_envs=2
    )
    options = TrainOptions(device="cpu", quiet=True, random_play_seconds=0)
    train(experiment, tmp_path / "maze", options)
    session = Session(load_setup(tmp_path / "maze", device="cpu"))
    (shown,) = (x for x in session.setup.parts if isinstance(x, ShownArchive))
    count = len(shown.agent.archive)
    assert count > 3
    assert dict(panels_by_title(session, Table)["Archive"].rows)["cells"] == str(count)
    image = panels_by_title(session, Images)["Cells"].pictures[0].image
    assert image.any()
    untrained = EXPLORER.build(session.game.spec)
    session.inspectors = [ArchiveInspector(ShownArchive(untrained, None))]
    session.refresh()
    assert dict(panels_by_title(session, Table)["Archive"].rows) == {"cells": "none yet"}
    session.close()
