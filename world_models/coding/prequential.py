"""Prequential coding: each frame is coded by what the density has learned from those before.

Dawid 1984, "Statistical Theory: The Prequential Approach". The density that decodes learns the same
frames, so that a message holds no weights. Its length is the frames' description length: the sum of
-log2 p(x) over the frames, each just before it is learned.

A density that can be given the frames before (``TemporalDensity``) codes each frame given those of
its env before the batch.

A message is the number of frames, 7 bits a byte, the coder's last state in 5 to 8 bytes, and its
words of 4 bytes. The coder's first state is a checksum of the frames, which costs nothing to keep:
a density that decodes other frames than were coded does not end in it.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from ...envs.errors import NumericalError, UsageError
from ..density.capabilities import SequentialDensity, TemporalDensity
from ..density.frames import check_frames
from ..interface import Density
from . import rans

Words = NDArray[np.uint32]
Head = NDArray[np.uint64]
"""State of the coder, and the position of the first word of its message."""


@runtime_checkable
class FrameCoder(SequentialDensity, Protocol):
    """A density that codes whole frames in machine code, as their conditionals one by one would.

    The order is pixel after pixel, and of each pixel frame after frame.
    """

    def write_intervals(self, x: UInt8[Tensor, "B H W"], intervals: Words) -> None:
        """Write the interval of every pixel, [B x H x W, 2]: see ``rans``."""

    def pop_frames(self, x: UInt8[Tensor, "B H W"], words: Words, head: Head) -> None:
        """Pop every pixel into ``x``."""


class NotReproduced(UsageError):
    """The density differs from the one that coded a message, or the message is damaged."""

    def __init__(self, density: object) -> None:
        super().__init__(
            f"The density {type(density).__name__} does not decode the frames that were coded: its "
            "probabilities differ from those of the density that coded them, or the message is "
            "damaged; decode it with the model, settings, version and machine that coded it"
        )


def encode(
    density: Density,
    frames: UInt8[Tensor, "N H W"],
    *,
    batch_size: int = 1,
    learn: bool = True,
    num_envs: int = 1,
    show: Callable[[int], object] = lambda done: None,
) -> bytes:
    """Encode frames, each of which the density learns after it is coded.

    A message is at most a thousandth and 8 bytes longer than the frames' log-probabilities say. The
    frames of a batch are coded together, given those of their env before the batch, and then
    learned; without ``learn`` none is. Frames of ``num_envs`` envs alternate, as in a recording.
    ``show`` is called with the number of frames that are coded. Raises UsageError for a density
    without conditionals of single pixels, a batch size or number of envs below 1 and frames that
    the density was not built for, and NumericalError for conditionals that are no probabilities.

    Example::

        import torch
        from reverie.world_models.coding import decode, encode
        from reverie.world_models.density.cts import CTSConfig

        frames = torch.zeros(100, 42, 42, dtype=torch.uint8)
        message = encode(CTSConfig().build(shape=(42, 42), levels=8), frames)
        again = decode(CTSConfig().build(shape=(42, 42), levels=8), message)
        assert torch.equal(frames, again)
    """
    sequence = _Sequence(density, num_envs)
    density = sequence.density
    if len(frames):
        check_frames(frames, density.shape, density.levels)
    frames = frames.cpu().contiguous()
    intervals = np.empty((*frames.shape, 2), np.uint32)
    with one_thread():
        for part in batches(len(frames), batch_size):
            first = part.start
            for given, rows in sequence.groups(part.stop - part.start):
                group = frames[part][rows].contiguous()
                of_group = intervals[first : first + len(group)]
                _write_intervals(given, group, of_group.reshape(-1, 2))
                first += len(group)
            sequence.advance(frames[part], learn)
            show(part.stop)
    words = np.empty(frames.numel(), np.uint32)
    head = np.array([first_state(frames), len(words)], np.uint64)
    rans.push(intervals.reshape(-1, 2), words, head)
    return pack(len(frames), words, head)


def decode(
    density: Density,
    message: bytes,
    *,
    batch_size: int = 1,
    learn: bool = True,
    num_envs: int = 1,
    show: Callable[[int], object] = lambda done: None,
) -> UInt8[Tensor, "N H W"]:
    """Decode frames with a density in the state of the one that coded them, and equal settings.

    Raises UsageError and NumericalError as ``encode`` does, and NotReproduced, a UsageError, if
    the frames are not those that were coded.
    """
    sequence = _Sequence(density, num_envs)
    density = sequence.density
    count, words, head = unpack(density, message)
    frames = [torch.zeros(0, *density.shape, dtype=torch.uint8)]
    with one_thread():
        for part in batches(count, batch_size):
            batch = torch.zeros(part.stop - part.start, *density.shape, dtype=torch.uint8)
            for given, rows in sequence.groups(len(batch)):
                group = torch.zeros_like(batch[rows])
                _pop_frames(given, group, words, head)
                batch[rows] = group
            if head[0] < rans.LOWEST:  # the words have ended before the frames
                raise NotReproduced(density)
            frames.append(batch)
            sequence.advance(batch, learn)
            show(part.stop)
    decoded = torch.cat(frames)
    if head.tolist() != [first_state(decoded), len(words)]:
        raise NotReproduced(density)
    return decoded


def require_conditionals(density: Density) -> SequentialDensity:
    """Return a density that can code frames; raises UsageError for another one."""
    if not isinstance(density, SequentialDensity):
        raise UsageError(
            f"The density {type(density).__name__} cannot code frames: it has no conditionals of "
            "single pixels given those before them in one order; choose one that has, such as cts."
        )
    return density


class _Sequence:
    """Frames that are coded one after the other, given those before of their env."""

    def __init__(self, density: Density, num_envs: int) -> None:
        if num_envs < 1:
            raise UsageError(f"num_envs is {num_envs}; it must be 1 or more.")
        self.density = require_conditionals(density)
        self.num_envs = num_envs
        if isinstance(self.density, TemporalDensity):
            size = self.density.num_past * num_envs
            self.recent = torch.zeros(size, *self.density.shape, dtype=torch.uint8)

    def groups(self, count: int) -> Iterator[tuple[SequentialDensity, slice]]:
        """Yield the density of each env's frames among the next ``count``, and which they are.

        Without a past, all frames are of one group.
        """
        if not isinstance(self.density, TemporalDensity):
            yield self.density, slice(None)
            return
        for env in range(min(self.num_envs, count)):
            rows = slice(env, None, self.num_envs)
            yield self.density.given(self.recent[rows]), rows

    def advance(self, frames: UInt8[Tensor, "B H W"], learn: bool) -> None:
        """Add frames to the past, each of which is learned given those before it."""
        if not isinstance(self.density, TemporalDensity):
            if learn:
                self.density.observe(frames)
            return
        for frame in frames[:, None]:
            if learn:
                self.density.given(self.recent[:: self.num_envs]).observe(frame)
            self.recent = torch.cat([self.recent[1:], frame])


def _write_intervals(
    density: SequentialDensity, frames: UInt8[Tensor, "B H W"], intervals: Words
) -> None:
    """Write the intervals of frames that are decoded together."""
    if isinstance(density, FrameCoder):
        density.write_intervals(frames, intervals)
        return
    x = torch.zeros_like(frames)  # what is known of them when the pixel is decoded
    for k, (i, j) in enumerate(np.ndindex(density.shape)):
        of_pixel = intervals[k * len(x) : (k + 1) * len(x)]
        rans.write_intervals(_probs(density, x, i, j), frames[:, i, j].numpy(), of_pixel)
        x[:, i, j] = frames[:, i, j]


def _pop_frames(
    density: SequentialDensity, x: UInt8[Tensor, "B H W"], words: Words, head: Head
) -> None:
    """Pop the pixels of frames into ``x``, which are zeros."""
    if isinstance(density, FrameCoder):
        density.pop_frames(x, words, head)
        return
    for i, j in np.ndindex(density.shape):
        symbols = rans.pop_symbols(_probs(density, x, i, j), words, head)
        x[:, i, j] = torch.from_numpy(symbols)


def _probs(
    density: SequentialDensity, x: UInt8[Tensor, "B H W"], i: int, j: int
) -> NDArray[np.float64]:
    """Return the probabilities of a pixel in float64."""
    probs = density.conditional(x, i, j).to("cpu", torch.float64).contiguous().numpy()
    if not (probs.min() >= 0 and abs(probs.sum(1) - 1).max() < 1e-3):
        raise NumericalError(
            f"The density {type(density).__name__} gives the symbols of pixel ({i}, {j}) the "
            f"probabilities {probs[0].tolist()}, which are none."
        )
    return probs


def batches(count: int, batch_size: int, *, backwards: bool = False) -> Iterator[slice]:
    """Return the batches of frames; raises UsageError for a batch size below 1."""
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be 1 or more.")
    starts = range(0, count, batch_size)
    starts = starts[::-1] if backwards else starts
    return (slice(k, min(k + batch_size, count)) for k in starts)


def first_state(frames: UInt8[Tensor, "N *K H W"]) -> int:
    """Return the coder's state before the first symbol is pushed: a checksum of the frames."""
    return rans.LOWEST | zlib.crc32(frames.numpy().tobytes())


