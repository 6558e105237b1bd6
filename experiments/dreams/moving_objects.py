"""Moving objects: which objects of a true frame a predicted one has lost, in any game.

An object is a connected component of pixels away from the game's median frame, which shows what
never moves. No game's rules and no bytes of its memory are needed, so that recordings without the
true state can be evaluated. An object is lost unless the predicted frame has one like it nearby;
then it is either displaced, if there is one like it elsewhere, or erased. The mass of an object,
its contrast summed over pixels, is nearly the same wherever it lies between the pixels of a
downscaled frame, while its outline is not.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from .prediction_error import moving

REACH = 0.1
"""Largest distance of the centers of an object and of its prediction, in sides of the frame."""
LEAST_RATIO = 0.5
"""Least ratio of the masses of two objects that are alike, the smaller to the larger, and of the
brightest pixel of a prediction to that of the object."""
ANY = "moving object"
"""Name of all objects together."""


@dataclass(frozen=True, slots=True)
class MovingObject:
    """A connected component of the pixels away from the median frame."""

    center: tuple[float, float]
    """Row and column of the middle of its pixels, as shares of the frame's sides."""
    size: tuple[float, float]
    """Height and width of its bounding box, as shares of the frame's sides."""
    mass: NDArray[np.float64]
    """Contrast above and below the median frame [2 C], summed over its pixels."""
    peak: float
    """Contrast of its brightest or darkest pixel, averaged over channels."""

    def is_like(self, other: "MovingObject") -> bool:
        """Return whether another object may be a prediction of this one, by its brightness."""
        larger = max(self.mass.sum(), other.mass.sum())
        alike = np.abs(self.mass - other.mass).sum() <= (1 - LEAST_RATIO) * larger
        return bool(alike) and other.peak >= LEAST_RATIO * self.peak


@dataclass(frozen=True, slots=True)
class NamedObject:
    """Where the object of a name is, and how large it is at most, as shares of the frame's sides.

    Of several objects that fit, it is the one of the greatest mass.
    """

    rows: tuple[float, float]
    columns: tuple[float, float]
    size: tuple[float, float]

    def index_in(self, objects: list[MovingObject]) -> int | None:
        """Return which of a frame's objects has this name; None if none has."""
        fitting = [i for i, x in enumerate(objects) if self._fits(x)]
        return max(fitting, key=lambda i: objects[i].mass.sum(), default=None)

    def _fits(self, x: MovingObject) -> bool:
        inside = zip(x.center, (self.rows, self.columns), strict=True)
        small = all(a <= b for a, b in zip(x.size, self.size, strict=True))
        return small and all(low < at < high for at, (low, high) in inside)


NAMED_OBJECTS: dict[str, dict[str, NamedObject]] = {
    "pong": {
        "ball": NamedObject(rows=(0.16, 0.94), columns=(0.13, 0.86), size=(0.061, 0.049)),
        "paddle": NamedObject(rows=(0.16, 0.94), columns=(0.87, 0.91), size=(0.16, 0.049)),
    },
}
"""Objects that can be told by place and size, by game: Pong's ball between the paddles, and the
player's paddle, on the right, of which only a part may be in the field."""


def moving_objects(
    frame: UInt8[Tensor, "C H W"], median: UInt8[Tensor, "C H W"]
) -> list[MovingObject]:
    """Return the objects of a frame; pixels that touch at a corner are connected."""
    from scipy.ndimage import find_objects, label  # slow to import

    mask = moving(frame[None], median)[0].numpy()
    contrast: Float[np.ndarray, "C H W"] = frame.numpy().astype(np.float64) - median.numpy()
    labels, _ = label(mask, structure=np.ones((3, 3)))
    sides, found = np.array(mask.shape), []
    for index, box in enumerate(find_objects(labels), 1):
        inside = labels[box] == index
        pixels = contrast[(slice(None), *box)][:, inside]  # [C P]
        center = np.argwhere(inside).mean(0) + [x.start + 0.5 for x in box]
        row, column = (center / sides).tolist()
        height, width = (np.array(inside.shape) / sides).tolist()
        mass = np.concatenate([pixels.clip(min=0).sum(1), (-pixels).clip(min=0).sum(1)])
        peak = float(np.abs(pixels).mean(0).max())
        found.append(MovingObject((row, column), (height, width), mass, peak))
    return found


@dataclass(slots=True)
class LostObjects:
    """Numbers of objects, by name: in true frames, and lost in the predicted ones."""

    present: Counter[str]
    displaced: Counter[str]
    erased: Counter[str]

    def share(self, name: str) -> float | None:
        """Return the share of lost objects; None if true frames show none."""
        lost = self.displaced[name] + self.erased[name]
        return lost / self.present[name] if self.present[name] else None


def lost_objects(
    truth: UInt8[Tensor, "B C H W"],
    predicted: UInt8[Tensor, "B C H W"],
    median: UInt8[Tensor, "C H W"],
    *,
    game: str = "",
) -> LostObjects:
    """Count the objects of true frames, and those that the predicted frames have lost.

    Each object of a predicted frame stands for one of the true frame at most. Beside all objects
    together, those that have a name in the game are counted by it.
    """
    counts = LostObjects(Counter(), Counter(), Counter())
    for true_frame, frame in zip(truth, predicted, strict=True):
        real, dreamed = moving_objects(true_frame, median), moving_objects(frame, median)
        if not real:
            continue
        kept = _matches(real, dreamed, REACH)
        others = [x for i, x in enumerate(dreamed) if i not in kept.values()]
        missing = [i for i in range(len(real)) if i not in kept]
        displaced = {missing[i] for i in _matches([real[i] for i in missing], others, math.inf)}
        named = {name: x.index_in(real) for name, x in NAMED_OBJECTS.get(game, {}).items()}
        for i in range(len(real)):
            names = [ANY, *(name for name, index in named.items() if index == i)]
            counts.present.update(names)
            if i not in kept:
                (counts.displaced if i in displaced else counts.erased).update(names)
    return counts


def _matches(real: list[MovingObject], dreamed: list[MovingObject], reach: float) -> dict[int, int]:
    """Return as many pairs of objects that are alike and near as there can be, by index."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    if not real or not dreamed:
        return {}
    allowed = [
        [x.is_like(y) and math.dist(x.center, y.center) <= reach for y in dreamed] for x in real
    ]
    rows, columns = linear_sum_assignment(np.array(allowed), maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {i: j for i, j in pairs if allowed[i][j]}
