"""Range asymmetric numeral systems (rANS): an entropy coder whose message is a stack of symbols.

Duda 2013, "Asymmetric numeral systems", in its range variant. A symbol has a frequency f among
M = 2^24, and c is the sum of those of the lower symbols; ``table`` holds every c, and M at its end.
The symbol that is pushed last is popped first:

    push: s' = M (s // f) + c + s mod f
    pop:  the symbol with c <= s' mod M < c + f, and s = f (s' // M) + s' mod M - c

The state s stays in 2^32..2^64, and its low 32 bits move to and from the words of the message. A
message lies at the end of an array of words, with room before it; ``head``, uint64 [2], holds the
state and the position of the first word. Push and pop undo each other exactly, in either order.
Frequencies of 24 bits, as in constriction, cost a pixel of 8 levels 10^-6 bits more than its
probability says; with 16 bits they would cost a frame of 42 x 42 pixels a quarter of a bit, which
is more than a thousandth of a predictable frame.
"""

from typing import no_type_check

import numpy as np

from ..machine_code import compiled

PRECISION = 24
"""Bits of the sum of all frequencies."""
WORD_BITS = 32
LOWEST = 1 << WORD_BITS
"""Smallest state between two symbols."""

# Of one type, because numba turns a sum of signed and unsigned integers into a float.
_PRECISION, _WORD, _LOWEST = np.uint64(PRECISION), np.uint64(WORD_BITS), np.uint64(LOWEST)
_TOTAL, _FULL = np.uint64(1 << PRECISION), np.uint64(64 - PRECISION)


@compiled()
@no_type_check
def push(intervals: np.ndarray, words: np.ndarray, head: np.ndarray):
    """Push symbols from the last to the first, so that the first is popped first.

    ``intervals``, uint32 [n 2], holds c and f of every symbol, which takes at most a word.
    """
    state, first = head[0], head[1]
    for k in range(len(intervals) - 1, -1, -1):
        start, size = np.uint64(intervals[k, 0]), np.uint64(intervals[k, 1])
        if state >> _FULL >= size:
            first -= np.uint64(1)
            words[first] = np.uint32(state)
            state >>= _WORD
        state = ((state // size) << _PRECISION) + state % size + start
    head[0], head[1] = state, first


@compiled()
@no_type_check
def slot_of(head: np.ndarray):
    """Return s mod M, which lies in the interval of the symbol that is popped next."""
    return head[0] & (_TOTAL - np.uint64(1))


@compiled()
@no_type_check
def remove(words: np.ndarray, head: np.ndarray, start: int, size: int):
    """Pop the symbol with this interval, in which the slot lies."""
    state = size * (head[0] >> _PRECISION) + slot_of(head) - start
    if state < _LOWEST and head[1] < np.uint64(len(words)):
        state = (state << _WORD) | np.uint64(words[head[1]])
        head[1] += np.uint64(1)
    head[0] = state


@compiled()
@no_type_check
def pop(words: np.ndarray, head: np.ndarray, table: np.ndarray):
    """Pop a symbol."""
    slot = slot_of(head)
    symbol = 0
    while table[symbol + 1] <= slot:
        symbol += 1
    remove(words, head, table[symbol], table[symbol + 1] - table[symbol])
    return symbol


@compiled(error_model="numpy")
@no_type_check
def tabulate(probs: np.ndarray, table: np.ndarray):
    """Write the cumulative frequencies, uint64 [levels + 1], of a symbol's probabilities.

    Every symbol has a frequency of at least 1, and can thus be coded.
    """
    levels = len(probs)
    scale = np.float64(_TOTAL) - levels
    below = 0.0
    for k in range(levels):
        table[k] = np.uint64(min(below, 1.0) * scale) + np.uint64(k)
        below += probs[k]
    table[levels] = _TOTAL


@compiled()
@no_type_check
def write_interval(table: np.ndarray, symbol: int, interval: np.ndarray):
    """Write c and f of a symbol."""
    interval[0] = table[symbol]
    interval[1] = table[symbol + 1] - table[symbol]


@compiled()
@no_type_check
def write_intervals(probs: np.ndarray, symbols: np.ndarray, intervals: np.ndarray):
    """Write the intervals of symbols with probabilities [B levels]."""
    table = np.empty(probs.shape[1] + 1, np.uint64)
    for b in range(len(probs)):
        tabulate(probs[b], table)
        write_interval(table, symbols[b], intervals[b])


@compiled()
@no_type_check
def pop_symbols(probs: np.ndarray, words: np.ndarray, head: np.ndarray):
    """Pop symbols with probabilities [B levels]."""
    table = np.empty(probs.shape[1] + 1, np.uint64)
    symbols = np.empty(len(probs), np.uint8)
    for b in range(len(probs)):
        tabulate(probs[b], table)
        symbols[b] = pop(words, head, table)
    return symbols
