"""The orderless density: enumeration over all orders, its groups, and its conditionals."""

from dataclasses import replace
from itertools import permutations
from math import log

import pytest
import torch
from torch import Tensor

from reverie.world_models.density.capabilities import OrderlessDensity, PixelwiseDensity
from reverie.world_models.density.orderless import Orderless, OrderlessConfig, group_of_rank

from sample_models import random_frames

SHAPE, LEVELS = (2, 2), 3
ORDERS = torch.tensor(list(permutations(range(4))))
"""The rank of each of 4 pixels, in each of the 24 orders."""


def build(passes: int = 4, samples: int = 16) -> Orderless:
    """A trained density of 2 x 2 frames, whose weights are far from those of the histogram."""
    config = replace(OrderlessConfig().example(), passes=passes, samples=samples)
    density = Orderless(config, SHAPE, LEVELS)
    density.update(random_frames(20))
    generator = torch.Generator().manual_seed(1)
    for parameter in density.net.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) / 5
    return density


def all_frames() -> Tensor:
    return torch.cartesian_prod(*[torch.arange(LEVELS, dtype=torch.uint8)] * 4).view(-1, *SHAPE)


def enumerated(density: Orderless, sizes: tuple[int, ...]) -> Tensor:
    """Return p(frame | order) by the conditionals alone, [24, 81], for groups of these sizes."""
    frames = all_frames()
    group_of = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    probs = torch.ones(len(ORDERS), len(frames), dtype=torch.float64)
    for row, ranks in zip(probs, ORDERS, strict=True):
        group = group_of[ranks].view(SHAPE).expand(frames.shape)
        for g in range(len(sizes)):
            p = density.conditional_given(frames, group < g).double()
            p = p.gather(-1, frames.long()[..., None])[..., 0]
            row *= torch.where(group == g, p, 1).prod(2).prod(1)
    return probs


@pytest.mark.parametrize(("passes", "sizes"), [(1, (4,)), (2, (1, 3)), (4, (1, 1, 1, 1))])
@torch.no_grad()
def test_the_mean_over_all_orders_is_the_density(passes: int, sizes: tuple[int, ...]) -> None:
    density = build(passes, samples=2_000)
    assert torch.equal(density.net.group_of_rank.bincount(), torch.tensor(sizes))
    expected = enumerated(density, sizes)
    torch.testing.assert_close(expected.sum(1), torch.ones(24).double(), rtol=0, atol=1e-5)
    times = (ORDERS / 4).view(24, 1, *SHAPE).expand(-1, 81, -1, -1)  # one for each order
    log_probs = density.net.likelihood(times).log_prob(all_frames().long())
    torch.testing.assert_close(log_probs.exp(), expected, rtol=1e-4, atol=1e-7)
    # The bound is the mean over sampled orders, so it is near the mean over all.
    some = slice(None, None, 10)
    found = density.log_prob(all_frames()[some])
    torch.testing.assert_close(found, expected.mean(0).log()[some], rtol=0, atol=0.1)


@torch.no_grad()
def test_a_bound_of_few_orders_is_below_the_evidence() -> None:
    density = build(samples=1)
    evidence = enumerated(density, (1, 1, 1, 1)).mean(0).log()
    gap = evidence - density.log_prob(all_frames())  # of 81 independent draws of an order
    assert float(gap.mean()) > 0.01
    tighter = replace(density.config, samples=16)
    density.config = tighter
    assert (evidence - density.log_prob(all_frames())).mean() < gap.mean() / 2


def test_the_objective_is_an_unbiased_estimate_of_the_elbo() -> None:
    density, frame = build(passes=2), random_frames(1)
    index = int((frame.flatten() * 3 ** torch.arange(3, -1, -1)).sum())
    elbo = enumerated(density, (1, 3))[:, index].log().mean()
    torch.manual_seed(0)
    with torch.no_grad():
        estimates = density._objective(frame.expand(8_000, 2, 2))
    error = estimates.std() / len(estimates) ** 0.5
    assert float((estimates.mean() - elbo).abs()) < 4 * float(error) < 0.1


def test_conditionals_are_distributions_that_read_known_pixels_alone() -> None:
    density, x = build(), random_frames(6)
    assert isinstance(density, OrderlessDensity)
    assert not isinstance(density, PixelwiseDensity)
    known = torch.rand(6, 2, 2, generator=torch.Generator().manual_seed(0)) < 0.5
    probs = density.conditional_given(x, known)
    torch.testing.assert_close(probs.sum(-1), torch.ones(6, 2, 2))
    assert torch.equal(probs[known].argmax(-1), x[known].long())
    assert torch.equal(probs[known].max(-1).values, torch.ones(int(known.sum())))
    changed = torch.where(known, x, (x + 1) % LEVELS)
    assert torch.equal(density.conditional_given(changed, known), probs)
    other = torch.where(known, (x + 1) % LEVELS, x)
    assert not torch.allclose(density.conditional_given(other, known)[~known], probs[~known])


@pytest.mark.parametrize(("pixels", "passes"), [(1, 16), (4, 16), (16, 16), (17, 16), (1764, 16)])
def test_groups_are_non_empty_and_grow(pixels: int, passes: int) -> None:
    sizes = group_of_rank(pixels, passes).bincount()
    assert len(sizes) == min(passes, pixels)
    assert int(sizes.sum()) == pixels
    assert int(sizes.min()) >= 1
    assert int(sizes.diff().min() if len(sizes) > 1 else 0) >= -1  # up to rounding


def test_it_learns_what_a_histogram_cannot() -> None:
    # The right half repeats the left one, at random: 2 bits of 4 are left.
    left = torch.randint(2, (800, 2, 1), generator=torch.Generator().manual_seed(0))
    frames = left.expand(-1, -1, 2).to(torch.uint8)
    density = replace(OrderlessConfig().example(), learning_rate=1e-2, passes=4).build(
        shape=SHAPE, levels=2
    )
    for batch in torch.split(frames, 20):
        density.update(batch)
    bits = -density.log_prob(frames[:20]).mean() / log(2)
    assert 1.9 < float(bits) < 2.5
