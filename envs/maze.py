"""Maze: a random maze per episode, with corridors, junctions, one goal, and a known shortest path.

A maze is a random spanning tree of its rooms (depth first, so with long corridors), in which some
of the remaining walls may be opened. The goal gives a reward of 1 and every step has a cost, so the
best return of an episode is known at its start: the shortest path's. The observation is a view from
above with the walker in the center, so its shape does not depend on the size of the maze.
"""

import zlib
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from .base import Array, SmallEnv
from .checks import FINITE, at_least, check, refuse, within
from .interface import EnvConfig

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""The actions up, right, down, left, as changes of row and column."""
WALKER, GOAL, WALL = 0, 1, 2
"""Channels of an observation."""
HELD_OUT = 5
"""One maze in this many is held out, by a checksum of its walls."""


@dataclass(frozen=True)
class MazeConfig(EnvConfig):
    """Settings of random mazes; no maze occurs in both splits."""

    rooms: int = 4
    """Rooms per side; with the walls between them a maze has 2 * rooms + 1 cells per side."""
    view: int = 13
    """Cells per side of an observation, odd; with 4 * rooms - 3 it always shows the whole maze."""
    loops: float = 0.0
    """Probability that a wall left by the spanning tree is opened, which makes loops."""
    step_cost: float = 0.02
    """Cost of a step; the goal gives a reward of 1."""
    max_episode_steps: int = 100
    """Steps after which an episode is truncated."""
    split: Literal["train", "held-out"] = "train"
    """The mazes to draw from: those of training, or the held-out ones."""

    def __post_init__(self) -> None:
        check(self, "env", at_least(3), "rooms")  # with fewer there are too few mazes to split
        check(self, "env", at_least(1), "max_episode_steps")
        check(self, "env", within(0, 1), "loops")
        check(self, "env", FINITE, "step_cost")
        if self.view < 3 or self.view % 2 == 0:
            refuse(self, "env", "view", "odd, and 3 or more")

    def build(self, num_envs: int, *, threads: int = 0, privileged: bool = False) -> "Maze":
        return Maze(num_envs, self)

    @property
    def env_name(self) -> str:
        return "maze"

    def action_names(self, count: int) -> tuple[str, ...]:
        return "up", "right", "down", "left"

    @property
    def protocol_label(self) -> str:
        loops = f", {self.loops:g} loops" if self.loops else ""
        return f"{self.rooms} x {self.rooms} rooms{loops}, {self.split}"

    @property
    def eval_env(self) -> "MazeConfig":
        """The same settings with held-out mazes."""
        return replace(self, split="held-out")


class Maze(SmallEnv):
    """N walkers, each in its own maze; actions are up, right, down, left."""

    STATE = ("walls", "distance", "walker", "goal", "time", "done")

    def __init__(self, num_envs: int, config: MazeConfig = MazeConfig()) -> None:
        size = 2 * config.rooms + 1
        cells = [f"wall_{row}_{column}" for row in range(size) for column in range(size)]
        names = ("walker_row", "walker_column", "goal_row", "goal_column", *cells)
        super().__init__(num_envs, (config.view, config.view, 3), len(MOVES), names, "HWC")
        self.config = config
        self.metadata["render_modes"] = ["rgb_array"]
        self.render_mode = "rgb_array"
        self.walls = np.ones((num_envs, size, size), np.bool_)
        self.distance = np.zeros((num_envs, size, size), np.int64)
        """Steps from each cell to the goal; -1 for walls."""
        self.walker, self.goal = np.zeros((2, num_envs, 2), np.int64)
        self.time = np.zeros(num_envs, np.int64)
        self.done = np.ones(num_envs, np.bool_)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        first, index = self.done.copy(), np.arange(self.num_envs)
        ahead = self.walker + np.array(MOVES)[actions]
        free = ~self.walls[index, ahead[:, 0], ahead[:, 1]] & ~first
        self.walker = np.where(free[:, None], ahead, self.walker)
        self.time += ~first
        self.reset_envs(first)
        terminated = (self.walker == self.goal).all(1)
        truncated = ~terminated & (self.time == self.config.max_episode_steps)
        self.done = terminated | truncated
        reward = np.where(first, 0.0, terminated - self.config.step_cost)
        return self.observe(), reward, terminated, truncated, self.info()

    @property
    def best_return(self) -> Array:
        """Return of the shortest path from each walker to its goal: 1 - step_cost steps_to_goal."""
        return 1 - self.config.step_cost * self.steps_to_goal

    @property
    def steps_to_goal(self) -> Array:
        """Length of the shortest path from each walker to its goal."""
        index = np.arange(self.num_envs)
        steps: Array = self.distance[index, self.walker[:, 0], self.walker[:, 1]]
        return steps

    @property
    def num_exits(self) -> Array:
        """Number of free cells beside each walker: 1 in a dead end, 3 or 4 at a junction."""
        around = self.walker[:, None] + np.array(MOVES)
        index = np.arange(self.num_envs)[:, None]
        exits: Array = (~self.walls[index, around[..., 0], around[..., 1]]).sum(1)
        return exits

    def render(self, scale: int = 24) -> tuple[Array, ...]:
        """Draw each whole maze in RGB: dark walls, a green goal, an orange walker."""
        palette = np.array([[241, 237, 228], [52, 58, 70], [74, 146, 96], [224, 108, 52]], np.uint8)
        cells = self.walls.astype(np.int64)
        index = np.arange(self.num_envs)
        cells[index, self.goal[:, 0], self.goal[:, 1]] = 2
        cells[index, self.walker[:, 0], self.walker[:, 1]] = 3
        return tuple(palette[cells].repeat(scale, 1).repeat(scale, 2))

    def reset_envs(self, mask: Array) -> None:
        """Draw new mazes, with the walker and the goal in two different rooms."""
        held_out = self.config.split == "held-out"
        for i in np.flatnonzero(mask):
            generator = self.generators[i]
            walls = random_maze(self.config.rooms, self.config.loops, generator)
            while is_held_out(walls) != held_out:
                walls = random_maze(self.config.rooms, self.config.loops, generator)
            ends = generator.choice(self.config.rooms**2, 2, replace=False).tolist()
            start, goal = (tuple(2 * x + 1 for x in divmod(end, self.config.rooms)) for end in ends)
            self.walker[i], self.goal[i], self.walls[i] = start, goal, walls
            self.distance[i] = distances(walls, *goal)
        self.time[mask] = 0
        self.done[mask] = False

    def true_state(self) -> Array:
        columns = [self.walker, self.goal, self.walls.reshape(self.num_envs, -1)]
        return np.concatenate([x.astype(np.uint8) for x in columns], 1)

    def observe(self) -> Array:
        view = self.config.view
        reach = view // 2
        offsets = np.arange(-reach, reach + 1)
        rows = self.walker[:, :1] + offsets  # [N, view]
        columns = self.walker[:, 1:] + offsets
        obs = np.zeros((self.num_envs, view, view, 3), np.uint8)
        padded = np.pad(self.walls, ((0, 0), (reach, reach), (reach, reach)), constant_values=True)
        index = np.arange(self.num_envs)[:, None, None]
        walls = padded[index, rows[:, :, None] + reach, columns[:, None, :] + reach]
        obs[..., WALL] = 255 * walls
        at_goal = (rows == self.goal[:, :1])[:, :, None] & (columns == self.goal[:, 1:])[:, None, :]
        obs[..., GOAL] = 255 * at_goal
        obs[:, reach, reach, WALKER] = 255
        return obs


def random_maze(rooms: int, loops: float, generator: np.random.Generator) -> Array:
    """Draw the walls of a depth-first tree of rooms with loops, bool [2 * rooms + 1] twice."""
    walls = np.ones((2 * rooms + 1, 2 * rooms + 1), np.bool_)
    path = [(int(generator.integers(rooms)), int(generator.integers(rooms)))]
    walls[2 * path[0][0] + 1, 2 * path[0][1] + 1] = False
    while path:
        row, column = path[-1]
        unvisited = [
            (row + down, column + right)
            for down, right in MOVES
            if 0 <= row + down < rooms
            and 0 <= column + right < rooms
            and walls[2 * (row + down) + 1, 2 * (column + right) + 1]
        ]
        if not unvisited:
            path.pop()
            continue
        room = unvisited[int(generator.integers(len(unvisited)))]
        walls[row + room[0] + 1, column + room[1] + 1] = False
        walls[2 * room[0] + 1, 2 * room[1] + 1] = False
        path.append(room)
    opened = generator.random(walls.shape) < loops
    opened[[0, -1]] = opened[:, [0, -1]] = opened[::2, ::2] = False  # border and pillars
    return walls & ~opened


def is_held_out(walls: Array) -> bool:
    """Return whether a maze is held out from training, by a checksum of its walls."""
    return zlib.crc32(np.packbits(walls).tobytes()) % HELD_OUT == 0


def distances(walls: Array, row: int, column: int) -> Array:
    """Return the steps from every cell to (row, column), -1 without a path (breadth first)."""
    blocked = walls.tolist()  # single cells of a list are read several times as fast
    distance = [[-1] * len(line) for line in blocked]
    distance[row][column] = 0
    queue = deque([(row, column)])
    while queue:
        row, column = queue.popleft()
        steps = distance[row][column] + 1
        for down, right in MOVES:
            y, x = row + down, column + right
            if not blocked[y][x] and distance[y][x] < 0:
                distance[y][x] = steps
                queue.append((y, x))
    return np.array(distance, np.int64)
