"""Text on panels: its width in pixels, line breaks, numbers, and the values on an axis."""

import math
from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import ImageFont

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
SIZE = 12
"""Height of text in pixels."""


@lru_cache
def font(bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which is wider than the fonts of browsers: what fits here fits there."""
    return ImageFont.truetype(str(FONTS / f"DejaVuSans{'-Bold' * bold}.ttf"), SIZE)


@lru_cache
def _letter_width(letter: str) -> float:
    return font().getlength(letter)


def text_width(text: str) -> float:
    """Return the width of a text in pixels, without kerning."""
    return sum(map(_letter_width, text))


@lru_cache(maxsize=1024)
def wrap(text: str, width: float) -> tuple[str, ...]:
    """Break a text into lines that fit a width, within words that are longer than a line."""
    lines = [""]
    for word in text.split():
        if text_width(longer := f"{lines[-1]} {word}".strip()) <= width:
            lines[-1] = longer
            continue
        lines.append("")
        for letter in word:
            if text_width(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return tuple(line for line in lines if line)


@lru_cache(maxsize=1024)
def shortened(text: str, width: float) -> str:
    """Return a text that fits a width, with an ellipsis in place of its end if it is cut."""
    if text_width(text) <= width:
        return text
    end = next((n for n in range(len(text), 0, -1) if text_width(text[:n] + "…") <= width), 0)
    return text[:end] + "…"


def number(value: float) -> str:
    """Format a value with three significant digits, or as a whole number in the thousands."""
    if not math.isfinite(value):
        return "untried"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def axis_values(low: float, high: float, count: int = 4) -> list[float]:
    """Return up to ``count`` round values within [low, high], which includes 0 or an end."""
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    step = next(m * power for m in (1, 2, 2.5, 5, 10, 20) if (high - low) / (m * power) <= count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]
