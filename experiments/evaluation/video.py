"""Videos as MP4 or GIF files, written image by image; only complete files appear."""

import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ...envs.interface import TimeStep, Transition
from ..runs.files import make_folder, sync_folder, write_file

Image = NDArray[np.uint8]
"""[H, W] gray or [H, W, 3]."""

GIF_COLORS, RARE_COLORS, GIF_SCALE = 48, 16, 2 / 3
GIF_FRAME_SKIP = 2
"""A GIF keeps one image in this many, and the last."""
MIN_SIZE, MAX_SIZE = 16, 2048
"""Least and greatest height and width of an MP4 in pixels."""
FRAGMENTS = {
    "movflags": "empty_moov+delay_moov+default_base_moof",
    "frag_duration": "1000000",
    "flush_packets": "1",
}
"""Options of FFmpeg's muxer by which a file can be played up to its last whole second."""


class VideoWriter:
    """Writes images of one size to an MP4 or GIF file; ``length`` is the number of images added.

    Images of any size are fitted to the format (see ``fit``). The video is encoded in memory, an
    MP4 while images are added. A GIF loops forever. A ``live`` MP4 is written while images are
    added instead, to a file beside ``path`` that can be played even if the process is killed.
    """

    def __init__(self, path: Path, frames_per_second: int = 15, *, live: bool = False) -> None:
        self.path, self.frames_per_second, self.length = path, frames_per_second, 0
        self.partial: Path | None = None
        """Of a live MP4, until it is complete."""
        if live and path.suffix == ".mp4":
            self.partial = path.with_name(f"{path.stem}.partial-{uuid4().hex[:8]}.mp4")
        self._buffer, self._num_bytes = io.BytesIO(), 0
        self._mp4: Any = None
        self._gif: list[Pillow.Image] = []
        self._skipped: Pillow.Image | None = None

    def add(self, image: Image) -> None:
        """Add an image."""
        self.length += 1
        image = fit(image)
        if self.path.suffix == ".gif":
            size = int(GIF_SCALE * image.shape[1]), int(GIF_SCALE * image.shape[0])
            picture = Pillow.fromarray(image).resize(size, Pillow.Resampling.BOX)
            self._skipped = None if self.length % GIF_FRAME_SKIP == 1 else picture
            if self._skipped is None:
                self._gif.append(picture)
            return
        if self._mp4 is None:
            import imageio.v3 as imageio  # slow to import

            options: dict[str, Any] = {"options": FRAGMENTS} if self.partial else {}
            self._mp4 = imageio.imopen(
                self._buffer, "w", plugin="pyav", extension=".mp4", **options
            )
            self._mp4.init_video_stream("libx264", fps=self.frames_per_second)
        self._mp4.write_frame(np.ascontiguousarray(image))
        if self.partial:
            self._append(self.partial)

    def close(self) -> None:
        """Finish the file; none is written if no image was added."""
        self._free_encoder()
        if self._gif:
            self._encode_gif()
        if self.partial and self.length:
            self._append(self.partial)
            with open(self.partial, "rb") as file:
                os.fsync(file.fileno())
            self.partial.replace(self.path)
            sync_folder(self.path.parent)
        elif self.length:
            write_file(self.path, self._buffer.getvalue())
        self._buffer.close()

    def __del__(self) -> None:
        self._free_encoder()  # which writes to the buffer, and so must not outlive it

    def _free_encoder(self) -> None:
        encoder, self._mp4 = self._mp4, None
        if encoder is not None:
            encoder.close()

    def _append(self, partial: Path) -> None:
        """Append whole fragments to a file, from which those that do not fit are removed.

        FFmpeg itself writes to memory, as it crashes after a write that has failed.
        """
        make_folder(partial.parent)
        try:
            with open(partial, "ab") as file:
                file.write(self._buffer.getvalue())
        except OSError:
            with suppress(OSError):
                os.truncate(partial, self._num_bytes)
                if not self._num_bytes:
                    partial.unlink()
            self._free_encoder()
            raise
        self._num_bytes += self._buffer.tell()
        self._buffer.seek(0)
        self._buffer.truncate()

    def failure(self, error: OSError) -> str:
        """Return why the video has ended with an error, and what is left of it."""
        kept = self.partial is not None and self.partial.exists()
        left = f"{self.partial} is playable up to there" if kept else "nothing of it is kept"
        return f"{error.strerror or error}; {left}"

    def _encode_gif(self) -> None:
        """Encode the GIF with one palette for all images: of frequent colors, and of rare ones.

        Median cut alone makes thin lines gray; maximum coverage alone merges similar backgrounds.
        """
        self._gif += [self._skipped] if self._skipped else []
        sampled = self._gif[:: max(len(self._gif) // 8, 1)]
        sample = Pillow.fromarray(np.concatenate([np.asarray(x) for x in sampled]))
        frequent = sample.quantize(GIF_COLORS, Pillow.Quantize.MEDIANCUT).getpalette() or []
        rare = sample.quantize(RARE_COLORS, Pillow.Quantize.MAXCOVERAGE).getpalette() or []
        palette = Pillow.new("P", (1, 1))
        palette.putpalette(frequent + rare)
        images = [x.quantize(palette=palette, dither=Pillow.Dither.NONE) for x in self._gif]
        images[0].save(
            self._buffer, format="GIF", save_all=True, append_images=images[1:], loop=0,
            duration=round(1000 * GIF_FRAME_SKIP / self.frames_per_second), optimize=False,
        )  # fmt: skip


def fit(image: Image) -> Image:
    """Return an image of an even height and width within ``MIN_SIZE`` and ``MAX_SIZE``.

    A larger image is scaled down, and its last row and column are repeated.
    """
    if (scale := MAX_SIZE / max(image.shape[:2])) < 1:
        size = [max(1, int(scale * x)) for x in (image.shape[1], image.shape[0])]
        image = np.asarray(Pillow.fromarray(image).resize(size, Pillow.Resampling.BOX))
    missing = [(0, max(x + x % 2, MIN_SIZE) - x) for x in image.shape[:2]]
    return np.pad(image, missing + [(0, 0)] * (image.ndim - 2), mode="edge")


class Video:
    """A video of the next whole episode of env 0, from its first observation to its last.

    ``screen`` renders the newest time step of env 0, at first ``step``; ``draw`` adds what belongs
    to the transition that starts there. ``done`` once the file is written.
    """

    def __init__(
        self,
        path: Path,
        step: TimeStep,
        screen: Callable[[TimeStep], Image],
        draw: Callable[[Image, Transition], Image] = lambda image, t: image,
    ) -> None:
        self.writer, self.screen, self.draw, self.done = VideoWriter(path), screen, draw, False
        self.image = screen(step)
        """Of the newest time step, which is no longer on the screen after the next one."""

    def update(self, t: Transition) -> None:
        """Add the observation that a transition starts from, and the last one of the episode."""
        if self.done:
            return
        recording = self.writer.length or bool(t.step.first[0])
        if recording:
            self.writer.add(self.draw(self.image, t))
        self.image = self.screen(t.next_step)
        if recording and bool(t.next_step.last[0]):
            self.writer.add(self.draw(self.image, t))
            self.finish()

    def finish(self) -> None:
        """Write the file, also if the episode has not ended."""
        if not self.done:
            self.done = True
            self.writer.close()
