"""Attention windows: writing and reading back, by hand and by finite differences."""

import math

import pytest
import torch
from torch import Tensor

from reverie.world_models.attention import (
    AttentionWindow,
    attention_window,
    center_and_stride_params,
    extent,
    gaussian_filters,
    read,
    write,
)

DOUBLE = torch.float64


def rows(*values: float) -> Tensor:
    return torch.tensor(values)


def test_filters_by_hand() -> None:
    """Two filters of variance 1/2 around position 1, two positions apart: exp(-d^2), normalized."""
    bank = gaussian_filters(rows(1.0), rows(2.0), rows(0.5), count=2, length=3)
    e1, e4 = math.exp(-1), math.exp(-4)
    near, far, total = 1.0, e4, 1 + e1 + e4
    expected = torch.tensor([[near, e1, far], [far, e1, near]]) / total
    torch.testing.assert_close(bank[0], expected)


def test_what_is_written_is_read_back() -> None:
    """Separate filters are orthogonal, and the gains of writing and reading cancel."""
    bank = gaussian_filters(rows(3.0, 5.5), rows(2.0, 1.0), rows(0.01, 0.01), count=4, length=12)
    window = AttentionWindow(bank, rows(0.3, 7.0))
    patch = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(read(write(patch, window), window), patch)
    line = write(patch, window) * window.gain[:, None, None]
    assert torch.equal(line[0, :, [0, 2, 4, 6]].round(decimals=4), patch[0].round(decimals=4))


def test_overlapping_filters_read_back_their_gram_matrix() -> None:
    bank = gaussian_filters(rows(4.0), rows(1.0), rows(2.0), count=3, length=10)
    window = AttentionWindow(bank, rows(2.0))
    patch = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(read(write(patch, window), window), patch @ (bank @ bank.mT))


def test_a_single_filter_selects_a_position_or_averages_all() -> None:
    """The limits of K = 1 at variance 0 and infinity; the stride has no effect."""
    line = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(2))
    center, ones = rows(2.0, 8.0), rows(1.0, 1.0)
    narrow = gaussian_filters(center, ones, ones * 1e-6, count=1, length=9)
    wide = gaussian_filters(center, ones * 50, ones * 1e9, count=1, length=9)
    assert torch.equal(read(line, AttentionWindow(narrow, ones))[0, :, 0], line[0, :, 2])
    assert torch.equal(read(line, AttentionWindow(narrow, ones))[1, :, 0], line[1, :, 8])
    torch.testing.assert_close(read(line, AttentionWindow(wide, ones))[:, :, 0], line.mean(2))
    patch = torch.ones(2, 4, 1)
    torch.testing.assert_close(
        write(patch, AttentionWindow(wide, ones)), torch.full((2, 4, 9), 1 / 9)
    )
    other = gaussian_filters(center, ones * 3, ones, count=1, length=9)
    assert torch.equal(other, gaussian_filters(center, ones, ones, count=1, length=9))


@pytest.mark.parametrize("variance", [1e-30, 1e-6, 1.0, 1e30])
@pytest.mark.parametrize("center", [-40.0, 2.4, 99.0])
def test_filters_are_distributions_at_any_center_and_variance(
    center: float, variance: float
) -> None:
    bank = gaussian_filters(rows(center), rows(0.3), rows(variance), count=5, length=7)
    assert torch.isfinite(bank).all()
    assert (bank >= 0).all()
    torch.testing.assert_close(bank.sum(2), torch.ones(1, 5))


def test_gradients_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(3)
    params = 0.5 * torch.randn(2, 4, dtype=DOUBLE, generator=generator)
    line = torch.randn(2, 3, 8, dtype=DOUBLE, generator=generator)
    patch = torch.randn(2, 3, 4, dtype=DOUBLE, generator=generator)
    inputs = [x.requires_grad_() for x in (params, line, patch)]

    def read_and_write(params: Tensor, line: Tensor, patch: Tensor) -> tuple[Tensor, Tensor]:
        window = attention_window(params, count=4, length=8)
        return read(line, window), write(patch, window)

    assert torch.autograd.gradcheck(read_and_write, inputs)


