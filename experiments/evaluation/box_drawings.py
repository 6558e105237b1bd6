"""Drawings of how a model composes a frame: the box of each step, over an image of the frame."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from ...world_models.latents.composition import Composition
from .screen import frame_to_image, plane_colors
from .video import Image


@dataclass(frozen=True, slots=True)
class Boxes:
    """What the T steps of a model write in one frame."""

    edges: Float[np.ndarray, "T 4"]
    """Top, left, bottom and right edge, from 0 to 1 within the frame."""
    presence: Float[np.ndarray, " T"]
    """Probability that a step writes anything."""

    def of_step(self, step: int) -> "Boxes":
        """Return the boxes without those of other steps, which keep their colors."""
        others = np.arange(len(self.presence)) != step
        return Boxes(self.edges, np.where(others, 0, self.presence))


def boxes_of(composition: Composition, index: int = 0) -> Boxes | None:
    """Return the boxes of one of the composed frames; None if the steps have none."""
    if composition.boxes is None:
        return None
    height, width = composition.images.shape[-2:]
    size = torch.tensor([height, width, height, width])
    edges = composition.boxes[:, index].detach().cpu() / size
    return Boxes(edges.numpy(), composition.presence[:, index].detach().cpu().numpy())


def step_images(composition: Composition, index: int = 0, channels: int = 1) -> list[Image]:
    """Return one of the composed frames of ``channels`` after each step; the newest of a stack."""
    frames = composition.images[:, index].detach().cpu()
    newest = frames.reshape(len(frames), -1, *frames.shape[-2:])[:, -channels:]
    return [frame_to_image(x) for x in (newest.clamp(0, 1) * 255).round().to(torch.uint8)]


def drawn_steps(composition: Composition, most: int, channels: int = 1) -> list[tuple[int, Image]]:
    """Return up to ``most`` steps, and the first frame after each with the box that it writes."""
    images, boxes = step_images(composition, channels=channels), boxes_of(composition)
    shown = np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(int).tolist()
    if boxes is None:
        return [(step, images[step]) for step in shown]
    return [(step, draw_boxes(images[step], boxes.of_step(step))) for step in shown]


def rgb(image: Image) -> Image:
    """Return an image in RGB, which may be gray."""
    return image if image.ndim == 3 else np.stack([image] * 3, -1)


def draw_boxes(image: Image, boxes: Boxes) -> Image:
    """Draw the outlines of boxes over an image of any size, each as opaque as it is present.

    Each step has its color. What lies outside the image is left out.
    """
    canvas = rgb(image).astype(np.float32)
    size = np.array([*image.shape[:2]] * 2)
    line = max(1, max(image.shape[:2]) // 120)
    colors = plane_colors(max(len(boxes.edges), 1))[1:]
    for edges, presence, color in zip(boxes.edges, boxes.presence, colors, strict=True):
        top, left, bottom, right = np.round(edges * size).astype(int).tolist()
        outer = _rectangle(image.shape, top, left, bottom, right)
        inner = _rectangle(image.shape, top + line, left + line, bottom - line, right - line)
        opacity = float(np.clip(presence, 0, 1)) * (outer & ~inner)[..., None]
        canvas += opacity * (color.astype(np.float32) - canvas)
    drawn: Image = np.round(canvas).astype(np.uint8)
    return drawn


def _rectangle(
    shape: tuple[int, ...], top: int, left: int, bottom: int, right: int
) -> NDArray[np.bool_]:
    """Return which pixels lie within a rectangle."""
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])
    return (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)
