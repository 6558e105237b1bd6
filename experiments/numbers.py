"""Numbers as people read them: with the digits they deserve, and how sure they are."""

import math

import numpy as np

from experiments.statistics import Interval


def number(x: float) -> str:
    """With the digits a score of its size deserves; nothing for nan."""
    if math.isnan(x):
        return ""
    digits = 0 if abs(x) >= 100 else 1 if abs(x) >= 10 else 2 if abs(x) >= 1 else 3
    return f"{x:,.{digits}f}" if round(x, digits) else "0"


def interval(x: Interval, unit: str = "human-normalised") -> str:
    """An estimate and its bounds, where more than one seed gives it some."""
    shown = number if unit == "points" else "{:.3f}".format
    sign = "+" if unit == "points" and x.estimate > 0 else ""
    if math.isnan(x.low):
        return f"{sign}{shown(x.estimate)} (one seed)"
    return f"{sign}{shown(x.estimate)} ({shown(x.low)} to {shown(x.high)})"


def error(scores: list[float]) -> str:
    """The standard error of a mean; nothing for that of one score."""
    if len(scores) < 2:
        return ""
    return f" ± {number(float(np.std(scores, ddof=1)) / math.sqrt(len(scores)))}"
