"""A film of play, written as it goes: MP4, or a GIF for where no MP4 is shown."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from experiments.play.drawing import drawn
from experiments.play.panels import Image, View

COLOURS, SHRUNK, EVERY = 48, 2 / 3, 2
"""Of a GIF: the colours of its palette, its size beside an MP4's, and one frame in how many."""


class Film:
    """Views and their captions as the frames of one file; ``length`` is how many there are."""

    def __init__(self, path: Path, frames_per_second: int) -> None:
        self.path, self.rate, self.length = path, frames_per_second, 0
        self.gif: list[Image] = []
        self.video: Any = None

    def add(self, view: View, caption: str) -> None:
        """One more frame."""
        image = drawn(view, caption)
        self.length += 1
        if self.path.suffix == ".gif":
            if self.length % EVERY == 1:
                self.gif.append(image)
            return
        if self.video is None:
            import imageio.v3 as imageio

            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.video = imageio.imopen(self.path, "w", plugin="pyav")
            self.video.init_video_stream("libx264", fps=self.rate)
        self.video.write_frame(image)

    def close(self) -> None:
        """Finish the file; without a frame there is none."""
        if self.video is not None:
            self.video.close()
        if self.gif:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_gif(self.path, self.gif, self.rate)


def write_gif(path: Path, images: list[Image], frames_per_second: int) -> None:
    """A GIF that plays for ever, in one palette for all frames."""
    size = int(SHRUNK * images[0].shape[1]), int(SHRUNK * images[0].shape[0])
    small = [Pillow.fromarray(image).resize(size, Pillow.Resampling.BOX) for image in images]
    some = np.concatenate([np.asarray(image) for image in small[:: max(len(small) // 8, 1)]])
    palette = Pillow.fromarray(some).quantize(COLOURS)
    frames = [image.quantize(palette=palette, dither=Pillow.Dither.NONE) for image in small]
    frames[0].save(
        path, save_all=True, append_images=frames[1:], loop=0,
        duration=round(1000 * EVERY / frames_per_second), optimize=False,
    )  # fmt: skip
