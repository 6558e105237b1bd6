"""The laws of the count role: every member of DENSITIES obeys them, a new one without an edit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from envs.interface import UsageError
from experiments.checkpoints import Checkpoints
from world_models.density import DENSITIES
from world_models.density.bound import BoundConfig
from world_models.density.frames import check_frames
from world_models.interface import Density, DensityConfig, PixelwiseDensity

pytestmark = pytest.mark.parametrize("name", DENSITIES)

EXAMPLES: dict[str, DensityConfig] = {"bound": BoundConfig(samples=64, latent=4)}
"""Settings for the laws, where the defaults would be too slow or too loose."""

BOUNDS = {"bound"}
"""Densities whose log-probability is an estimated bound: sums and gains of theirs are noisy."""


def build(name: str, shape: tuple[int, int] = (2, 2), levels: int = 3, seed: int = 0) -> Density:
    return EXAMPLES.get(name, DENSITIES[name]()).build(shape=shape, levels=levels, seed=seed)


def random_frames(
    n: int, shape: tuple[int, int] = (2, 2), levels: int = 3, seed: int = 0
) -> Tensor:
    """Frames that are far from uniform: most symbols are the one to their left."""
    dice = torch.Generator().manual_seed(seed)
    x = torch.randint(levels, (n, *shape), generator=dice, dtype=torch.uint8)
    keep = torch.rand(n, *shape, generator=dice) < 0.6
    for column in range(1, shape[1]):
        x[..., column] = torch.where(keep[..., column], x[..., column - 1], x[..., column])
    return x


def all_frames(shape: tuple[int, int], levels: int) -> Tensor:
    symbols = torch.arange(levels, dtype=torch.uint8)
    return torch.cartesian_prod(*[symbols] * (shape[0] * shape[1])).view(-1, *shape)


def flat(state: Any, prefix: str = "") -> dict[str, Any]:
    """A nested state as one level of names, for comparison."""
    if not isinstance(state, dict | list | tuple):
        return {prefix: state}
    items = state.items() if isinstance(state, dict) else enumerate(state)
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}.{key}").items()}


def assert_same_state(a: Density, b: Density) -> None:
    torch.testing.assert_close(flat(a.state_dict()), flat(b.state_dict()), rtol=0, atol=0)


def test_it_plays_the_role(name: str) -> None:
    assert isinstance(build(name), Density)


@pytest.mark.parametrize(("shape", "levels"), [((2, 2), 2), ((2, 2), 3), ((1, 4), 3), ((3, 3), 2)])
def test_probabilities_sum_to_one(name: str, shape: tuple[int, int], levels: int) -> None:
    # In 3 x 3 frames this fails for a pixel that sees itself or a later one.
    density, frames = build(name, shape, levels), all_frames(shape, levels)
    noise = 0.3 if name in BOUNDS else 1e-5
    for _ in range(3):
        assert float(density.log_prob(frames).exp().sum()) == pytest.approx(1, abs=noise)
        density.observe(random_frames(20, shape, levels))


def test_the_pixels_of_a_product_sum_to_the_frame(name: str) -> None:
    density, frames = build(name, (5, 4)), random_frames(6, (5, 4))
    density.observe(random_frames(20, (5, 4), seed=1))
    if name in BOUNDS:
        assert not isinstance(density, PixelwiseDensity), "a bound is of the whole frame"
        return
    assert isinstance(density, PixelwiseDensity)
    nats = density.pixel_log_probs(frames)
    torch.testing.assert_close(
        nats.double().sum((1, 2)), density.log_prob(frames), rtol=1e-6, atol=1e-5
    )
    # What comes later in raster order says nothing of a pixel.
    changed = frames.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % 3
    torch.testing.assert_close(density.pixel_log_probs(changed)[:, :3], nats[:, :3])
    assert not torch.allclose(density.pixel_log_probs(changed)[:, 3:], nats[:, 3:])


def test_log_prob_learns_nothing(name: str) -> None:
    density, untouched = build(name), build(name)
    for one in (density, untouched):
        one.observe(random_frames(10))
    first = density.log_prob(all_frames((2, 2), 3))
    assert torch.equal(density.log_prob(all_frames((2, 2), 3)), first)
    assert_same_state(density, untouched)


def test_frames_in_a_batch_do_not_talk(name: str) -> None:
    density, frames = build(name), random_frames(12)
    density.observe(random_frames(10, seed=1))
    singles = torch.cat([density.log_prob(frame[None]) for frame in frames])
    torch.testing.assert_close(density.log_prob(frames), singles, rtol=1e-5, atol=1e-5)


def test_observing_a_batch_is_observing_each_frame_in_order(name: str) -> None:
    batched, single, frames = build(name), build(name), random_frames(70)
    before, after = batched.observe(frames)
    pairs = [single.observe(frame[None]) for frame in frames]
    torch.testing.assert_close(before, torch.cat([pair[0] for pair in pairs]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(after, torch.cat([pair[1] for pair in pairs]), rtol=1e-9, atol=1e-9)
    assert_same_state(batched, single)


def test_observe_says_what_log_prob_would_have_said(name: str) -> None:
    density = build(name)
    for frame in random_frames(10).split(1):
        expected_before = density.log_prob(frame)
        before, after = density.observe(frame)
        torch.testing.assert_close(before, expected_before, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(after, density.log_prob(frame), rtol=1e-9, atol=1e-9)


def test_an_agent_that_keeps_no_gradients_can_ask_it(name: str) -> None:
    inside, outside = build(name), build(name)
    with torch.no_grad():
        inside.observe(random_frames(5))
    before, after = outside.observe(random_frames(5))
    assert not before.requires_grad
    assert not after.requires_grad
    assert_same_state(inside, outside)


def test_what_is_seen_becomes_likelier(name: str) -> None:
    frame = random_frames(1, (5, 5))
    before, after = build(name, (5, 5)).observe(frame.repeat(30, 1, 1))
    if name in BOUNDS:
        assert float((after - before)[10:].mean()) > 0.05
    else:
        assert (after > before).all()
    assert float(after[-1]) > float(before[0]) + 1


def test_pseudo_counts_grow_with_visits(name: str) -> None:
    # Ostrovski et al. 2017, section 4.3, c = 0.1: the gain of a net that learns at a constant rate
    # does not shrink for ever, so it is the decay with the number of frames that makes counts grow.
    frame = random_frames(1, (5, 5))
    before, after = build(name, (5, 5)).observe(frame.repeat(100, 1, 1))
    visits = torch.arange(1, 101)
    gain = after - before
    if name in BOUNDS:
        gain = gain.clamp(min=1e-3)  # a step by one noise may cost a little by another
    counts = 1 / (0.1 * visits**-0.5 * gain).expm1()
    assert counts.min() > 0
    assert counts[-10:].median() > 2 * counts[:10].median()


def test_a_saved_density_continues_as_if_never_stopped(name: str, tmp_path: Path) -> None:
    density, resumed = build(name), build(name, seed=1)
    density.observe(random_frames(40))
    density.sample(3)
    Checkpoints(tmp_path).save(0, density.state_dict())
    resumed.load_state_dict(Checkpoints(tmp_path).load() or {})
    for one in (density, resumed):
        one.observe(random_frames(40, seed=1))
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
    tight = BoundConfig(latent=4, samples=1000) if name in BOUNDS else DENSITIES[name]()
    density = tight.build(shape=shape, levels=levels, seed=0)
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


def test_the_seed_decides_and_the_global_generator_is_left_alone(name: str) -> None:
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
def test_unusable_frames_are_refused_and_nothing_is_learned(
    name: str, frames: Tensor, message: str
) -> None:
    density = build(name)
    for method in (density.log_prob, density.observe):
        with pytest.raises(UsageError, match=message):
            method(frames)
    assert_same_state(density, build(name))


@pytest.mark.parametrize("other", [{"shape": (2, 3)}, {"levels": 4}])
def test_the_state_of_another_kind_of_frame_is_refused(name: str, other: dict[str, Any]) -> None:
    density = build(name)
    with pytest.raises(UsageError, match="the state is of a density of shape"):
        density.load_state_dict(build(name, **other).state_dict())
    assert_same_state(density, build(name))


def test_frames_of_another_type_are_refused(name: str) -> None:
    # Under test the annotations refuse them first, so the check itself is asked.
    with pytest.raises(UsageError, match=r"dtype torch\.float32"):
        check_frames(torch.zeros(1, 2, 2), (2, 2), 3)
