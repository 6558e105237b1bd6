"""Videos as MP4 or GIF files, written image by image; only complete files appear."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ...envs.interface import Transition
from ..runs.files import write_file

Image = NDArray[np.uint8]
"""[H, W] gray or [H, W, 3]."""

GIF_COLORS, GIF_SCALE = 48, 2 / 3
GIF_FRAME_SKIP = 2
"""A GIF keeps one image in this many."""


class VideoWriter:
    """Writes RGB images to one MP4 or GIF file; ``length`` is the number of images added.

    The video is encoded in memory, an MP4 while images are added. A GIF loops forever.
    """

    def __init__(self, path: Path, frames_per_second: int = 15) -> None:
        self.path, self.frames_per_second, self.length = path, frames_per_second, 0
        self._buffer = io.BytesIO()
        self._mp4: Any = None
        self._gif: list[Pillow.Image] = []

    def add(self, image: Image) -> None:
        """Add an image, cropped to an even height and width, as H.264 requires."""
        self.length += 1
        if self.path.suffix == ".gif":
            if self.length % GIF_FRAME_SKIP == 1:
                size = int(GIF_SCALE * image.shape[1]), int(GIF_SCALE * image.shape[0])
                self._gif.append(Pillow.fromarray(image).resize(size, Pillow.Resampling.BOX))
            return
        if self._mp4 is None:
            import imageio.v3 as imageio  # slow to import

            self._mp4 = imageio.imopen(self._buffer, "w", plugin="pyav", extension=".mp4")
            self._mp4.init_video_stream("libx264", fps=self.frames_per_second)
        height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
        self._mp4.write_frame(np.ascontiguousarray(image[:height, :width]))

    def close(self) -> None:
        """Finish the file; none is written if no image was added."""
        if self._mp4 is not None:
            self._mp4.close()
        if self._gif:
            self._encode_gif()
        if self.length:
            write_file(self.path, self._buffer.getvalue())
        self._buffer.close()

    def _encode_gif(self) -> None:
        """Encode the GIF with one palette for all images."""
        sampled = self._gif[:: max(len(self._gif) // 8, 1)]
        palette = Pillow.fromarray(np.concatenate([np.asarray(x) for x in sampled]))
        palette = palette.quantize(GIF_COLORS)
        images = [x.quantize(palette=palette, dither=Pillow.Dither.NONE) for x in self._gif]
        images[0].save(
            self._buffer, format="GIF", save_all=True, append_images=images[1:], loop=0,
            duration=round(1000 * GIF_FRAME_SKIP / self.frames_per_second), optimize=False,
        )  # fmt: skip


class Video:
    """A recorder of the next whole episode of env 0; ``done`` once its file is written."""

    def __init__(self, path: Path, render: Callable[[Transition], Image]) -> None:
        self.writer, self.render, self.done = VideoWriter(path), render, False

    def update(self, t: Transition) -> None:
        """Add one timestep."""
        if self.done or not (self.writer.length or bool(t.step.first[0])):
            return
        self.writer.add(self.render(t))
        if bool(t.next_step.last[0]):
            self.finish()

    def finish(self) -> None:
        """Write the file, also if the episode has not ended."""
        if not self.done:
            self.done = True
            self.writer.close()
