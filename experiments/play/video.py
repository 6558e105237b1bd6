"""A video of play, written frame by frame as MP4 or GIF."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from .panels import Image, View
from .rendering import render_view

GIF_COLORS = 48
GIF_SCALE = 2 / 3
GIF_FRAME_SKIP = 2
"""A GIF keeps one frame in this many."""


class VideoWriter:
    """Writes rendered views to one MP4 or GIF file; ``length`` is the number of frames added."""

    def __init__(self, path: Path, frames_per_second: int) -> None:
        self.path, self.frames_per_second, self.length = path, frames_per_second, 0
        self.gif_frames: list[Image] = []
        self.mp4: Any = None

    def add(self, view: View, caption: str) -> None:
        """Add one frame."""
        image = render_view(view, caption)
        self.length += 1
        if self.path.suffix == ".gif":
            if self.length % GIF_FRAME_SKIP == 1:
                self.gif_frames.append(image)
            return
        if self.mp4 is None:
            import imageio.v3 as imageio

            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.mp4 = imageio.imopen(self.path, "w", plugin="pyav")
            self.mp4.init_video_stream("libx264", fps=self.frames_per_second)
        self.mp4.write_frame(image)

    def close(self) -> None:
        """Finish the file; no file is written if no frame was added."""
        if self.mp4 is not None:
            self.mp4.close()
        if self.gif_frames:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_gif(self.path, self.gif_frames, self.frames_per_second)


def write_gif(path: Path, images: list[Image], frames_per_second: int) -> None:
    """Write a GIF that loops forever, with one palette for all frames."""
    size = int(GIF_SCALE * images[0].shape[1]), int(GIF_SCALE * images[0].shape[0])
    scaled = [Pillow.fromarray(image).resize(size, Pillow.Resampling.BOX) for image in images]
    sampled = np.concatenate([np.asarray(image) for image in scaled[:: max(len(scaled) // 8, 1)]])
    palette = Pillow.fromarray(sampled).quantize(GIF_COLORS)
    frames = [image.quantize(palette=palette, dither=Pillow.Dither.NONE) for image in scaled]
    frames[0].save(
        path, save_all=True, append_images=frames[1:], loop=0,
        duration=round(1000 * GIF_FRAME_SKIP / frames_per_second), optimize=False,
    )  # fmt: skip
