"""The dynamics of an Atari game: one emulator that is set to a state, stepped, and read.

Frames are made as ale_py's vector environment makes them: gray or color, the maximum of the last
two, scaled by area. At the end of an episode that environment shows an older frame; here it is the
newest screen.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy.typing import NDArray

from ..dynamics import Array, Outcome
from ..errors import UsageError
from .protocol import AtariProtocol
from .replica import ReplicaEmulator


class AtariDynamics:
    """The transition function of a game under a protocol.

    Its true state is the bytes of memory at ``ram_addresses``. Raises UsageError for frames that
    are larger than the screen.
    """

    def __init__(
        self, game: str, protocol: AtariProtocol, ram_addresses: Sequence[int] = ()
    ) -> None:
        self.game, self.protocol, self.ram_addresses = game, protocol, list(ram_addresses)
        self.emulator = ReplicaEmulator(game, protocol)
        self.snapshot_size = len(self.emulator.save())
        rows, columns = self.emulator.screen.shape[:2]
        if protocol.height > rows or protocol.width > columns:
            raise UsageError(
                f"protocol.height x protocol.width is {protocol.height} x {protocol.width}, and "
                f"snapshots need frames of at most {rows} x {columns} pixels, those of the screen."
            )

    def step(
        self,
        snapshot: UInt8[Array, "B S"],
        action: Int64[Array, " B"],
        seed: Int64[Array, " B"],
    ) -> Outcome:
        n = len(snapshot)
        next_snapshot, frames = np.empty_like(snapshot), []
        reward, discount = np.zeros(n), np.ones(n, np.float32)
        last = np.zeros(n, np.bool_)
        privileged = np.empty((n, len(self.ram_addresses)), np.uint8)
        for i in range(n):
            reward[i], frame = self._step(snapshot[i].tobytes(), int(action[i]), int(seed[i]))
            frames.append(frame)
            next_snapshot[i] = np.frombuffer(self.emulator.save(), np.uint8)
            last[i] = self.emulator.done
            if self.ram_addresses:
                privileged[i] = self.emulator.ram[self.ram_addresses]
            lost = self.emulator.life_lost and self.protocol.life_loss
            discount[i] = not (self.emulator.ale.game_over() or lost)
        return Outcome(next_snapshot, np.stack(frames), reward, discount, last, privileged)

    def _step(self, state: bytes, action: int, seed: int) -> tuple[float, UInt8[Array, "C H W"]]:
        """Return the reward and the frame of one step."""
        screens: list[Array] = []

        def keep(left: int) -> None:
            if left < (2 if self.protocol.maxpool else 1) or self.emulator.done:
                screens.append(self._screen())

        self.emulator.restore(state)
        self.emulator.seed_chance(seed % 2**32)
        reward = self.emulator.step(action, keep)
        screens = screens or [self._screen()]  # of a reset
        pooled = self.protocol.maxpool and not self.emulator.done
        image = np.maximum.reduce(screens[-2:]) if pooled else screens[-1]
        return reward, scaled_by_area(image, self.protocol.height, self.protocol.width)

    def _screen(self) -> UInt8[Array, "C H W"]:
        if not self.protocol.grayscale:
            return self.emulator.screen.transpose(2, 0, 1)
        gray: Array = self.emulator.ale.getScreenGrayscale()
        return gray.reshape(1, *gray.shape[:2])


def scaled_by_area(
    image: UInt8[Array, "C H W"], height: int, width: int
) -> UInt8[Array, "C {height} {width}"]:
    """Return an image scaled down as by OpenCV's INTER_AREA, whose pixels are means of areas.

    Sums are in the order of OpenCV, because the means of whole gray levels are often at one half;
    sizes that divide both sides of the screen, which OpenCV sums otherwise, may differ by one.
    """
    _, rows, columns = image.shape
    if (rows, columns) == (height, width):
        return image
    means = image.astype(np.float32)
    for axis, size in ((2, width), (1, height)):
        index, share = _areas(means.shape[axis], size)
        shares = share if axis == 2 else share[:, :, None]
        parts = [means.take(x, axis) * y for x, y in zip(index, shares, strict=True)]
        means = sum(parts[1:], parts[0])
    pixels: NDArray[np.uint8] = np.rint(means).astype(np.uint8)
    return pixels


@cache
def _areas(size: int, scaled_size: int) -> tuple[Int64[Array, "taps M"], Float32[Array, "taps M"]]:
    """Return the pixels of a row that overlap each of the M pixels of the scaled row.

    Beside them their shares in it; pixels of share 0 fill up the rows.
    """
    scale = size / scaled_size
    begin = np.arange(scaled_size) * scale
    end = np.minimum(begin + scale, size)
    first = np.floor(begin + 1e-3)
    pixel = first + np.arange(math.ceil(scale) + 1)[:, None]
    overlap = np.minimum(end, pixel + 1) - np.maximum(begin, pixel)
    overlap = np.where(overlap > 1e-3, overlap, 0)
    index = np.minimum(pixel, size - 1).astype(np.int64)
    return index, (overlap / (end - begin)).astype(np.float32)
