"""The entropy coder: round trips, its length, and constriction's coder beside it."""

import math
from typing import Any

import numpy as np
import pytest
from constriction import stream  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reverie.world_models.coding import rans

Probs = NDArray[np.float64]


def drawn(n: int, levels: int, sharpness: float, seed: int) -> tuple[Probs, NDArray[np.uint8]]:
    """Probabilities [n levels], the more unequal the sharper, and symbols drawn by them."""
    prng = np.random.default_rng(seed)
    logits = sharpness * prng.standard_normal((n, levels))
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    symbols = (probs.cumsum(1) < prng.random((n, 1))).sum(1).clip(max=levels - 1)
    return probs, symbols.astype(np.uint8)


def tables(probs: Probs) -> NDArray[np.uint64]:
    result = np.empty((len(probs), probs.shape[1] + 1), np.uint64)
    for each, table in zip(probs, result, strict=True):
        rans.tabulate(each, table)
    return result


def pushed(probs: Probs, symbols: NDArray[np.uint8]) -> tuple[NDArray[np.uint32], Any]:
    """The words of a message of symbols, and the coder's state."""
    intervals = np.empty((len(symbols), 2), np.uint32)
    rans.write_intervals(probs, symbols, intervals)
    words, head = (
        np.empty(len(symbols), np.uint32),
        np.array([rans.LOWEST, len(symbols)], np.uint64),
    )
    rans.push(intervals, words, head)
    return words[int(head[1]) :], head[0]


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 300), st.sampled_from([2, 3, 8, 256]), st.sampled_from([0.0, 1.0, 20.0, 300.0]),
    st.integers(0, 2**32 - 1), st.booleans(),
)  # fmt: skip
def test_symbols_come_back_and_the_coder_ends_where_it_began(
    n: int, levels: int, sharpness: float, seed: int, likely: bool
) -> None:
    probs, symbols = drawn(n, levels, sharpness, seed)
    if not likely:  # symbols of any probability, also of 0
        symbols = np.random.default_rng(seed).integers(levels, size=n).astype(np.uint8)
    words, state = pushed(probs, symbols)
    head = np.array([state, 0], np.uint64)
    np.testing.assert_array_equal(rans.pop_symbols(probs, words, head), symbols)
    assert head.tolist() == [rans.LOWEST, len(words)]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 100), st.sampled_from([0.0, 1.0, 20.0]), st.integers(0, 2**32 - 1))
def test_a_push_undoes_a_pop_of_any_message(n: int, sharpness: float, seed: int) -> None:
    """Bits-back coding depends on it: it pops a code from a message of other symbols."""
    prng = np.random.default_rng(seed)
    words = prng.integers(1 << 32, size=n, dtype=np.uint32)
    state = int(prng.integers(rans.LOWEST, 1 << 64, dtype=np.uint64))
    before, head = words.copy(), np.array([state, 0], np.uint64)
    probs, _ = drawn(n, 5, sharpness, seed)
    symbols = rans.pop_symbols(probs, words, head)
    taken = int(head[1])
    words[:taken] = 0
    intervals = np.empty((n, 2), np.uint32)
    rans.write_intervals(probs, symbols, intervals)
    rans.push(intervals, words, head)
    assert head.tolist() == [state, 0]
    np.testing.assert_array_equal(words, before)


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 10.0])
def test_the_length_is_that_of_the_probabilities(sharpness: float) -> None:
    probs, symbols = drawn(20_000, 8, sharpness, seed=0)
    words, state = pushed(probs, symbols)
    bits = 32 * len(words) + math.log2(int(state)) - 32
    expected = -np.log2(probs[np.arange(len(symbols)), symbols]).sum()
    assert bits == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "probs",
    [
        [1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0],
        [1 / 3, 1 / 3, 1 / 3],
        [0.5, 0.5 + 1e-7, 1e-12],
        [0.4999, 0.5, 0.0],
    ],
)
def test_every_symbol_has_a_frequency_near_its_probability(probs: list[float]) -> None:
    (table,) = tables(np.array([probs])).astype(np.int64)
    frequencies = np.diff(table)
    assert frequencies.sum() == 1 << rans.PRECISION
    assert frequencies.min() >= 1
    missing = 1 - sum(probs)  # goes to the last symbol
    expected = np.array(probs) + np.array([0, 0, max(missing, 0)])
    np.testing.assert_allclose(frequencies / (1 << rans.PRECISION), expected, atol=4e-7)


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 10.0])
def test_it_is_as_short_as_constriction_with_the_same_frequencies(sharpness: float) -> None:
    """Its coder has a state of 64 bits, words of 32 and frequencies of 24 bits, too."""
    probs, symbols = drawn(5000, 8, sharpness, seed=1)
    frequencies = np.diff(tables(probs).astype(np.int64)) / (1 << rans.PRECISION)
    coder = stream.stack.AnsCoder()
    model = stream.model.Categorical(perfect=False)
    coder.encode_reverse(symbols.astype(np.int32), model, frequencies)
    words, _ = pushed(probs, symbols)
    assert abs(4 * len(words) + 8 - coder.get_compressed().nbytes) <= 8
