"""MADE: its masks, its mixture of orders, and where its training begins."""

from dataclasses import replace
from math import log, prod

import pytest
import torch
from torch import Tensor

from reverie.world_models.density.capabilities import PixelwiseDensity, SequentialDensity
from reverie.world_models.density.made import MADE, MADEConfig, MaskedAutoencoder, MixtureOfOrders

from sample_models import random_frames

THREE_ORDERS = replace(MADEConfig().example(), orders=3)


def perturb(net: torch.nn.Module) -> None:
    """Give every weight a value, so that a dependence shows unless a mask removes it."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) / 4


def all_frames(shape: tuple[int, int], levels: int) -> Tensor:
    symbols = torch.arange(levels, dtype=torch.uint8)
    return torch.cartesian_prod(*[symbols] * prod(shape)).view(-1, *shape)


@pytest.mark.parametrize("layers", [1, 2, 3])
@torch.no_grad()
def test_a_pixel_depends_on_exactly_the_pixels_before_it(layers: int) -> None:
    shape, levels = (3, 4), 3
    torch.manual_seed(0)
    net = MaskedAutoencoder(shape, levels, hidden=200, layers=layers, orders=3)
    perturb(net)
    x = random_frames(32, shape, levels)
    for order, ranks in enumerate(net.ranks):
        logits = net(x, order).flatten(2)
        for pixel, rank in enumerate(ranks):
            changed = x.clone()
            changed.flatten(1)[:, pixel] = (x.flatten(1)[:, pixel] + 1) % levels
            depends = (net(changed, order).flatten(2) != logits).any(1).any(0)
            assert torch.equal(depends, ranks > rank)  # the Jacobian is zero where masked


def test_the_first_order_is_that_of_the_raster_and_the_others_are_random() -> None:
    net = MaskedAutoencoder((3, 4), 3, hidden=8, layers=1, orders=3)
    assert torch.equal(net.ranks[0], torch.arange(12))
    assert torch.equal(net.ranks.sort(1).values, torch.arange(12).expand(3, 12))
    assert len(set(map(tuple, net.ranks.tolist()))) == 3


@torch.no_grad()
def test_three_orders_are_the_mean_of_three_distributions() -> None:
    density = THREE_ORDERS.build(shape=(2, 2), levels=3)
    assert isinstance(density, MixtureOfOrders)
    density.observe(random_frames(10))
    perturb(density.net)
    frames = all_frames((2, 2), 3)
    of_orders = torch.stack([chain_rule(density.net, frames, k) for k in range(3)])
    torch.testing.assert_close(of_orders.sum(1), torch.ones(3).double(), rtol=0, atol=1e-6)
    assert (of_orders[0] - of_orders[1]).abs().max() > 1e-3
    torch.testing.assert_close(
        density.log_prob(frames).exp(), of_orders.mean(0), rtol=1e-5, atol=1e-9
    )
    samples = density.sample(4_000).flatten(1).long()
    observed = torch.bincount((samples * 3 ** torch.arange(3, -1, -1)).sum(1), minlength=81)
    expected = 4_000 * of_orders.mean(0)
    # Pearson's statistic has mean 80 and standard deviation 12.6.
    assert float(((observed - expected) ** 2 / expected).sum()) < 140


def chain_rule(net: MaskedAutoencoder, frames: Tensor, order: int) -> Tensor:
    """Return the probability of each frame, pixel by pixel in an order, zeros ahead of it."""
    prob, x = torch.ones(len(frames), dtype=torch.float64), torch.zeros_like(frames)
    for pixel in net.ranks[order].argsort().tolist():
        symbols = frames.flatten(1)[:, pixel]
        probs = net.pixel_logits(x, pixel, order).softmax(1).double()
        prob *= probs.gather(1, symbols[:, None].long())[:, 0]
        x.flatten(1)[:, pixel] = symbols
    return prob


def test_only_one_order_is_sequential() -> None:
    one, several = (c.build(shape=(2, 2), levels=3) for c in (MADEConfig(), THREE_ORDERS))
    assert isinstance(one, MADE)
    assert isinstance(one, SequentialDensity)
    assert not isinstance(several, PixelwiseDensity | SequentialDensity)


@pytest.mark.parametrize("orders", [1, 3])
def test_a_mixture_of_one_order_equals_it_and_training_begins_at_the_histogram(orders: int) -> None:
    density = replace(MADEConfig(hidden=16, learning_rate=1e-9), orders=orders).build(
        shape=(2, 2), levels=2
    )
    frames = random_frames(8, (2, 2), 2)
    density.update(frames)  # of hardly any length
    expected = (frames.sum(0) + 0.05) / 8.1  # a uniform prior of 0.1 frames
    p = torch.where(frames.bool(), expected, 1 - expected)
    torch.testing.assert_close(
        density.log_prob(frames), p.double().log().sum((1, 2)), rtol=1e-4, atol=1e-4
    )


def test_it_learns_what_a_histogram_cannot() -> None:
    # The right half repeats the left one, at random: 2 bits of 4 are left.
    left = torch.randint(2, (1_000, 2, 1), generator=torch.Generator().manual_seed(0))
    frames = left.expand(-1, -1, 2).to(torch.uint8)
    for orders in (1, 3):
        config = MADEConfig(hidden=32, orders=orders, learning_rate=1e-2)
        density = config.build(shape=(2, 2), levels=2)
        for batch in torch.split(frames, 20):
            density.update(batch)
        bits = -density.log_prob(frames[:50]).mean() / log(2)
        assert 1.9 < float(bits) < 2.5
