"""Tests of normalizing flows of symbols, beyond the laws of the density role."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from zuko.transforms import MonotonicRQSTransform  # type: ignore[import-untyped]

from reverie.world_models.density.bound import BoundDensity
from reverie.world_models.density.flow import Flow, FlowConfig, pyramid
from reverie.world_models.density.histogram import HistogramConfig
from reverie.world_models.density.pixel_transforms import Affine, Spline
from reverie.world_models.inference.bounds import ELBO

from sample_models import random_frames

CONFIGS = {
    name: FlowConfig(transform=name, layers=4, maps=4) for name in ("spline", "affine", "additive")
}
of_every_transform = pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))


def perturbed(config: FlowConfig, shape: tuple[int, int], levels: int, size: float = 0.5) -> Flow:
    """Return a flow in float64 whose weights are far from the initial ones."""
    torch.manual_seed(0)
    flow = Flow(config, shape, levels).double()
    for parameter in flow.parameters():
        parameter.data += size * torch.randn_like(parameter)
    return flow


def points(n: int, shape: tuple[int, int], levels: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, *shape, generator=generator, dtype=torch.float64) * levels


@of_every_transform
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (3, 3), (5, 4)])
def test_the_inverse_returns_the_point(config: FlowConfig, shape: tuple[int, int]) -> None:
    flow, v = perturbed(config, shape, 5, size=0.3), points(50, shape, 5)
    with torch.no_grad():
        torch.testing.assert_close(flow.inverse(flow(v)[0]), v, rtol=0, atol=1e-5)


@of_every_transform
def test_the_log_determinant_is_that_of_the_jacobian(config: FlowConfig) -> None:
    flow = perturbed(config, (3, 3), 4)
    for v in points(5, (3, 3), 4):
        jacobian = torch.autograd.functional.jacobian(lambda v: flow(v[None])[0][0], v)
        expected = torch.linalg.slogdet(jacobian.view(9, 9)).logabsdet
        torch.testing.assert_close(flow(v[None])[1].sum(), expected)
        assert (jacobian.view(9, 9) != 0).sum() > 15, "pixels depend on each other"


@of_every_transform
def test_the_box_has_mass_one(config: FlowConfig) -> None:
    levels, n = 3, 300
    t = (torch.arange(n, dtype=torch.float64) + 0.5) * math.pi / n
    v, step = levels * (1 - t.cos()) / 2, levels * t.sin() / 2 * math.pi / n  # fine at the borders
    grid = torch.cartesian_prod(v, v).view(-1, 1, 2)
    with torch.no_grad():
        log_prob = perturbed(config, (1, 2), levels, size=0.3).prior().log_prob(grid)
    mass = log_prob.exp() @ torch.outer(step, step).flatten()
    assert float(mass) == pytest.approx(1, abs=0.01)


@of_every_transform
def test_gradients_are_finite_at_the_borders_of_the_box(config: FlowConfig) -> None:
    flow = Flow(config, (2, 2), 8)
    for parameter in flow.parameters():
        parameter.data += 3 * torch.randn_like(parameter)
    v = torch.tensor([0.0, 8.0, 0.0, 8.0]).view(1, 2, 2).requires_grad_()
    flow.prior().log_prob(v).sum().backward()
    for x in (v, *flow.parameters()):
        assert x.grad is None or x.grad.isfinite().all()
    assert v.grad is not None


@of_every_transform
@pytest.mark.parametrize("dequantize", ["uniform", "learned"])
def test_the_bound_approaches_the_evidence_from_below(config: FlowConfig, dequantize: str) -> None:
    config = replace(config, dequantize=dequantize)  # type: ignore[arg-type]
    levels, n = 2, 200
    flow = perturbed(config, (1, 2), levels, size=0.3)
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    cell = torch.cartesian_prod(u, u).view(-1, 1, 2)
    symbols = torch.arange(levels)
    for x in torch.cartesian_prod(symbols, symbols).view(-1, 1, 1, 2):
        with torch.no_grad():
            evidence = flow.prior().log_prob(cell + x[0]).logsumexp(0) - 2 * math.log(n)
            weights = flow.weigh(x, 20_000).log_weights()[:, 0]
        assert float(weights.mean()) < evidence + 0.01
        assert float(weights.logsumexp(0)) - math.log(20_000) == pytest.approx(
            float(evidence), abs=0.05
        )


def test_the_spline_is_that_of_the_paper_where_it_has_no_kinks() -> None:
    levels = bins = 6
    torch.manual_seed(0)
    logits = torch.randn(1, 1, 1, bins, dtype=torch.float64)
    slopes = (0.5 * torch.randn(bins + 1, dtype=torch.float64)).exp()
    reference = MonotonicRQSTransform(*torch.zeros(3, bins), bound=1)
    heights = Spline(levels, bins)._heights(torch.cat([logits] * 3, -1))[0, 0, 0]
    reference.horizontal = torch.linspace(-1, 1, bins + 1, dtype=torch.float64)
    reference.vertical = 2 * torch.cat([torch.zeros(1), heights.cumsum(0)]) - 1
    reference.derivatives = slopes
    chords = heights * bins
    relative = torch.cat([slopes[:-1] / chords, slopes[1:] / chords])
    params = torch.cat([logits, (4 * (relative.log() / 4).atanh()).view(1, 1, 1, -1)], -1)
    v = points(1, (1, 40), levels)
    z, log_slope = Spline(levels, bins).forward(v, params.expand(1, 1, 40, -1))
    expected, log_derivative = reference.call_and_ladj(2 * v / levels - 1)
    torch.testing.assert_close(2 * z - 1, expected)
    torch.testing.assert_close(log_slope + math.log(levels), log_derivative)


@pytest.mark.parametrize(("levels", "bins"), [(8, 16), (8, 8), (3, 2)])
def test_a_new_spline_is_the_histogram_of_its_frames(levels: int, bins: int) -> None:
    frames = random_frames(30, (5, 4), levels)
    flow = BoundDensity(FlowConfig(bins=bins), (5, 4), levels)
    histogram = HistogramConfig().build(shape=(5, 4), levels=levels)
    histogram.observe(frames)
    flow.net.initialize_from(frames.long())
    if bins >= levels:
        torch.testing.assert_close(
            flow.log_prob(frames), histogram.log_prob(frames), rtol=0, atol=0.01
        )
    heights = flow.net.transform._heights(flow.net.params)  # type: ignore[attr-defined]
    torch.testing.assert_close(heights.sum(-1), torch.ones(5, 4))


def bits_of_constant_frames(config: FlowConfig, updates: int) -> float:
    """Return the bits per pixel of frames that never change, after some updates."""
    frames = torch.full((8, 3, 3), 3, dtype=torch.uint8)
    density = config.build(shape=(3, 3), levels=8)
    for _ in range(updates):
        density.update(frames)
    return -float(density.log_prob(frames).mean()) / 9 / math.log(2)


@pytest.mark.parametrize("symbol", range(8))
def test_a_new_affine_map_has_the_moments_of_its_pixel(symbol: int) -> None:
    """Those of the logits of a pixel that is constant but for the prior of the histogram."""
    histogram = torch.full((1, 1, 8), 1 / 8 / 2001, dtype=torch.float64)
    histogram[..., symbol] += 2000 / 2001
    affine = Affine(8)
    points = torch.arange(128).double().add(0.5) / 16
    params = affine.initial(histogram).expand(128, 1, 1, 2)
    noise, _ = affine.forward(points.view(-1, 1, 1), params)
    weights = histogram[0, 0].repeat_interleave(16) / 16
    mean = (weights * noise[:, 0, 0]).sum()
    assert float(mean) == pytest.approx(0, abs=1e-3)
    assert float((weights * noise[:, 0, 0].square()).sum()) == pytest.approx(1, abs=1e-3)


def test_a_constant_pixel_costs_an_affine_flow_the_floor_and_a_spline_nothing() -> None:
    # A Gaussian beside uniform noise: the divergence is log2(2 pi e / 12) / 2 bits.
    floor = math.log2(2 * math.pi * math.e / 12) / 2
    config = FlowConfig(layers=2, maps=4, samples=8, alpha=ELBO, learning_rate=1e-2)
    affine = bits_of_constant_frames(replace(config, transform="affine"), 200)
    assert affine == pytest.approx(floor, abs=0.1), "of 72 draws of noise"
    assert bits_of_constant_frames(replace(config, transform="spline"), 200) < 0.02


def test_learned_noise_passes_below_the_floor() -> None:
    config = FlowConfig(layers=2, maps=4, samples=8, alpha=ELBO, learning_rate=1e-2)
    config = replace(config, transform="affine", dequantize="learned")
    assert bits_of_constant_frames(config, 300) < 0.2


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 3), (42, 42)])
def test_every_pixel_is_taken_once_at_most_and_given_those_left(shape: tuple[int, int]) -> None:
    left = torch.ones(1, *shape, dtype=torch.bool)
    for kept, taken in pyramid(shape, 100):
        assert left[kept].all()
        assert left[taken].all()
        left[taken] = False
        assert left[kept].sum() == left.sum()
    assert left.sum() == 1
