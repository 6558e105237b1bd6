"""Go-Explore: its archive, its returns, and what it finds in envs with a known answer."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from reverie import Experiment, evaluate, train
from reverie.agents.cells import START, CellArchive, Visit
from reverie.agents.go_explore import GoExplore, GoExploreConfig
from reverie.agents.loop import interact
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvConfig
from reverie.envs.maze import Maze, MazeConfig, distances
from reverie.envs.restorable import RestorableEnvs
from reverie.experiments.runs.run import Run
from reverie.world_models.latents.binary_vae import BinaryVAEConfig
from reverie.world_models.representation.downscaled import DownscaledConfig
from reverie.world_models.representation.true_state import TrueStateConfig
from reverie.world_models.representation.variational import VariationalConfig
from reverie.world_models.state import without_buffers

from sample_agents import OPTIONS, equal
from sample_envs import EXAMPLES

PLACES = TrueStateConfig(names=("walker_row", "walker_column"))
MAZE = MazeConfig(max_episode_steps=1000)
EXPLORER = GoExploreConfig(explore_steps=12, repeat_prob=0.5)
SNAPSHOT = np.arange(6, dtype=np.uint8)


def explored(config: GoExploreConfig, env: EnvConfig, timesteps: int, n: int = 4) -> GoExplore:
    envs = RestorableEnvs(env.build(1), num_envs=n, episode_steps=config.return_after, seed=3)
    agent = config.build(envs.spec, seed=3)
    for t in islice(interact(envs, agent), timesteps):
        agent.learn(t)
    return agent


def test_it_finds_every_cell_of_a_maze_and_every_trajectory_leads_there() -> None:
    """Cells before the goal, which ends an episode; a replay from the reset has the same score."""
    agent = explored(replace(EXPLORER, representation=PLACES), MAZE, 900)
    envs = BatchedEnv(MAZE.build(1), seed=3)
    envs.reset()
    maze = envs.env
    assert isinstance(maze, Maze)
    best, blocked = maze.best_return[0], maze.walls[0].copy()
    blocked[tuple(maze.goal[0])] = True
    from_start = distances(blocked, *maze.walker[0].tolist())
    assert len(agent.archive) == (from_start >= 0).sum() > 15
    num_shortest = 0
    for key, cell in agent.archive.index.items():
        visit = agent.archive.visits[cell]
        actions = agent.archive.trajectory(visit.node)
        step, score = envs.reset(), 0.0
        for action in actions:
            step = envs.step(torch.tensor([action]))
            score += float(step.reward)
            assert not step.last.any()
        assert agent.keys(step) == [key]
        assert score == pytest.approx(visit.score)
        assert len(actions) == visit.length
        num_shortest += visit.length == from_start[tuple(maze.walker[0])]
    assert num_shortest > len(agent.archive) / 2, "a cell keeps the shorter of its ways"
    assert best - 0.3 < agent.best_score <= best + 1e-9


def test_it_solves_deep_sea_and_repeats_its_best_trajectory() -> None:
    agent = explored(EXPLORER, DeepSeaConfig(10), 600)
    assert agent.best_score == pytest.approx(0.99)
    assert len(agent.best_actions) == 10
    assert (
        evaluate(agent, DeepSeaConfig(10), episodes=2, threads=1).scores == (agent.best_score,) * 2
    )


def test_without_its_archive_it_explores_anew_from_the_start() -> None:
    agent = explored(EXPLORER, DeepSeaConfig(5), 43)
    envs = RestorableEnvs(DeepSeaConfig(5).build(1), num_envs=4, episode_steps=12, seed=3)
    other = EXPLORER.build(envs.spec, seed=4)
    other.load_state_dict(without_buffers(agent, agent.state_dict()))
    assert other.best_score == agent.best_score
    for t in islice(interact(envs, other), 43):
        other.learn(t)
    assert len(other.archive) > 5
    for visit in other.archive.visits:
        assert len(other.archive.trajectory(visit.node)) == visit.length <= 5


def test_the_choice_of_a_cell_by_hand() -> None:
    archive = CellArchive(capacity=10)
    assert archive.add(b"a", Visit(0.0, 0, START), SNAPSHOT) == (0, True)
    assert archive.add(b"b", Visit(0.0, 1, START), SNAPSHOT) == (1, True)
    for _ in range(3):
        archive.see(1)
    assert archive.weights().tolist() == [1.0, 0.5]
    uniforms = torch.linspace(0, 1, 3001)[:-1]
    assert archive.choose(uniforms).count(0) == 2000
    assert archive.choose(torch.tensor([0.0, 0.999999])) == [0, 1]
    archive.add(b"b", Visit(1.0, 9, START), SNAPSHOT)
    assert archive.seen.tolist() == [0, 0], "counts begin again with a better visit"


def test_a_cell_is_replaced_by_a_higher_score_or_a_shorter_way_alone() -> None:
    archive = CellArchive(capacity=2)
    first, node = Visit(1.0, 5, START), (0, 0)
    archive.add(b"a", first, SNAPSHOT)
    for worse in (Visit(0.9, 1, node), Visit(1.0, 5, node), Visit(1.0, 6, node)):
        assert archive.add(b"a", worse, SNAPSHOT + 1) == (0, False)
        assert archive.visits == [first]
        assert (archive.snapshot(0) == SNAPSHOT).all()
    for better in (Visit(1.0, 4, node), Visit(1.1, 99, node)):
        assert archive.add(b"a", better, SNAPSHOT + 1) == (0, True)
        assert archive.visits == [better]
    assert (archive.snapshot(0) == SNAPSHOT + 1).all()
    archive.add(b"b", first, SNAPSHOT)
    assert archive.add(b"c", first, SNAPSHOT) == (-1, False), "the archive is full"
    assert len(archive) == len(archive.snapshots) == 2


def test_explorations_that_come_to_a_cell_are_counted_once() -> None:
    """Returns are counted too, and nothing is counted twice per exploration."""
    agent = explored(EXPLORER, DeepSeaConfig(5), 5, n=1)  # an episode
    assert agent.archive.seen.tolist() == [0] * 5
    agent = explored(EXPLORER, DeepSeaConfig(5), 6, n=1)  # and a return
    assert sorted(agent.archive.seen.tolist()) == [0] * 4 + [1]
    agent = explored(replace(EXPLORER, representation=PLACES, explore_steps=40), MAZE, 39, n=1)
    assert len(agent.archive) < 30
    assert agent.archive.seen.max() == 0, "each cell of the only exploration is new in it"


def test_trajectories_share_their_beginnings() -> None:
    archive = CellArchive(capacity=9)
    first = archive.begin(START)
    archive.actions[first] += bytes([1, 2, 3])
    second = archive.begin((first, 2))
    archive.actions[second] += bytes([4, 5])
    third = archive.begin((second, 1))
    archive.actions[third] += bytes([6])
    assert archive.trajectory((third, 1)) == [1, 2, 4, 6]
    assert archive.trajectory((second, 0)) == [1, 2]
    assert archive.trajectory(START) == []
    archive.add(b"key", Visit(2.5, 4, (third, 1)), SNAPSHOT)
    archive.see(0)
    state = archive.state_dict()
    loaded = CellArchive(capacity=9)
    loaded.load_state_dict(state)
    assert equal(loaded.state_dict(), state)
    assert loaded.trajectory(loaded.visits[0].node) == [1, 2, 4, 6]
    assert loaded.add(b"key", Visit(2.5, 4, START), SNAPSHOT) == (0, False)
    for name in ("actions", "snapshot_sizes"):
        with pytest.raises(ValueError, match="its archive"):
            CellArchive(9).load_state_dict(state | {name: state[name][:0]})


def test_the_archive_is_bounded() -> None:
    agent = explored(replace(EXPLORER, capacity=7), DeepSeaConfig(10), 300)
    assert len(agent.archive) == 7
    assert sum(map(len, agent.archive.actions)) <= 300 * 4, "a byte per step"
    assert agent.archive.snapshot_bytes == sum(map(len, agent.archive.snapshots)) < 7 * 120


def test_a_lost_return_begins_at_the_start(tmp_path: Path) -> None:
    """With --resume fresh-episodes all envs are reset, whatever the agent had chosen."""
    experiment = Experiment(EXPLORER, DeepSeaConfig(8), total_timesteps=400, num_envs=2)
    train(replace(experiment, total_timesteps=310), tmp_path, OPTIONS)
    train(experiment, tmp_path, replace(OPTIONS, resume="fresh-episodes"))
    archive = CellArchive(EXPLORER.capacity)
    archive.load_state_dict((Run(tmp_path).checkpoints.load() or {})["agent"]["archive"])
    assert len(archive) > 8
    for visit in archive.visits:
        assert visit.length == len(archive.trajectory(visit.node)) < 8


def test_what_it_needs_is_refused_by_name(tmp_path: Path) -> None:
    experiment = Experiment(EXPLORER, EXAMPLES["gym"][0], total_timesteps=64, num_envs=2)
    with pytest.raises(UsageError, match=r"agent:go-explore starts from snapshots .* choose anoth"):
        train(experiment, tmp_path / "gym", OPTIONS)
    with pytest.raises(UsageError, match=r"pipeline is 2, and agent:go-explore .* --pipeline 1"):
        train(
            replace(experiment, env=DeepSeaConfig(5)), tmp_path / "2", replace(OPTIONS, pipeline=2)
        )
    learned = GoExploreConfig(representation=VariationalConfig.of(BinaryVAEConfig()))
    with pytest.raises(
        UsageError, match=r"Go-Explore does not train it \(choose .* add --init-from"
    ):
        Experiment(learned, DeepSeaConfig(5))
    with pytest.raises(UsageError, match=r"agent\.explore_steps is 0"):
        GoExploreConfig(explore_steps=0)


def test_cells_are_keys_at_a_resolution() -> None:
    """A coarse resolution has fewer cells; downscaled frames and true states have their own."""
    sizes = [
        len(explored(replace(EXPLORER, **settings), DeepSeaConfig(6), 200).archive)
        for settings in (
            {},
            {"representation": TrueStateConfig()},
            {"representation": DownscaledConfig(width=2, height=2)},
            {"representation": TrueStateConfig(), "resolution": 255 / 4},
        )
    ]
    assert sizes[0] == sizes[1] == 21  # cells of the triangle above the end
    assert sizes[2] <= 4 * 4
    assert sizes[3] < 10
