"""Tests of the density role, for every member of DENSITIES and every latent-variable model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.envs.errors import UsageError
from reverie.experiments.runs.checkpoints import Checkpoints
from reverie.world_models.density.capabilities import (
    LocalDensity,
    PixelwiseDensity,
    SequentialDensity,
)
from reverie.world_models.density.frames import check_frames
from reverie.world_models.interface import Density

from sample_models import DENSITY_EXAMPLES, assert_same_state, random_frames

pytestmark = pytest.mark.parametrize("name", DENSITY_EXAMPLES)


def build(name: str, shape: tuple[int, int] = (2, 2), levels: int = 3, seed: int = 0) -> Density:
    return DENSITY_EXAMPLES[name].build(shape=shape, levels=levels, seed=seed)


def is_bound(name: str) -> bool:
    """Whether the log-probability is an estimated bound, with noisy sums and gains."""
    return DENSITY_EXAMPLES[name].kind == "bound"


def all_frames(shape: tuple[int, int], levels: int) -> Tensor:
    symbols = torch.arange(levels, dtype=torch.uint8)
    return torch.cartesian_prod(*[symbols] * (shape[0] * shape[1])).view(-1, *shape)


def test_it_implements_the_protocol(name: str) -> None:
    assert isinstance(build(name), Density)


@pytest.mark.parametrize(("shape", "levels"), [((2, 2), 2), ((2, 2), 3), ((1, 4), 3), ((3, 3), 2)])
def test_probabilities_sum_to_one(name: str, shape: tuple[int, int], levels: int) -> None:
    # In 3 x 3 frames this fails if a pixel's prediction depends on itself or a later pixel.
    density, frames = build(name, shape, levels), all_frames(shape, levels)
    noise = 0.3 if is_bound(name) else 1e-5
    assert float(density.log_prob(frames).exp().sum()) == pytest.approx(1, abs=noise)
    density.observe(random_frames(20, shape, levels))
    assert float(density.log_prob(frames).exp().sum()) == pytest.approx(1, abs=noise)


def test_log_probs_of_pixels_sum_to_that_of_the_frame(name: str) -> None:
    density, frames = build(name, (5, 4)), random_frames(6, (5, 4))
    density.observe(random_frames(20, (5, 4), seed=1))
    if is_bound(name):
        assert not isinstance(density, PixelwiseDensity), "a bound is of the whole frame"
    if not isinstance(density, PixelwiseDensity):
        return
    log_probs = density.pixel_log_probs(frames)
    torch.testing.assert_close(
        log_probs.double().sum((1, 2)), density.log_prob(frames), rtol=1e-6, atol=1e-5
    )
    # Later pixels in raster order do not affect a pixel.
    changed = frames.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % 3
    torch.testing.assert_close(density.pixel_log_probs(changed)[:, :3], log_probs[:, :3])
    assert not torch.allclose(density.pixel_log_probs(changed)[:, 3:], log_probs[:, 3:])


def test_conditionals_are_distributions_that_multiply_to_the_frame(name: str) -> None:
    density, frames = build(name, (4, 5)), random_frames(6, (4, 5))
    if not isinstance(density, SequentialDensity):
        return
    density.observe(random_frames(20, (4, 5), seed=1))
    log_probs = density.pixel_log_probs(frames).double()
    for i, j in np.ndindex(4, 5):
        probs = density.conditional(frames, i, j)
        torch.testing.assert_close(probs.sum(1), torch.ones_like(probs[:, 0]), rtol=0, atol=1e-6)
        found = probs.gather(1, frames[:, i, j, None].long()).log()[:, 0].double()
        torch.testing.assert_close(found, log_probs[:, i, j], rtol=1e-5, atol=1e-5)
        unknown = frames.clone()  # a pixel and all later ones are not read
        unknown[:, i, j:] = unknown[:, i + 1 :] = 2
        assert torch.equal(density.conditional(unknown, i, j), probs)


def test_a_local_conditional_reads_no_pixel_beyond_its_radius(name: str) -> None:
    density, (frames, others) = build(name, (8, 14)), torch.split(random_frames(4, (8, 14)), 2)
    if not isinstance(density, LocalDensity):
        return
    density.observe(random_frames(20, (8, 14), seed=1))
    i, j, radius = 7, 7, density.radius
    window = slice(max(i - radius, 0), None), slice(max(j - radius, 0), j + radius + 1)
    others = others.clone()
    others[:, *window] = frames[:, *window]
    found = [density.conditional(x, i, j) for x in (frames, others)]
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-7)


def test_log_prob_makes_no_update(name: str) -> None:
    density, untouched = build(name), build(name)
    for each in (density, untouched):
        each.observe(random_frames(10))
    first = density.log_prob(all_frames((2, 2), 3))
    assert torch.equal(density.log_prob(all_frames((2, 2), 3)), first)
    assert_same_state(density, untouched)


def test_log_probs_do_not_depend_on_the_batch(name: str) -> None:
    density, frames = build(name), random_frames(12)
    density.observe(random_frames(10, seed=1))
    singles = torch.cat([density.log_prob(frame[None]) for frame in frames])
    torch.testing.assert_close(density.log_prob(frames), singles, rtol=1e-5, atol=1e-5)


def test_observing_a_batch_is_observing_each_frame_in_order(name: str) -> None:
    batched, single, frames = build(name), build(name), random_frames(20 if is_bound(name) else 70)
    before, after = batched.observe(frames)
    pairs = [single.observe(frame[None]) for frame in frames]
    torch.testing.assert_close(before, torch.cat([pair[0] for pair in pairs]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(after, torch.cat([pair[1] for pair in pairs]), rtol=1e-9, atol=1e-9)
    assert_same_state(batched, single)


def test_observe_returns_the_results_of_log_prob(name: str) -> None:
    density = build(name)
    for frame in torch.split(random_frames(10), 1):
        expected_before = density.log_prob(frame)
        before, after = density.observe(frame)
        torch.testing.assert_close(before, expected_before, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(after, density.log_prob(frame), rtol=1e-9, atol=1e-9)


def test_observe_works_under_no_grad_and_returns_no_gradients(name: str) -> None:
    inside, outside = build(name), build(name)
    with torch.no_grad():
        inside.observe(random_frames(5))
    before, after = outside.observe(random_frames(5))
    assert not before.requires_grad
    assert not after.requires_grad
    assert_same_state(inside, outside)


def test_observed_frames_become_more_probable(name: str) -> None:
    frame = random_frames(1, (5, 5))
    before, after = build(name, (5, 5)).observe(frame.repeat(30, 1, 1))
    if is_bound(name):  # single gains are noisy
        left = -float(before[10])  # a nat is told from the noise, or a fifth where less is left
        assert left + float(after[-1]) > min(1.0, left / 5)
    else:
        assert (after > before).all()
    assert float(after[-1]) > float(before[0]) + 1


def test_pseudo_counts_grow_with_visits(name: str) -> None:
    # Ostrovski et al. 2017, section 4.3, c = 0.1: at a constant learning rate the gain does not
    # vanish, and counts grow by its decay with the number of frames.
    frame = random_frames(1, (5, 5))
    before, after = build(name, (5, 5)).observe(frame.repeat(100, 1, 1))
    visits = torch.arange(1, 101)
    gain = after - before
    if is_bound(name):
        gain = gain.clamp(min=1e-3)  # noise can make a gain negative
    counts = 1 / (0.1 * visits**-0.5 * gain).expm1()
    assert counts.min() > 0
    assert counts[-10:].median() > 2 * counts[:10].median()


def test_a_restored_density_continues_exactly(name: str, tmp_path: Path) -> None:
    density, resumed, n = build(name), build(name, seed=1), 15 if is_bound(name) else 40
    density.observe(random_frames(n))
    density.sample(3)
    Checkpoints(tmp_path).save(0, density.state_dict())
    resumed.load_state_dict(Checkpoints(tmp_path).load() or {})
    for each in (density, resumed):
        each.observe(random_frames(n, seed=1))
    assert_same_state(density, resumed)
    assert torch.equal(density.sample(50), resumed.sample(50))


def test_a_saved_state_does_not_change_with_the_density(name: str) -> None:
    density = build(name)
    density.observe(random_frames(5))
    saved = density.state_dict()
    resumed = build(name)
    resumed.load_state_dict(saved)
    expected = resumed.log_prob(random_frames(5))
    resumed.observe(random_frames(20, seed=1))
    density.observe(random_frames(20, seed=2))
    resumed.load_state_dict(saved)
    assert torch.equal(resumed.log_prob(random_frames(5)), expected)


def test_samples_follow_the_model(name: str) -> None:
    shape, levels, n = (2, 2), 2, 4000
    config = DENSITY_EXAMPLES[name]
    if is_bound(name):
        config = replace(config, samples=1000)  # type: ignore[call-arg]
    density = config.build(shape=shape, levels=levels, seed=0)
    density.observe(random_frames(40, shape, levels))
    samples = density.sample(n)
    assert samples.dtype == torch.uint8
    assert samples.shape == (n, *shape)
    assert int(samples.max()) < levels
    powers = 2 ** torch.arange(3, -1, -1)
    observed = torch.bincount((samples.flatten(1) * powers).sum(1), minlength=16)
    expected = n * density.log_prob(all_frames(shape, levels)).exp()
    # Pearson's statistic has mean 15 and standard deviation 5.5; more than 45 is one in 10,000.
    assert float(((observed - expected) ** 2 / expected).sum()) < 45


def test_the_seed_determines_results_and_the_global_generator_is_unchanged(name: str) -> None:
    state = torch.get_rng_state()
    same, again, other = build(name, seed=5), build(name, seed=5), build(name, seed=6)
    for density in (same, again, other):
        density.observe(random_frames(5))
    assert_same_state(same, again)
    assert torch.equal(same.sample(20), again.sample(20))
    assert not torch.equal(same.sample(20), other.sample(20))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (torch.full((2, 2, 2), 3, dtype=torch.uint8), "symbol 3"),
        (torch.zeros(2, 3, 2, dtype=torch.uint8), "shape"),
        (torch.zeros(0, 2, 2, dtype=torch.uint8), "empty"),
    ],
)
def test_invalid_frames_are_refused_without_an_update(
    name: str, frames: Tensor, message: str
) -> None:
    density = build(name)
    for method in (density.log_prob, density.observe):
        with pytest.raises(UsageError, match=message):
            method(frames)
    assert_same_state(density, build(name))


@pytest.mark.parametrize("other", [{"shape": (2, 3)}, {"levels": 4}])
def test_a_state_of_another_shape_or_number_of_levels_is_refused(
    name: str, other: dict[str, Any]
) -> None:
    density = build(name)
    with pytest.raises(UsageError, match="the state is of a density of shape"):
        density.load_state_dict(build(name, **other).state_dict())
    assert_same_state(density, build(name))


def test_frames_of_another_type_are_refused(name: str) -> None:
    # In tests the type checks refuse them first, so this calls the check itself.
    with pytest.raises(UsageError, match=r"dtype torch\.float32"):
        check_frames(torch.zeros(1, 2, 2), (2, 2), 3)
