"""Mazes: connectivity, observations, shortest paths, and the held-out split."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.agents.interface import Policy
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.errors import UsageError
from reverie.envs.interface import Carry
from reverie.envs.maze import (
    GOAL,
    MOVES,
    WALKER,
    WALL,
    MazeConfig,
    distances,
    is_held_out,
    random_maze,
)

from sample_agents import ShortestPath


@settings(deadline=None, max_examples=50)
@given(rooms=st.integers(2, 8), seed=st.integers(0, 2**20))
def test_a_maze_is_a_tree_of_its_rooms(rooms: int, seed: int) -> None:
    """All free cells are connected, with one connection fewer than cells."""
    walls = random_maze(rooms, 0.0, np.random.default_rng(seed))
    free = ~walls
    assert walls[[0, -1]].all()
    assert walls[:, [0, -1]].all()
    assert free[1::2, 1::2].all(), "every room is open"
    assert ((distances(walls, 1, 1) >= 0) == free).all()
    connections = (free[1:] & free[:-1]).sum() + (free[:, 1:] & free[:, :-1]).sum()
    assert connections == free.sum() - 1


def test_loops_is_the_share_of_opened_walls_between_rooms() -> None:
    generator = np.random.default_rng(0)
    assert not random_maze(6, 1.0, generator)[1:-1, 1:-1][::2, ::2].any()
    trees = [random_maze(6, 0.0, np.random.default_rng(s)) for s in range(300)]
    loopy = [random_maze(6, 0.3, np.random.default_rng(s)) for s in range(300)]
    closed = sum(int(m.sum()) for m in trees) - 300 * (4 * 12 + 25)  # without border and pillars
    opened = sum(int((a & ~b).sum()) for a, b in zip(trees, loopy, strict=True))
    assert abs(opened / closed - 0.3) < 5 * (0.21 / closed) ** 0.5


def test_distances_by_hand() -> None:
    walls = np.array(
        [[int(c) for c in row] for row in ("11111", "10001", "11101", "10001", "11111")]
    )
    expected = [
        [-1, -1, -1, -1, -1],
        [-1, 6, 5, 4, -1],
        [-1, -1, -1, 3, -1],
        [-1, 0, 1, 2, -1],
        [-1, -1, -1, -1, -1],
    ]
    assert distances(walls.astype(np.bool_), 3, 1).tolist() == expected


@pytest.mark.parametrize("loops", [0.0, 0.5])
def test_the_shortest_path_has_the_best_return(loops: float) -> None:
    env = MazeConfig(rooms=5, loops=loops).build(8)
    policy: Policy = ShortestPath(env)
    envs = BatchedEnv(env, seed=3)
    carry: Carry = {}
    step = envs.reset()
    expected, score, num_ended = env.best_return, np.zeros(8), 0
    for t in islice(interact(envs, policy, start=(step, carry)), 200):
        score += t.next_step.reward.numpy()
        for i in t.next_step.last.nonzero()[:, 0].tolist():
            assert score[i] == pytest.approx(expected[i], abs=1e-5)
            num_ended += 1
        first = t.next_step.first.numpy()
        expected, score = np.where(first, env.best_return, expected), np.where(first, 0.0, score)
    assert num_ended > 50


def test_a_walker_stops_at_walls_and_episodes_are_truncated() -> None:
    env = MazeConfig(max_episode_steps=7).build(50)
    envs = BatchedEnv(env, seed=0)
    for t in islice(interact(envs, RandomPolicy(4)), 40):
        assert not env.walls[np.arange(50), env.walker[:, 0], env.walker[:, 1]].any()
        truncated = t.next_step.last & (t.next_step.discount == 1)
        assert (env.time[truncated.numpy()] == 7).all()
        at_goal = t.next_step.last & ~truncated
        torch.testing.assert_close(
            t.next_step.reward[at_goal], torch.full((int(at_goal.sum()),), 0.98).double()
        )
        assert (env.steps_to_goal[at_goal.numpy()] == 0).all()


def test_an_observation_shows_the_maze_around_its_walker() -> None:
    env = MazeConfig(rooms=4, view=13).build(20)
    batch, _ = env.reset(seed=1)
    for obs, walls, walker, goal in zip(batch, env.walls, env.walker, env.goal, strict=True):
        assert obs[6, 6, WALKER] == 255
        assert obs[..., WALKER].sum() == 255
        assert np.argwhere(obs[..., GOAL]).tolist() == [(goal - walker + 6).tolist()]
        inside = obs[7 - walker[0] : 14 - walker[0], 7 - walker[1] : 14 - walker[1], WALL]
        assert ((inside > 0) == walls[1:8, 1:8]).all()
        assert (obs[..., WALL] > 0).sum() == 13 * 13 - (~walls).sum()
    small = MazeConfig(rooms=4, view=5).build(20)
    small_obs, _ = small.reset(seed=1)
    assert (small_obs == batch[:, 4:9, 4:9]).all()


def test_num_exits_counts_free_cells_beside_the_walker() -> None:
    env = MazeConfig(rooms=5, loops=0.4).build(64)
    obs, _ = env.reset(seed=0)
    around = [obs[:, 6 + down, 6 + right, WALL] == 0 for down, right in MOVES]
    assert (env.num_exits == np.sum(around, 0)).all()
    assert set(env.num_exits.tolist()) >= {1, 2, 3}


def test_no_maze_is_in_both_splits() -> None:
    mazes = {}
    for split in ("train", "held-out"):
        env = MazeConfig(rooms=3, split=split).build(200)
        env.reset(seed=0)
        mazes[split] = {walls.tobytes() for walls in env.walls}
        assert all(is_held_out(walls) == (split == "held-out") for walls in env.walls)
    assert mazes["train"].isdisjoint(mazes["held-out"])
    assert len(mazes["train"]) > 2 * len(mazes["held-out"]) > 20


def test_the_rendering_shows_walls_goal_and_walker() -> None:
    env = MazeConfig(rooms=3).build(2)
    env.reset(seed=0)
    picture = env.render(scale=2)[1]
    assert picture.shape == (14, 14, 3)
    cells = picture[::2, ::2].reshape(49, 3)
    colors, counts = np.unique(cells, axis=0, return_counts=True)
    assert len(colors) == 4
    assert sorted(counts)[:2] == [1, 1]
    assert (cells.reshape(7, 7, 3)[tuple(env.goal[1])] == [74, 146, 96]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rooms": 2}, "env.rooms is 2; it must be 3"),
        ({"view": 4}, "env.view is 4; it must be odd"),
        ({"max_episode_steps": 0}, "env.max_episode_steps is 0"),
        ({"loops": 1.5}, "env.loops is 1.5"),
    ],
)
def test_invalid_mazes_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MazeConfig(**settings)  # type: ignore[arg-type]
