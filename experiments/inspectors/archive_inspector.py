"""Inspector of Go-Explore's archive: its cells as a map, colored by how often they were visited.

Where the true state of the game has the number of the room and the player's place, that is a map of
the rooms with the cells in them. Elsewhere the cells lie on the first two principal components of
their keys: cells near each other have similar keys, and the axes have no unit.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from ...agents.cells import CellArchive
from ...envs.atari.emulation import AtariDynamics
from ...envs.atari.ram import RAM
from ...envs.dynamics import Dynamics
from ..evaluation.images import INFERNO, resized
from ..evaluation.screen import frame_to_image
from ..evaluation.video import Image
from .context import Inspection, StepContext
from .learned_parts import ShownArchive
from .panels import Images, Panel, Picture, Place, PlaceMap, Table

Array = NDArray[Any]

PYRAMID = (3, 5, 7, 9)
"""Rooms per floor of Montezuma's Revenge, from the top; they are numbered from the left."""
ROOM_SIZE, MAP_SIZE, PLANE_SIZE = (24, 32), (84, 160), (42, 80)
"""Rows and columns of the grids for cells: of a small room, of a large one, and of the plane."""
LARGE = 168, 320
"""Rows and columns of a picture that is as wide as a panel."""
MAX_FITTED = 4_000
"""Cells of which principal components are computed."""
SCREEN_ROWS, SCREEN_COLUMNS = 210, 160
FIELD = 47, 190
"""Rows of the screen between which a room is drawn."""
FEET = 318
"""The row of the screen on which the player is, and the coordinate y, add up to this."""
CURRENT = np.array([92, 157, 227], np.uint8)