def test_the_zero_vector_covers_the_whole_line() -> None:
    """DRAW's parametrization: filters from first to last position, of variance 1 and gain 1."""
    window = attention_window(torch.zeros(1, 4), count=5, length=41)
    assert window.filters.argmax(2).tolist() == [[0, 10, 20, 30, 40]]
    assert float(window.gain) == 1.0


@pytest.mark.parametrize(("count", "length"), [(10, 500), (4, 20), (3, 3), (1, 7), (1, 1)])
def test_a_window_has_the_requested_center_and_stride(count: int, length: int) -> None:
    center = (count - 1) / 2
    params = center_and_stride_params(center, 1.0, count=count, length=length)
    window = attention_window(torch.tensor([[*params, -6.0, 0.0]]), count=count, length=length)
    positions = torch.arange(length, dtype=torch.float32)
    means = window.filters[0] @ positions
    tolerance = 0.3 if count == 1 else 0.01  # a center at either end is moved inside
    assert float((means - torch.arange(count)).abs().max()) < tolerance


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_writing_is_the_transpose_of_reading_but_for_the_gain(axes: int) -> None:
    """<read(x), patch> = gain^2 <x, write(patch)>, where gain is the product over the axes."""
    generator = torch.Generator().manual_seed(4)
    lengths, counts = (7, 5, 6)[:axes], (3, 2, 4)[:axes]
    params = torch.randn(axes, 2, 4, dtype=DOUBLE, generator=generator)
    windows = [
        attention_window(p, count=k, length=t)
        for p, k, t in zip(params, counts, lengths, strict=True)
    ]
    x = torch.randn(2, 3, *lengths, dtype=DOUBLE, generator=generator)
    patch = torch.randn(2, 3, *counts, dtype=DOUBLE, generator=generator)
    gain = torch.stack([w.gain for w in windows]).prod(0)
    reading = (read(x, *windows) * patch).flatten(1).sum(1)
    writing = (x * write(patch, *windows)).flatten(1).sum(1)
    torch.testing.assert_close(reading, gain.square() * writing)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_narrow_filters_at_integer_positions_crop(axes: int) -> None:
    """Filters one position apart select exactly, along each axis in order."""
    lengths, counts, starts = (9, 8, 7)[:axes], (3, 4, 2)[:axes], (2, 1, 4)[:axes]
    x = torch.randn(1, *lengths, generator=torch.Generator().manual_seed(5))
    windows = [
        AttentionWindow(
            gaussian_filters(rows(s + (k - 1) / 2), rows(1.0), rows(1e-6), count=k, length=t),
            rows(1.0),
        )
        for s, k, t in zip(starts, counts, lengths, strict=True)
    ]
    place = tuple(slice(s, s + k) for s, k in zip(starts, counts, strict=True))
    crop = x[0][place]
    assert torch.equal(read(x, *windows)[0], crop)
    canvas = torch.zeros_like(x)
    canvas[0][place] = crop
    assert torch.equal(write(crop[None], *windows), canvas)


def test_the_extent_is_of_the_positions_written() -> None:
    """Narrow filters end at the edges of their positions; one wide filter has its deviation."""
    several = gaussian_filters(rows(4.0), rows(1.0), rows(1e-6), count=3, length=9)
    torch.testing.assert_close(extent(AttentionWindow(several, rows(1.0)))[0], rows(3.0, 6.0))
    narrow = gaussian_filters(rows(4.0), rows(1.0), rows(1e-6), count=1, length=9)
    torch.testing.assert_close(extent(AttentionWindow(narrow, rows(1.0)))[0], rows(4.0, 5.0))
    middle = gaussian_filters(rows(50.0), rows(1.0), rows(2.25), count=1, length=99)
    torch.testing.assert_close(extent(AttentionWindow(middle, rows(1.0)))[0], rows(49.0, 52.0))
