"""Lossless codecs of images, videos and bytes, beside which a density's archives are measured.

Each has one or several forms, in which it is given the symbols of frames and nothing else.
"""

import io
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Symbols = NDArray[np.uint8]
"""Frames of symbols, [N H W]."""
Shape = tuple[int, ...]
WEBP_SIDE = 16_383
"""Largest width and height of an image in WebP."""
ANY_SIDE = 1 << 31


@dataclass(frozen=True)
class Form:
    """One way to give frames to a codec."""

    name: str
    encode: Callable[[Symbols], list[bytes]]
    decode: Callable[[list[bytes], Shape], Symbols]
    max_levels: int = 256
    """Largest number of symbols that it can hold."""


def image_form(
    name: str, format: str, *, columns: int = 1, rows: int = ANY_SIDE, bits: int = 8, **options: Any
) -> Form:
    """Return images that hold frames side by side, at most ``rows`` pixels high."""

    def encode(symbols: Symbols) -> list[bytes]:
        n, height, width = symbols.shape
        tiles = np.zeros((-(-n // columns) * columns, height, width), np.uint8)
        tiles[:n] = symbols
        rows_of_tiles = tiles.reshape(-1, columns, height, width).swapaxes(1, 2)
        grid = rows_of_tiles.reshape(-1, height, columns * width)
        step = max(rows // height, 1)
        parts = (grid[k : k + step].reshape(-1, columns * width) for k in range(0, len(grid), step))
        return [save(part) for part in parts]

    def save(pixels: Symbols) -> bytes:
        image, file = Image.fromarray(pixels), io.BytesIO()
        if bits < 8:
            image = Image.fromarray(pixels, "P")
            image.putpalette([x for k in range(1 << bits) for x in (k, k, k)])
            image.save(file, format, bits=bits, **options)
        else:
            image.save(file, format, **options)
        return file.getvalue()

    def decode(images: list[bytes], shape: Shape) -> Symbols:
        n, height, width = shape
        pixels = [np.asarray(Image.open(io.BytesIO(x))) for x in images]
        gray = np.concatenate([x[..., 0] if x.ndim == 3 else x for x in pixels])
        tiles = gray.reshape(-1, height, columns, width).swapaxes(1, 2)
        return tiles.reshape(-1, height, width)[:n]

    return Form(name, encode, decode, max_levels=1 << bits)


def xz_form(name: str, bits: int) -> Form:
    """Return LZMA2 of one solid sequence, at preset 9e, of symbols packed in so many bits each."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]

    def encode(symbols: Symbols) -> list[bytes]:
        packed = np.packbits(np.unpackbits(symbols.reshape(-1, 1), axis=1)[:, -bits:])
        return [lzma.compress(packed.tobytes(), lzma.FORMAT_RAW, filters=filters)]

    def decode(data: list[bytes], shape: Shape) -> Symbols:
        raw = lzma.decompress(data[0], lzma.FORMAT_RAW, filters=filters)
        size = int(np.prod(shape))
        unpacked = np.unpackbits(np.frombuffer(raw, np.uint8), count=size * bits)
        padded = np.pad(unpacked.reshape(size, bits), ((0, 0), (8 - bits, 0)))
        return np.packbits(padded, axis=1).reshape(shape)

    return Form(name, encode, decode, max_levels=1 << bits)


def ffv1_form(name: str, context: int) -> Form:
    """Return FFV1 of level 3 without a container; its statistics go on from frame to frame."""

    def codec(mode: str, shape: Shape) -> Any:
        made: Any = av.CodecContext.create("ffv1", mode)  # type: ignore[call-overload]
        made.height, made.width, made.pix_fmt = *shape[1:], "gray"
        made.thread_count = 1
        return made

    def encode(symbols: Symbols) -> list[bytes]:
        encoder = codec("w", symbols.shape)
        encoder.time_base, encoder.gop_size = Fraction(1, 60), len(symbols)
        encoder.options = {"level": "3", "slices": "1", "slicecrc": "0", "coder": "1"} | {
            "context": str(context)
        }
        frames = (av.VideoFrame.from_ndarray(np.ascontiguousarray(x), "gray") for x in symbols)
        packets = [packet for x in (*frames, None) for packet in encoder.encode(x)]
        return [bytes(encoder.extradata), *map(bytes, packets)]

    def decode(data: list[bytes], shape: Shape) -> Symbols:
        decoder = codec("r", shape)
        decoder.extradata = data[0]
        packets = (*map(av.Packet, data[1:]), None)
        return np.stack([x.to_ndarray() for packet in packets for x in decoder.decode(packet)])

    return Form(name, encode, decode)


png = partial(image_form, format="PNG", optimize=True)
webp = partial(image_form, format="WEBP", lossless=True, quality=100, method=6, exact=True)

CODECS: dict[str, tuple[Form, ...]] = {
    "xz": (
        xz_form("a byte a symbol", 8),
        xz_form("4 bits a symbol", 4),
        xz_form("3 bits a symbol", 3),
    ),
    "FFV1": (ffv1_form("small context", 0), ffv1_form("large context", 1)),
    "PNG": (
        png("an image per frame", rows=1),
        png("one tall image"),
        png("one tall image of 4 bits a pixel", bits=4),
    ),
    "WebP, lossless": (
        webp("tall images", rows=WEBP_SIDE),
        webp("wide images", rows=WEBP_SIDE, columns=390),
    ),
}
"""Codecs by name, and their forms."""
