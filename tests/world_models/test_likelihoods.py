"""Laws of every likelihood of pixels."""

import math

import pytest
import torch
from torch import Tensor

from reverie.world_models.likelihoods import (
    LIKELIHOODS,
    GaussianPixels,
    Likelihood,
    LikelihoodName,
    LogisticPixels,
)

SHAPE, LEVELS = (2, 3, 2), 6
each = pytest.mark.parametrize("name", LIKELIHOODS)


def build(name: LikelihoodName, shape: tuple[int, ...] = (1, 1)) -> Likelihood:
    """Return a likelihood of bits, if it is of two values at most, or of six symbols."""
    likelihood = LIKELIHOODS[name](shape, LEVELS)
    return likelihood if likelihood.of_symbols or likelihood.continuous else bits(name, shape)


def bits(name: LikelihoodName, shape: tuple[int, ...]) -> Likelihood:
    return LIKELIHOODS[name](shape, 2)


def params(likelihood: Likelihood, n: int, seed: int = 0) -> Tensor:
    """Return parameters in float64, about as wide as those of a decoder."""
    generator = torch.Generator().manual_seed(seed)
    shape = n, likelihood.maps, *likelihood.shape
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def grid(likelihood: Likelihood) -> tuple[Tensor, float]:
    """Return all values of a pixel, and the size of the cell of each."""
    if likelihood.continuous:
        step = 1e-2
        return torch.arange(-60, 60, step, dtype=torch.float64), step
    return torch.arange(likelihood.levels, dtype=torch.float64), 1.0


def log_probs(likelihood: Likelihood, parameters: Tensor) -> Tensor:
    """Return the log-probability of every value of a frame of one pixel, [values, n]."""
    values, _ = grid(likelihood)
    distribution = likelihood.distribution(parameters)
    return distribution.log_prob(values.view(-1, 1, *[1] * len(likelihood.shape)))


@each
def test_probabilities_of_all_values_sum_to_one(name: LikelihoodName) -> None:
    likelihood = build(name)
    _, cell = grid(likelihood)
    for scale in (1.0, 5.0):
        parameters = scale * params(likelihood, 50)
        total = log_probs(likelihood, parameters).exp().sum(0) * cell
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


@each
@pytest.mark.parametrize("sign", [-1, 1])
def test_gradients_of_huge_parameters_are_finite(name: LikelihoodName, sign: int) -> None:
    likelihood = build(name, SHAPE)
    for kind in range(likelihood.maps):  # each map alone, and then all of them
        parameters = params(likelihood, 3).float()
        parameters[:, kind:] = sign * 1e4
        parameters.requires_grad_()
        frames = torch.randint(likelihood.levels, (3, *SHAPE), dtype=torch.uint8)
        value = likelihood.distribution(parameters).log_prob(likelihood.values(frames))
        (gradient,) = torch.autograd.grad(value.sum(), parameters)
        assert value.isfinite().all()
        assert gradient.isfinite().all()


@each
def test_gradients_are_finite_differences(name: LikelihoodName) -> None:
    likelihood = build(name, SHAPE)
    frames = torch.randint(likelihood.levels, (4, *SHAPE), dtype=torch.uint8)
    values = likelihood.values(frames)

    def log_prob(parameters: Tensor) -> Tensor:
        distribution = likelihood.distribution(parameters)
        return distribution.log_prob(values.double() if likelihood.continuous else values)

    parameters = params(likelihood, 4).requires_grad_()
    assert torch.autograd.gradcheck(log_prob, parameters)


@each
def test_samples_follow_the_probabilities(name: LikelihoodName) -> None:
    likelihood, n = build(name), 20_000
    parameters = params(likelihood, 1, seed=3)
    samples = likelihood.distribution(parameters.expand(n, -1, -1, -1)).sample().flatten()
    values, cell = grid(likelihood)
    probs = log_probs(likelihood, parameters)[:, 0].exp() * cell
    if likelihood.continuous:  # in cells of about equal probability
        index = (probs.cumsum(0) * 20).floor().clamp(max=19).long()
        probs = torch.zeros(20, dtype=torch.float64).index_add_(0, index, probs)
        samples = index[((samples - values[0]) / cell).round().long()]
    observed = torch.bincount(samples.long(), minlength=len(probs))
    assert len(observed) == len(probs)
    # Pearson's statistic has a mean of at most 19 and a standard deviation of at most 6.2.
    assert float(((observed - n * probs) ** 2 / (n * probs)).sum()) < 50


