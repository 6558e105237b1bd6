"""Numbers as text for people: tables, figures and messages write scores in one way."""

import math


def format_number(x: float) -> str:
    """Return a score with about three significant digits; an empty string for nan.

    A number so small that it can only be left over from rounding is 0.

    Example::

        from reverie.experiments.text.formatting import format_number

        assert [format_number(x) for x in (9821.3, 0.994, -0.0025)] == ["9,821", "0.994", "-0.0025"]
    """
    if math.isnan(x):
        return ""
    if abs(x) < 0.01:
        return f"{x:.2g}" if abs(x) > 1e-9 else "0"
    digits = 0 if abs(x) >= 100 else 1 if abs(x) >= 10 else 2 if abs(x) >= 1 else 3
    return f"{x:,.{digits}f}"


def with_error(x: float, error: float | None) -> str:
    """Return a mean and its standard error, if there is one."""
    return format_number(x) + ("" if error is None else f" ± {format_number(error)}")
