"""The frame that a density is given, with pixels that the user erases and the density fills in.

A completion may take longer than a step of the game. So it takes at most ``MAX_SECONDS``, or else
waits until other pixels are erased, and completions of the following timesteps take at most a
``SHARE`` of the time: between them the last one is shown.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from ...agents.bonuses.density_bonus import FrameDensity
from ...world_models.density.complete import (
    can_complete,
    evidence_of,
    posterior_samples,
    refusal,
)
from ...world_models.density.quantization import FrameQuantizer
from ..evaluation.images import resized
from ..evaluation.screen import plane_colors
from ..evaluation.video import Image
from .context import StepContext
from .panels import Images, Panel, Picture, Table

MAX_SECONDS, SHARE = 1.0, 0.2
ERASED: Image = np.array([(232, 163, 61), (148, 84, 0)], np.uint8)
"""Colors of the checkerboard in place of erased pixels: amber of the page."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The frame of a timestep, completed."""

    timestep: int
    symbols: UInt8[Tensor, "H W"]
    equal: int
    """Erased pixels that are filled in as they were."""


class FrameCompletion:
    """The erased pixels, which stay erased from frame to frame, and the last completion."""

    def __init__(self, frame_density: FrameDensity) -> None:
        self.frame_density = frame_density
        self.no_completion_reason = (
            "" if can_complete(frame_density.density) else refusal(frame_density.density)
        )
        self.erased = torch.zeros(frame_density.quantizer.shape, dtype=torch.bool)
        self.changed = False
        """Whether other pixels are erased than in the last completion."""
        self.completed: Completed | None = None
        self.next_time = 0.0
        """Before it, another timestep's frame is not completed."""

    def restore(self) -> None:
        """Restore all erased pixels."""
        self.erased = torch.zeros_like(self.erased)
        self._change()

    def erase(self, stroke: Sequence[Sequence[float]]) -> None:
        """Erase the pixels along a stroke, of points (x, y) from 0 to 1 in the picture."""
        self.erased |= torch.from_numpy(pixels_along(stroke, self.frame_density.quantizer.shape))
        self._change()

    def erase_lower_half(self) -> None:
        """Erase the rows of the lower half, and restore the others."""
        self.restore()
        self.erased[len(self.erased) // 2 :] = True

    @property
    def num_erased(self) -> int:
        """The number of erased pixels."""
        return int(self.erased.sum())

    def panel(self, context: StepContext) -> Panel:
        """Return the frame without the erased pixels, and as it was last completed."""
        if self.no_completion_reason:
            return Table("Completion", (), self.no_completion_reason)
        quantizer = self.frame_density.quantizer
        symbols = quantizer(context.step.frame)[0].cpu()
        self._complete(symbols, context.timestep)
        size = context.step.frame.shape[2:]
        image = resized(draw_symbols(quantizer, symbols), size)
        if not self.num_erased:
            note = "drag over the left picture, and the density fills in what you erase"
            pictures = (
                Picture(image, "erase pixels here", erasable=True),
                Picture(image, "complete"),
            )
            return Images("Completion", pictures, note)
        erased = Picture(self._with_erased(image), f"{self.num_erased} erased", erasable=True)
        if self.completed is None:
            note = f"skipped: it takes more than {MAX_SECONDS:g} s; erase fewer pixels"
            return Images("Completion", (erased, Picture(erased.image, "not completed")), note)
        found, age = self.completed, context.timestep - self.completed.timestep
        caption = "completed" if not age else f"completed, {age} timesteps ago"
        completed = Picture(resized(draw_symbols(quantizer, found.symbols), size), caption)
        note = f"one sample given the other pixels; {found.equal} of {self.num_erased} as they were"
        return Images("Completion", (erased, completed), note)

    def _change(self) -> None:
        """Complete the next frame at once, as other pixels are erased."""
        self.changed, self.completed = True, None

    def _complete(self, symbols: UInt8[Tensor, "H W"], timestep: int) -> None:
        """Complete a frame if its turn has come."""
        start = time.monotonic()
        is_new = self.completed is not None and self.completed.timestep != timestep
        if not self.num_erased or not (self.changed or (is_new and start >= self.next_time)):
            return
        self.changed = False
        density, levels = self.frame_density.density, self.frame_density.quantizer.levels
        evidence = evidence_of(symbols[None], ~self.erased[None], levels)
        try:
            found = posterior_samples(density, evidence, 1, seed=timestep, seconds=MAX_SECONDS)
        except TimeoutError:
            self.completed = None
            return
        equal = int((found[0, 0] == symbols)[self.erased].sum())
        self.completed = Completed(timestep, found[0, 0], equal)
        end = time.monotonic()
        self.next_time = end + (end - start) * (1 / SHARE - 1)

    def _with_erased(self, image: Image) -> Image:
        """Return an image with a checkerboard in place of the erased pixels."""
        colored = image if image.ndim == 3 else image[..., None].repeat(3, 2)
        rows, columns = (np.arange(n) for n in colored.shape[:2])
        board: Image = ERASED[(rows[:, None] // 2 + columns // 2) % 2]
        erased = resized(self.erased.numpy(), colored.shape)
        return np.where(erased[..., None], board, colored)


def draw_symbols(quantizer: FrameQuantizer, symbols: UInt8[Tensor, "H W"]) -> Image:
    """Return the symbols of a frame as gray pixels, or as the colors of planes."""
    if quantizer.planes:
        colors: Image = plane_colors(quantizer.levels - 1)[symbols.numpy()]
        return colors
    gray: Image = quantizer.gray(symbols[None])[0].numpy()
    return gray


def pixels_along(stroke: Sequence[Sequence[float]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels of a frame a brush covers along a stroke, of points in 0..1."""
    height, width = shape
    radius = max(0.75, max(shape) / 28)
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    covered = np.zeros(shape, bool)
    points = np.array(stroke) * (width, height)
    for begin, end in zip(points, [*points[1:], points[-1]], strict=True):
        x, y = end - begin
        along = ((columns - begin[0]) * x + (rows - begin[1]) * y) / max(x * x + y * y, 1e-9)
        along = along.clip(0, 1)
        distance = np.hypot(columns - begin[0] - along * x, rows - begin[1] - along * y)
        covered |= distance <= radius
    return covered
