"""Maze: a new one each episode, with corridors, junctions, one goal, and a known way there.

A maze is a random spanning tree of its rooms (depth first, so with long corridors), in which some
of the remaining walls may be opened. The goal is worth 1 and every step costs, so the best return
of an episode is known at its start: the shortest path's. It is seen from above with the walker in
the middle, so that a look has one shape in mazes of any size.
"""

import zlib
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from envs.checks import at_least, check, refuse, within
from envs.interface import EnvConfig
from envs.small import Array, SmallWorld

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""Up, right, down, left: the actions, as rows and columns."""
WALKER, GOAL, WALL = 0, 1, 2
"""Colour channels of a look."""
HELD_OUT = 5
"""One maze in so many is held out, by a checksum of its walls."""


@dataclass(frozen=True)
class MazeConfig(EnvConfig):
    """Random mazes; those of one split never stand in the other."""

    rooms: int = 4
    """Rooms of a side; with the walls between them a maze has 2 * rooms + 1 cells of a side."""
    view: int = 13
    """Cells of a side of a look; 4 * rooms - 3 of them show everything from everywhere."""
    loops: float = 0.0
    """Probability that a wall between two rooms of the tree is open all the same."""
    step_cost: float = 0.02
    """Price of a step; the goal is worth 1."""
    limit: int = 100
    """Steps after which an episode is timed out."""
    split: Literal["train", "held-out"] = "train"

    def __post_init__(self) -> None:
        check(self, "env", at_least(3), "rooms")  # fewer make too few mazes to hold some out
        check(self, "env", at_least(1), "limit")
        check(self, "env", within(0, 1), "loops")
        if self.view < 3 or self.view % 2 == 0:
            refuse(self, "env", "view", "odd, and 3 or more")

    def build(self, num_envs: int, *, threads: int = 0) -> "Maze":
        return Maze(num_envs, self)

    @property
    def title(self) -> str:
        return "maze"

    def action_names(self, count: int) -> tuple[str, ...]:
        return "up", "right", "down", "left"

    @property
    def protocol_label(self) -> str:
        loops = f", {self.loops:g} loops" if self.loops else ""
        return f"{self.rooms} x {self.rooms} rooms{loops}, {self.split}"

    @property
    def evaluation(self) -> "MazeConfig":
        """Mazes that were never trained on."""
        return replace(self, split="held-out")


class Maze(SmallWorld):
    """N walkers, each in a maze of its own."""

    def __init__(self, num_envs: int, config: MazeConfig = MazeConfig()) -> None:
        super().__init__(num_envs, (config.view, config.view, 3), num_actions=len(MOVES))
        self.config = config
        self.metadata["render_modes"] = ["rgb_array"]
        self.render_mode = "rgb_array"
        size = 2 * config.rooms + 1
        self.walls = np.ones((num_envs, size, size), np.bool_)
        self.distance = np.zeros((num_envs, size, size), np.int64)
        """Steps from each cell to the goal; -1 in walls."""
        self.walker, self.goal = np.zeros((2, num_envs, 2), np.int64)
        self.time = np.zeros(num_envs, np.int64)
        self.over = np.ones(num_envs, np.bool_)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        born, streams = self.over.copy(), np.arange(self.num_envs)
        ahead = self.walker + np.array(MOVES)[actions]
        free = ~self.walls[streams, ahead[:, 0], ahead[:, 1]] & ~born
        self.walker = np.where(free[:, None], ahead, self.walker)
        self.time += ~born
        self.begin(born)
        found = (self.walker == self.goal).all(1)
        late = ~found & (self.time == self.config.limit)
        self.over = found | late
        reward = np.where(born, 0.0, found - self.config.step_cost)
        return self.look(), reward, found, late, {}

    @property
    def best_return(self) -> Array:
        """What the shortest path from here to the goal is still worth, by stream."""
        return 1 - self.config.step_cost * self.steps_left

    @property
    def steps_left(self) -> Array:
        """Steps of the shortest path to the goal, by stream."""
        streams = np.arange(self.num_envs)
        left: Array = self.distance[streams, self.walker[:, 0], self.walker[:, 1]]
        return left

    @property
    def ways(self) -> Array:
        """Open neighbours of each walker's cell: 1 in a dead end, 3 or 4 at a junction."""
        around = self.walker[:, None] + np.array(MOVES)
        streams = np.arange(self.num_envs)[:, None]
        ways: Array = (~self.walls[streams, around[..., 0], around[..., 1]]).sum(1)
        return ways

    def render(self, scale: int = 24) -> tuple[Array, ...]:
        """Each maze as a whole, RGB: dark walls, a green goal, an orange walker."""
        colours = np.array([[241, 237, 228], [52, 58, 70], [74, 146, 96], [224, 108, 52]], np.uint8)
        cells = self.walls.astype(np.int64)
        streams = np.arange(self.num_envs)
        cells[streams, self.goal[:, 0], self.goal[:, 1]] = 2
        cells[streams, self.walker[:, 0], self.walker[:, 1]] = 3
        return tuple(colours[cells].repeat(scale, 1).repeat(scale, 2))

    def begin(self, mask: Array) -> None:
        """New mazes: the walker and the goal stand in two different rooms."""
        held_out = self.config.split == "held-out"
        for stream in np.flatnonzero(mask):
            generator = self.generators[stream]
            walls = random_maze(self.config.rooms, self.config.loops, generator)
            while is_held_out(walls) != held_out:
                walls = random_maze(self.config.rooms, self.config.loops, generator)
            ends = generator.choice(self.config.rooms**2, 2, replace=False).tolist()
            start, goal = (tuple(2 * x + 1 for x in divmod(end, self.config.rooms)) for end in ends)
            self.walker[stream], self.goal[stream], self.walls[stream] = start, goal, walls
            self.distance[stream] = distances(walls, *goal)
        self.time[mask] = 0
        self.over[mask] = False

    def look(self) -> Array:
        view = self.config.view
        reach = view // 2
        place = np.arange(-reach, reach + 1)
        rows = self.walker[:, :1] + place  # [N, view]
        columns = self.walker[:, 1:] + place
        seen = np.zeros((self.num_envs, view, view, 3), np.uint8)
        wide = np.pad(self.walls, ((0, 0), (reach, reach), (reach, reach)), constant_values=True)
        streams = np.arange(self.num_envs)[:, None, None]
        walls = wide[streams, rows[:, :, None] + reach, columns[:, None, :] + reach]
        seen[..., WALL] = 255 * walls
        at_goal = (rows == self.goal[:, :1])[:, :, None] & (columns == self.goal[:, 1:])[:, None, :]
        seen[..., GOAL] = 255 * at_goal
        seen[:, reach, reach, WALKER] = 255
        return seen


