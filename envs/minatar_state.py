"""The state of a MinAtar game as numbers, from which another game continues."""

import math
from array import array
from itertools import islice
from typing import Any

import numpy as np

from .errors import RunError

NUMBERS = 512
"""Numbers of a state; the grids of Space Invaders have 300."""


class GameState:
    """Reads and writes the state of games like ``game``, an Environment of the package.

    The state is the last action, which a sticky step repeats, and the attributes of the game:
    integers, grids of 0 and 1, and lists of objects, each a list of integers or None. It holds no
    random generator.
    """

    def __init__(self, game: Any) -> None:
        attributes = {name: x for name, x in vars(game.env).items() if name != "action_map"}
        self.integers = {name: type(x) for name, x in attributes.items() if isinstance(x, int)}
        self.grids = {n: x.shape for n, x in attributes.items() if isinstance(x, np.ndarray)}
        self.lists = [name for name, x in attributes.items() if isinstance(x, list)]

    def read(self, game: Any) -> bytes:
        """Return the state, ``NUMBERS`` integers of two bytes; raises RunError if it has more."""
        env = game.env
        numbers = [game.last_action, *(int(getattr(env, name)) for name in self.integers)]
        for name in self.grids:
            numbers += getattr(env, name).astype(np.int64).ravel().tolist()
        for name in self.lists:
            objects = getattr(env, name)
            numbers.append(len(objects))
            for x in objects:
                numbers += (len(x), *map(int, x)) if x is not None else (0,)
        if len(numbers) > NUMBERS:
            raise RunError(
                f"The state of {game.env_name} has {len(numbers)} numbers, and a snapshot holds "
                f"{NUMBERS}; choose a learned predictor, such as agent.predictor:tiny-mlp."
            )
        return array("h", numbers).tobytes().ljust(2 * NUMBERS, b"\0")

    def write(self, game: Any, state: bytes) -> None:
        """Set a game to a state."""
        env, numbers = game.env, iter(array("h", state))
        game.last_action = next(numbers)
        for name, kind in self.integers.items():
            setattr(env, name, kind(next(numbers)))
        for name, shape in self.grids.items():
            grid = np.array(list(islice(numbers, math.prod(shape))), np.float64)
            setattr(env, name, grid.reshape(shape))
        for name in self.lists:
            objects = [list(islice(numbers, next(numbers))) for _ in range(next(numbers))]
            setattr(env, name, [x or None for x in objects])
