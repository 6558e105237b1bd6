"""The false discoveries of a table (Benjamini & Hochberg 1995), and intervals that agree."""

import numpy as np
from numpy.typing import NDArray

from .intervals import Array, Value


def discoveries(p: Array, alpha: float) -> NDArray[np.int64]:
    """Return the number of hypotheses [...] of each table ``p`` [..., m] that are rejected.

    They are those of the smallest p-values: as many as possible so that the largest of them is at
    most its ``adjusted_level``.
    """
    m = p.shape[-1]
    rejected = np.sort(p, -1) <= alpha * np.arange(1, m + 1) / m
    ranks = np.where(rejected, np.arange(1, m + 1), 0)
    return np.asarray(ranks.max(-1, initial=0))


def adjusted_level(rejected: Value, m: int, alpha: float) -> Value:
    """Return the level at which a table with this many rejected hypotheses rejects them.

    Intervals of the same level leave out the value of the hypothesis exactly if it is rejected,
    and on average the selected ones miss their value at rate alpha (Benjamini & Yekutieli 2005).
    """
    return alpha * np.clip(rejected, 1, m) / m
