"""The screen of env 0 as a person sees it."""

import colorsys
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from ...envs.atari.atari import Atari
from ...envs.batched_env import BatchedEnv
from ...envs.interface import TimeStep
from ...envs.maze import Maze
from .video import Image

VIDEO_SIZE = 336
"""Least height or width of an enlarged image, in pixels."""

Screen = Callable[[TimeStep], Image]


def screen_of(envs: BatchedEnv) -> Screen:
    """Return a renderer of env 0's newest time step; call it before the envs are reset.

    It renders the RGB screen of an Atari game, a maze as a whole, and the newest frame of other
    envs.
    """
    env = envs.env
    if isinstance(env, Atari):
        replica = env.follow(0)
        return lambda step: replica.screen
    if isinstance(env, Maze):
        return lambda step: env.render(scale=1)[0]
    return newest_frame


def newest_frame(step: TimeStep) -> Image:
    """Return env 0's newest frame, in the agent's own format."""
    return frame_to_image(step.frame[0])


def frame_to_image(frame: UInt8[Tensor, "C H W"]) -> Image:
    """Convert a frame to an image: gray for one channel, RGB for three.

    Other numbers of channels are planes, which are painted over each other, the last one on top:
    each in its color, and as opaque as it is on, so that predicted planes are shown, too.
    """
    pixels: Image = frame.cpu().numpy()
    if len(pixels) == 3:
        pixels = pixels.transpose(1, 2, 0)
    elif len(pixels) == 1:
        pixels = pixels[0]
    else:
        colors, image = plane_colors(len(pixels)), np.zeros((*pixels.shape[1:], 3))
        for plane, color in zip(pixels, colors[1:], strict=True):
            opacity = plane[..., None] / 255
            image = opacity * color + (1 - opacity) * image
        pixels = np.round(image).astype(np.uint8)
    return pixels


@lru_cache
def plane_colors(count: int) -> Image:
    """Return black and then a color per plane, RGB [count + 1, 3], hues evenly spaced."""
    colors = [colorsys.hsv_to_rgb(i / count, 0.75, 1.0) for i in range(count)]
    return np.round(255 * np.array([(0, 0, 0), *colors])).astype(np.uint8)


def enlarged(image: Image) -> Image:
    """Return an image in RGB, enlarged by a whole number to the size of a video."""
    if image.shape[:2] == (210, 160):  # pixels of the console are twice as wide
        image = image.repeat(2, 1)
    scale = -(-VIDEO_SIZE // max(image.shape[:2]))
    image = image.repeat(scale, 0).repeat(scale, 1)
    return image if image.ndim == 3 else np.stack([image] * 3, -1)