class ArchiveInspector:
    """The archive's cells on a map, with the present one, and their scores and visits."""

    def __init__(self, part: ShownArchive) -> None:
        self.agent, self.archive = part.agent, part.agent.archive
        self.scores = np.array([visit.score for visit in self.archive.visits])
        self.state = _true_state(self.archive, part.dynamics)
        """[cells, 3]: room, x and y, if the true state has them."""
        if self.state is None:
            self.places = _principal_components(self.archive)
        else:
            self.places = _within_room(self.state[:, 1:])

    def inspect(self, context: StepContext) -> Inspection:
        if not len(self.archive):
            return Inspection((Table("Archive", (("cells", "none yet"),), "train the run first"),))
        cell = self.archive.index.get(self.agent.keys(context.step)[0])
        seen = self.archive.seen
        rows = [("cells", f"{len(self.archive):,}"), ("best score", f"{self.scores.max():g}")]
        if self.state is not None:
            rows.insert(1, ("rooms", str(len(np.unique(self.state[:, 0])))))
        if cell is None:
            rows.append(("present cell", "not in the archive"))
        else:
            rows.append(("present cell", f"score {self.scores[cell]:g}, {seen[cell]:,} visits"))
        note = "visits: explorations that came to a cell since the best way to it was found"
        return Inspection((Table("Archive", tuple(rows), note), *self._maps(context, cell)))

    def _maps(self, context: StepContext, cell: int | None) -> list[Panel]:
        """Return a panel of all cells, and of those in the present room."""
        if self.state is None:
            everything = np.arange(len(self.archive))
            image = _heat(self.places, self._levels(), everything, cell, PLANE_SIZE)
            note = (
                "one point per cell, at the first two principal components of its key; from dark "
                "(few visits) to bright (many), blue the present one"
            )
            return [Images("Cells", (Picture(resized(image, LARGE)),), note)]
        rooms = self.state[:, 0]
        panels: list[Panel] = [self._rooms(rooms, cell)]
        if cell is not None:
            panels.append(self._room(context, rooms, cell))
        return panels

    def _room(self, context: StepContext, rooms: Int64[Array, " cells"], cell: int) -> Images:
        """Return the cells of the present room over its picture."""
        inside = np.flatnonzero(rooms == rooms[cell])
        frame = frame_to_image(context.step.frame[0])
        gray = frame if frame.ndim == 2 else frame.mean(2)
        top, bottom = (len(gray) * row // SCREEN_ROWS for row in FIELD)
        shown = np.repeat(0.4 * resized(gray[top:bottom], LARGE)[..., None], 3, 2)
        points = resized(_heat(self.places, self._levels(), inside, cell, MAP_SIZE), LARGE)
        image = np.where(points.any(2, keepdims=True), points, shown).astype(np.uint8)
        best = f"{self.scores[inside].max():g}"
        note = f"{len(inside):,} cells, best score {best}"
        return Images(f"Room {rooms[cell]}", (Picture(image),), note)

    def _rooms(self, room: Int64[Array, " cells"], cell: int | None) -> PlaceMap:
        """Return the pyramid of rooms; rooms of other numbers are left out."""
        places, number = list[Place](), 0
        for row, count in enumerate(PYRAMID):
            for i in range(count):
                inside = np.flatnonzero(room == number)
                column = (max(PYRAMID) - count) / 2 + i
                here = cell is not None and int(room[cell]) == number
                image = None
                if len(inside):
                    image = _heat(self.places, self._levels(), inside, cell, ROOM_SIZE)
                places.append(Place(column, row, str(number), image, here))
                number += 1
        note = (
            "points are cells where the player was at the best visit, from dark (few visits) to "
            "bright (many), blue the present one; rooms without a picture were not entered"
        )
        return PlaceMap("Map of rooms", tuple(places), max(PYRAMID), len(PYRAMID), note)

    def _levels(self) -> Float[Array, " cells"]:
        """Return the brightness of each cell: the logarithm of its visits, within [0.3, 1]."""
        visits = np.log1p(self.archive.seen)
        levels: Array = 0.3 + 0.7 * visits / max(float(visits.max()), 1e-9)
        return levels


def _true_state(archive: CellArchive, dynamics: Dynamics | None) -> Int64[Array, "cells 3"] | None:
    """Return the room and the player's x and y of each cell, or None where there are no rooms."""
    if not isinstance(dynamics, AtariDynamics) or "room" not in RAM.get(dynamics.game, {}):
        return None
    if not len(archive):
        return None
    addresses = [RAM[dynamics.game][name] for name in ("room", "player_x", "player_y")]
    rows = []
    for cell in range(len(archive)):
        state = archive.snapshot(cell)[: dynamics.snapshot_size]
        dynamics.emulator.restore(state.tobytes())
        rows.append(dynamics.emulator.ram[addresses].astype(np.int64))
    return np.stack(rows)


def _within_room(position: Int64[Array, "cells 2"]) -> Float[Array, "cells 2"]:
    """Return row and column in [0, 1] of the player's places on the part with the room."""
    x, y = position.T
    row = (FEET - y - FIELD[0]) / (FIELD[1] - FIELD[0])
    places: Array = np.clip(np.stack([row, x / SCREEN_COLUMNS], 1), 0, 1)
    return places


def _principal_components(archive: CellArchive) -> Float[Array, "cells 2"]:
    """Return the first two principal components of the cells' keys, scaled to [0, 1]."""
    if len(archive) < 3:
        return np.full((len(archive), 2), 0.5)
    keys = np.stack([np.frombuffer(key, np.int32) for key in archive.index]).astype(np.float64)
    sample = keys[:: -(-len(keys) // MAX_FITTED)]
    center = sample.mean(0)
    _, _, components = np.linalg.svd(sample - center, full_matrices=False)
    places = (keys - center) @ components[:2].T
    if places.shape[1] < 2:
        places = np.concatenate([places, np.zeros_like(places)], 1)
    low, high = places.min(0), places.max(0)
    scaled: Array = (places - low) / np.maximum(high - low, 1e-9)
    return scaled


def _heat(
    places: Float[Array, "cells 2"],
    levels: Float[Array, " cells"],
    cells: Int64[Array, " some"],
    current: int | None,
    size: tuple[int, int],
) -> Image:
    """Draw cells as pixels of their level, of several in one place the highest."""
    position = np.minimum((places * size).astype(np.int64), np.array(size) - 1)
    heat = np.zeros(size)
    np.maximum.at(heat, tuple(position[cells].T), levels[cells])
    image: Image = INFERNO[(255 * heat).astype(np.uint8)] * (heat > 0)[..., None]
    if current is not None and current in cells:
        row, column = position[current]
        image[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = CURRENT
    return image
