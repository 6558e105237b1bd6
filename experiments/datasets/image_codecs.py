"""Lossless codecs of images and of bytes, beside which a density's archives are measured.

Each takes symbols [N H W] and returns its smallest result among the forms in which it can take
them, with the form's name: none has more to code than the symbols.
"""

import io
import lzma
import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Symbols = NDArray[np.uint8]
Coded = tuple[str, bytes]
"""Name of a form, and the coded bytes."""

WEBP_SIDE = 16_383
"""Largest width and height of an image in WebP."""


def png(symbols: Symbols) -> Iterator[Coded]:
    """Yield PNG, optimized: an image per frame, and one tall image of all."""
    yield "an image per frame", b"".join(_image(x, "PNG", optimize=True) for x in symbols)
    tall = symbols.reshape(-1, symbols.shape[2])
    yield "one tall image", _image(tall, "PNG", optimize=True)
    bits = _bits(symbols)
    palette = Image.fromarray(tall, "P")
    palette.putpalette([x for k in range(1 << bits) for x in (k, k, k)])
    yield "one tall image of 4 bits a pixel", _saved(palette, "PNG", optimize=True, bits=4)


def webp(symbols: Symbols) -> Iterator[Coded]:
    """Yield lossless WebP at its slowest: strips, and one image of all frames side by side."""
    options = {"lossless": True, "quality": 100, "method": 6, "exact": True}
    n, height, width = symbols.shape
    rows = WEBP_SIDE // height
    strips = (symbols[k : k + rows].reshape(-1, width) for k in range(0, n, rows))
    yield "tall strips", b"".join(_image(x, "WEBP", **options) for x in strips)
    side = math.isqrt(n - 1) + 1
    if side * max(height, width) <= WEBP_SIDE:
        tiles = np.zeros((side * side, height, width), np.uint8)
        tiles[:n] = symbols
        mosaic = tiles.reshape(side, side, height, width).swapaxes(1, 2)
        yield "one mosaic", _image(mosaic.reshape(side * height, -1), "WEBP", **options)


def xz(symbols: Symbols) -> Iterator[Coded]:
    """Yield LZMA2 of one solid sequence at preset 9e: a byte a symbol, and packed bits."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    bits = (symbols[..., None] >> np.arange(_bits(symbols), dtype=np.uint8)) & 1
    pairs = np.resize(symbols, symbols.size + symbols.size % 2).reshape(-1, 2)
    forms = {
        "a byte a symbol": symbols.tobytes(),
        "half a byte a symbol": (pairs[:, 0] << 4 | pairs[:, 1]).tobytes(),
        "packed bits": np.packbits(bits).tobytes(),
    }
    for form, data in forms.items():
        if form == "half a byte a symbol" and _bits(symbols) > 4:
            continue
        yield form, lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def ffv1(symbols: Symbols) -> Iterator[Coded]:
    """Yield FFV1 of level 3: packets alone, its contexts kept from the first frame to the last."""
    _, height, width = symbols.shape
    settings = {"level": "3", "slices": "1", "slicecrc": "0"}
    for context in (0, 1):
        encoder = av.CodecContext.create("ffv1", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "gray"
        encoder.time_base, encoder.gop_size = Fraction(1, 60), len(symbols)
        encoder.options = settings | {"coder": "1", "context": str(context)}
        packets = []
        for x in symbols:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(x), "gray")
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
        name = "large" if context else "small"
        yield f"{name} context", b"".join(bytes(packet) for packet in packets)


CODECS: dict[str, Callable[[Symbols], Iterator[Coded]]] = {
    "PNG": png,
    "WebP, lossless": webp,
    "xz": xz,
    "FFV1": ffv1,
}
"""Codecs by name; each yields its results in several forms."""


def _bits(symbols: Symbols) -> int:
    return max(int(symbols.max()).bit_length(), 1)


def _image(x: Symbols, format: str, **options: object) -> bytes:
    return _saved(Image.fromarray(np.ascontiguousarray(x)), format, **options)


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