def random_maze(rooms: int, loops: float, generator: np.random.Generator) -> Array:
    """Walls [2 * rooms + 1] ** 2 of a random tree of rooms, dug depth first, and of some loops."""
    walls = np.ones((2 * rooms + 1, 2 * rooms + 1), np.bool_)
    trail = [(int(generator.integers(rooms)), int(generator.integers(rooms)))]
    walls[2 * trail[0][0] + 1, 2 * trail[0][1] + 1] = False
    while trail:
        row, column = trail[-1]
        onward = [
            (row + down, column + right)
            for down, right in MOVES
            if 0 <= row + down < rooms
            and 0 <= column + right < rooms
            and walls[2 * (row + down) + 1, 2 * (column + right) + 1]
        ]
        if not onward:
            trail.pop()
            continue
        there = onward[int(generator.integers(len(onward)))]
        walls[row + there[0] + 1, column + there[1] + 1] = False
        walls[2 * there[0] + 1, 2 * there[1] + 1] = False
        trail.append(there)
    opened = generator.random(walls.shape) < loops
    opened[[0, -1]] = opened[:, [0, -1]] = opened[::2, ::2] = False  # the frame, and the pillars
    return walls & ~opened


def is_held_out(walls: Array) -> bool:
    """Whether a maze is kept from training; a pure function of its walls."""
    return zlib.crc32(np.packbits(walls).tobytes()) % HELD_OUT == 0


def distances(walls: Array, row: int, column: int) -> Array:
    """Steps from every free cell to (row, column), breadth first; -1 where there is no way."""
    distance = np.full(walls.shape, -1, np.int64)
    distance[row, column] = 0
    queue = deque([(row, column)])
    while queue:
        row, column = queue.popleft()
        for down, right in MOVES:
            there = row + down, column + right
            if not walls[there] and distance[there] < 0:
                distance[there] = distance[row, column] + 1
                queue.append(there)
    return distance