def pack(count: int, words: Words, head: Head) -> bytes:
    """Return a message: the number of frames, the coder's last state, and its words."""
    state, first = (int(x) for x in head)
    digits = bytearray()
    while count > 127:
        digits.append(128 | count & 127)
        count >>= 7
    size = (state.bit_length() + 7) // 8
    prefix = bytes([*digits, count]) + state.to_bytes(size, "little")
    return prefix + words[first:].astype("<u4").tobytes()


def unpack(coder: object, message: bytes) -> tuple[int, Words, Head]:
    """Return the number of frames of a message, its words, and the coder's state before them.

    Raises NotReproduced, which names the coder, for what is no message.
    """
    size = next((k + 1 for k, digit in enumerate(message[:9]) if digit < 128), 0)
    count = sum((digit & 127) << 7 * k for k, digit in enumerate(message[:size]))
    body = message[size:]
    if not size or len(body) < 5:
        raise NotReproduced(coder)
    state_size = 5 + (len(body) - 5) % 4
    words = np.frombuffer(body[state_size:], "<u4").astype(np.uint32)
    return count, words, np.array([int.from_bytes(body[:state_size], "little"), 0], np.uint64)


@contextmanager
def one_thread() -> Iterator[None]:
    """Make torch compute with one thread, because rounding depends on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