@each
def test_an_image_is_the_mean(name: LikelihoodName) -> None:
    likelihood = build(name)
    parameters = params(likelihood, 50)
    values, cell = grid(likelihood)
    mean = (log_probs(likelihood, parameters).exp() * values[:, None]).sum(0) * cell
    expected = mean if likelihood.continuous else mean / (likelihood.levels - 1)
    torch.testing.assert_close(likelihood.image(parameters).flatten().double(), expected)


@each
def test_initial_parameters_are_better_than_none(name: LikelihoodName) -> None:
    """They fit the first batch, and so constant pixels, whose cost is less than a quarter bit."""
    likelihood = build(name, SHAPE)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(likelihood.levels, (64, *SHAPE), generator=generator, dtype=torch.uint8)
    frames[:, 0], frames[:, 1, 0] = 1, 0
    values = likelihood.values(frames)
    initial = likelihood.initial(values)
    assert initial.shape == (likelihood.maps, *SHAPE)
    none = likelihood.distribution(torch.zeros_like(initial)[None]).log_prob(values)
    fitted = likelihood.distribution(initial[None]).log_prob(values)
    assert fitted.mean() > none.mean() + 1
    if not likelihood.continuous:
        constant = build(name).distribution(initial[None, :, 0, :1, :1])
        assert float(constant.log_prob(values[:, 0, :1, :1]).mean()) > -0.25 * math.log(2)


@each
def test_an_encoder_gets_pixels_in_0_to_1(name: LikelihoodName) -> None:
    likelihood = build(name, SHAPE)
    frames = torch.randint(likelihood.levels, (4, *SHAPE), dtype=torch.uint8)
    inputs = likelihood.inputs(likelihood.values(frames))
    torch.testing.assert_close(inputs, frames.float() / (likelihood.levels - 1))


@each
def test_a_single_symbol_is_certain(name: LikelihoodName) -> None:
    likelihood = LIKELIHOODS[name]((1, 1), 1)
    if likelihood.of_symbols:
        parameters = params(likelihood, 3)
        value = likelihood.distribution(parameters).log_prob(torch.zeros(3, 1, 1))
        torch.testing.assert_close(value, torch.zeros_like(value))


def test_a_frame_of_more_than_two_levels_is_binarized_at_its_mean() -> None:
    frames = torch.tensor([[[[0, 10], [20, 200]]]], dtype=torch.uint8)
    values = LIKELIHOODS["bernoulli"]((1, 2, 2), 256).values(frames)
    assert values.tolist() == [[[[0, 0], [0, 1]]]]


def test_the_standard_deviation_of_a_gaussian_pixel_has_a_minimum() -> None:
    likelihood = GaussianPixels((2, 2), 256, min_std=0.05)
    parameters = torch.stack([torch.randn(5, 2, 2), torch.full((5, 2, 2), -50.0)], 1)
    std = likelihood.distribution(parameters).stddev
    torch.testing.assert_close(std, torch.full_like(std, 0.05))


def test_a_logistic_pixel_by_hand() -> None:
    """One component of mean 0.5 and scale 1 / 4 on 3 levels, whose bins end at 1/4 and 3/4."""
    likelihood = LogisticPixels((1, 1), 3, components=1)
    parameters = torch.tensor([0.0, 0.5, -1.3862944], dtype=torch.float64).view(1, 3, 1, 1)
    tail = 1 / (1 + torch.tensor(1.0, dtype=torch.float64).exp())
    expected = torch.stack([tail, 1 - 2 * tail, tail])
    torch.testing.assert_close(log_probs(likelihood, parameters)[:, 0].exp(), expected)
