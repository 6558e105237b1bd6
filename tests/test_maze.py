"""Mazes: connected, seen in whole, solved by their shortest path, and held out by their walls."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.interface import Policy
from agents.loop import interact
from agents.policies import RandomPolicy
from envs.errors import UsageError
from envs.interface import Memory, Step
from envs.maze import (
    GOAL,
    MOVES,
    WALKER,
    WALL,
    Maze,
    MazeConfig,
    distances,
    is_held_out,
    random_maze,
)
from envs.stream import Stream


@settings(deadline=None, max_examples=50)
@given(rooms=st.integers(2, 8), seed=st.integers(0, 2**20))
def test_a_maze_is_a_tree_of_its_rooms(rooms: int, seed: int) -> None:
    """All free cells are connected, and have one way fewer than there are of them."""
    walls = random_maze(rooms, 0.0, np.random.default_rng(seed))
    free = ~walls
    assert walls[[0, -1]].all()
    assert walls[:, [0, -1]].all()
    assert free[1::2, 1::2].all(), "every room is open"
    assert ((distances(walls, 1, 1) >= 0) == free).all()
    ways = (free[1:] & free[:-1]).sum() + (free[:, 1:] & free[:, :-1]).sum()
    assert ways == free.sum() - 1


def test_loops_open_that_share_of_the_walls_between_rooms() -> None:
    generator = np.random.default_rng(0)
    assert not random_maze(6, 1.0, generator)[1:-1, 1:-1][::2, ::2].any()
    trees = [random_maze(6, 0.0, np.random.default_rng(s)) for s in range(300)]
    loopy = [random_maze(6, 0.3, np.random.default_rng(s)) for s in range(300)]
    closed = sum(int(m.sum()) for m in trees) - 300 * (4 * 12 + 25)  # but frame and pillars
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


class Guided:
    """Walks down the distances to the goal; knows the world's own state."""

    def __init__(self, env: Maze) -> None:
        self.env = env

    def initial(self, n: int) -> Memory:
        return {}

    def act(
        self, step: Step, memory: Memory, *, explore: bool = True
    ) -> tuple[torch.Tensor, Memory]:
        env, streams = self.env, np.arange(self.env.num_envs)
        around = env.walker[:, None] + np.array(MOVES)
        there = env.distance[streams[:, None], around[..., 0], around[..., 1]]
        return torch.from_numpy(np.where(there < 0, 10**6, there).argmin(1)), memory


@pytest.mark.parametrize("loops", [0.0, 0.5])
def test_the_shortest_path_earns_what_was_said_at_its_start(loops: float) -> None:
    env = MazeConfig(rooms=5, loops=loops).build(8)
    policy: Policy = Guided(env)
    stream = Stream(env, seed=3)
    step, memory = stream.reset(), {}
    expected, score, ended = env.best_return, np.zeros(8), 0
    for t in islice(interact(stream, policy, start=(step, memory)), 200):
        score += t.next_step.reward.numpy()
        for i in t.next_step.last.nonzero()[:, 0].tolist():
            assert score[i] == pytest.approx(expected[i], abs=1e-5)
            ended += 1
        born = t.next_step.first.numpy()
        expected, score = np.where(born, env.best_return, expected), np.where(born, 0.0, score)
    assert ended > 50


def test_a_walker_stops_at_walls_and_time_runs_out() -> None:
    env = MazeConfig(limit=7).build(50)
    stream = Stream(env, seed=0)
    for t in islice(interact(stream, RandomPolicy(4)), 40):
        assert not env.walls[np.arange(50), env.walker[:, 0], env.walker[:, 1]].any()
        late = t.next_step.last & (t.next_step.discount == 1)
        assert (env.time[late.numpy()] == 7).all()
        found = t.next_step.last & ~late
        torch.testing.assert_close(t.next_step.reward[found], torch.full((int(found.sum()),), 0.98))
        assert (env.steps_left[found.numpy()] == 0).all()


def test_a_look_shows_the_maze_around_its_walker() -> None:
    env = MazeConfig(rooms=4, view=13).build(20)
    looks, _ = env.reset(seed=1)
    for look, walls, walker, goal in zip(looks, env.walls, env.walker, env.goal, strict=True):
        assert look[6, 6, WALKER] == 255
        assert look[..., WALKER].sum() == 255
        assert np.argwhere(look[..., GOAL]).tolist() == [(goal - walker + 6).tolist()]
        inside = look[7 - walker[0] : 14 - walker[0], 7 - walker[1] : 14 - walker[1], WALL]
        assert ((inside > 0) == walls[1:8, 1:8]).all()
        assert (look[..., WALL] > 0).sum() == 13 * 13 - (~walls).sum()
    small = MazeConfig(rooms=4, view=5).build(20)
    cut, _ = small.reset(seed=1)
    assert (cut == looks[:, 4:9, 4:9]).all()


def test_ways_counts_open_neighbours() -> None:
    env = MazeConfig(rooms=5, loops=0.4).build(64)
    look, _ = env.reset(seed=0)
    around = [look[:, 6 + down, 6 + right, WALL] == 0 for down, right in MOVES]
    assert (env.ways == np.sum(around, 0)).all()
    assert set(env.ways.tolist()) >= {1, 2, 3}


def test_no_maze_stands_in_both_splits() -> None:
    seen = {}
    for split in ("train", "held-out"):
        env = MazeConfig(rooms=3, split=split).build(200)
        env.reset(seed=0)
        seen[split] = {walls.tobytes() for walls in env.walls}
        assert all(is_held_out(walls) == (split == "held-out") for walls in env.walls)
    assert seen["train"].isdisjoint(seen["held-out"])
    assert len(seen["train"]) > 2 * len(seen["held-out"]) > 20


def test_the_picture_shows_walls_goal_and_walker() -> None:
    env = MazeConfig(rooms=3).build(2)
    env.reset(seed=0)
    picture = env.render(scale=2)[1]
    assert picture.shape == (14, 14, 3)
    cells = picture[::2, ::2].reshape(49, 3)
    colours, counts = np.unique(cells, axis=0, return_counts=True)
    assert len(colours) == 4
    assert sorted(counts)[:2] == [1, 1]
    assert (cells.reshape(7, 7, 3)[tuple(env.goal[1])] == [74, 146, 96]).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rooms": 2}, "env.rooms is 2; it must be 3"),
        ({"view": 4}, "env.view is 4; it must be odd"),
        ({"limit": 0}, "env.limit is 0"),
        ({"loops": 1.5}, "env.loops is 1.5"),
    ],
)
def test_mazes_that_cannot_be_are_refused(settings: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        MazeConfig(**settings)  # type: ignore[arg-type]
