"""Completion against enumeration, for every density that can complete frames."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.envs.errors import UsageError
from reverie.world_models.density.bound import BoundConfig
from reverie.world_models.density.complete import (
    can_complete,
    evidence_of,
    flipped,
    log_evidence,
    posterior_samples,
)
from reverie.world_models.density.cts import CTSConfig
from reverie.world_models.density.histogram import HistogramConfig
from reverie.world_models.density.latent_completion import LatentCompletion
from reverie.world_models.density.pixelcnn import PixelCNNConfig
from reverie.world_models.inference.bounds import Weights
from reverie.world_models.interface import Density
from reverie.world_models.latents.vae import VAEConfig

from sample_models import DENSITY_EXAMPLES, flat, random_frames

LEVELS = 3
SYMBOLS = torch.arange(LEVELS, dtype=torch.uint8)
ALL_FRAMES = torch.cartesian_prod(*[SYMBOLS] * 4).view(-1, 2, 2)
X = torch.tensor([[[0, 1], [1, 2]]], dtype=torch.uint8)
CORNER = torch.tensor([[[False, True], [True, True]]])
"""The first pixel is unknown, so that all evidence comes after it."""

COMPLETIONS: tuple[Callable[[Density, Tensor], Tensor], ...] = (
    log_evidence,
    lambda density, evidence: posterior_samples(density, evidence, 1),
)


def trained(name: str, shape: tuple[int, int] = (2, 2), samples: int = 1000) -> Density:
    """Return a trained density, a bound of ``samples`` codes trained with fewer of them."""
    config = DENSITY_EXAMPLES[name]
    learner = density = config.build(shape=shape, levels=LEVELS, seed=0)
    if config.kind == "bound":
        few, many = (replace(config, samples=n) for n in (8, samples))  # type: ignore[call-arg]
        learner, density = (x.build(shape=shape, levels=LEVELS, seed=0) for x in (few, many))
    learner.observe(random_frames(60, shape))
    density.load_state_dict(learner.state_dict())
    return density


def three_noisy() -> Tensor:
    """Evidence of three noisy pixels; the second is unknown."""
    evidence = flipped(X, LEVELS, 0.3)
    evidence[0, 0, 1] = 0
    return evidence


def log_joint(log_probs: Tensor, evidence: Tensor) -> Tensor:
    """Return log p(x, y) of all frames x, given the evidence of one y."""
    pixels = ((i, j, evidence[i, j].double()) for i, j in np.ndindex(2, 2))
    return log_probs.double() + sum(e[ALL_FRAMES[:, i, j].long()] for i, j, e in pixels)


def assert_follows(samples: Tensor, probs: Tensor) -> None:
    """Check samples [n H W] by Pearson's statistic, with rare frames in one cell."""
    code = (samples.flatten(1).long() * torch.tensor([27, 9, 3, 1])).sum(1)
    observed, expected = torch.bincount(code, minlength=81).double(), len(samples) * probs
    assert float(observed[expected < 1e-9 * len(samples)].sum()) == 0, "ruled out by the evidence"
    rare = expected < 5
    cells = [torch.cat([x[~rare], x[rare].sum()[None]]) for x in (observed, expected)]
    statistic = float(((cells[0] - cells[1]).square() / cells[1].clamp(min=1)).sum())
    freedom = len(cells[0]) - 1
    assert statistic < freedom + 4 * math.sqrt(2 * freedom) + 4


@pytest.mark.parametrize("name", DENSITY_EXAMPLES)
def test_samples_and_evidence_are_those_of_enumeration(name: str) -> None:
    density = trained(name)
    evidence = torch.cat([evidence_of(X, CORNER, LEVELS), three_noisy()])
    if not can_complete(density):
        for function in COMPLETIONS:
            with pytest.raises(UsageError, match=f"^{type(density).__name__} cannot complete"):
                function(density, evidence)
        return
    state = copy.deepcopy(flat(density.state_dict()))
    log_probs = density.log_prob(ALL_FRAMES)
    samples = posterior_samples(density, evidence, 400, steps=40)
    found = log_evidence(density, evidence, particles=500, steps=40)
    for frame in range(2):
        joint = log_joint(log_probs, evidence[frame])
        assert float(found[frame]) == pytest.approx(float(joint.logsumexp(0)), abs=0.1)
        assert_follows(samples[:, frame], joint.softmax(0))
    torch.testing.assert_close(flat(density.state_dict()), state, rtol=0, atol=0)


@pytest.mark.parametrize("name", DENSITY_EXAMPLES)
def test_known_frames_are_their_own_completions(name: str) -> None:
    density, frames = trained(name, (4, 3), samples=64), random_frames(3, (4, 3), seed=1)
    if not can_complete(density):
        return
    evidence = evidence_of(frames, torch.ones_like(frames, dtype=torch.bool), LEVELS)
    state = torch.get_rng_state()
    assert torch.equal(posterior_samples(density, evidence, 2, steps=1), frames.repeat(2, 1, 1, 1))
    tolerance = 0.5 if DENSITY_EXAMPLES[name].kind == "bound" else 1e-4
    found = log_evidence(density, evidence, particles=100, steps=1)
    torch.testing.assert_close(found, density.log_prob(frames), rtol=0, atol=tolerance)
    nothing = torch.zeros_like(evidence)
    found = log_evidence(density, nothing, particles=100, steps=1)
    torch.testing.assert_close(found, torch.zeros(3).double(), rtol=0, atol=tolerance)
    again = [posterior_samples(density, nothing, 5, seed=7, steps=1) for _ in range(2)]
    assert torch.equal(*again)
    assert not torch.equal(again[0], posterior_samples(density, nothing, 5, seed=8, steps=1))
    assert torch.equal(torch.get_rng_state(), state)


def test_independent_pixels_are_completed_exactly_by_one_particle() -> None:
    density = HistogramConfig().build(shape=(4, 3), levels=LEVELS)
    density.observe(random_frames(30, (4, 3)))
    evidence = flipped(random_frames(2, (4, 3), seed=1), LEVELS, 0.2)
    evidence[:, 1] = -torch.rand(2, 3, LEVELS, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(1, 4, 3, dtype=torch.uint8)
    prior = torch.stack([density.conditional(nothing, i, j)[0] for i, j in np.ndindex(4, 3)]).view(
        4, 3, LEVELS
    )
    joint = prior.log() + evidence
    found = log_evidence(density, evidence, particles=1)
    torch.testing.assert_close(found, joint.logsumexp(3).sum((1, 2)), rtol=0, atol=1e-6)
    samples = posterior_samples(density, evidence, 3000, particles=1)
    shares = torch.nn.functional.one_hot(samples.long(), LEVELS).double().mean(0)
    torch.testing.assert_close(shares, joint.softmax(3), rtol=0, atol=0.05)


def test_a_frame_whose_last_pixels_are_unknown_is_completed_exactly_by_one_particle() -> None:
    density = CTSConfig().build(shape=(6, 5), levels=LEVELS)
    density.observe(random_frames(50, (6, 5)))
    frames = random_frames(4, (6, 5), seed=1)
    known = torch.arange(6)[:, None].expand(4, 6, 5) < 3
    evidence = evidence_of(frames, known, LEVELS)
    expected = density.pixel_log_probs(frames)[:, :3].sum((1, 2))
    found = log_evidence(density, evidence, particles=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


class FarSighted:
    """A density without its radius, so that every later pixel may depend on an unknown one."""

    def __init__(self, density: Any) -> None:
        self.density, self.shape, self.levels = density, density.shape, density.levels
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name == "radius":
            raise AttributeError(name)
        return getattr(self.density, name)

    def conditional(self, x: Tensor, i: int, j: int) -> Tensor:
        self.calls += 1
        result: Tensor = self.density.conditional(x, i, j)
        return result


@pytest.mark.parametrize("config", [CTSConfig(), PixelCNNConfig(maps=4, blocks=1, head=8)])
def test_pixels_beyond_the_radius_are_not_filtered_and_change_nothing(config: Any) -> None:
    shape = (3, 15)
    density = config.build(shape=shape, levels=LEVELS)
    density.observe(random_frames(60, shape))
    x = random_frames(1, shape, seed=2)
    known = torch.ones_like(x, dtype=torch.bool)
    known[0, 1, 7] = False
    evidence = evidence_of(x, known, LEVELS)
    filled = x.repeat(LEVELS, 1, 1)
    filled[:, 1, 7] = SYMBOLS
    expected = float(density.log_prob(filled).logsumexp(0))
    far = FarSighted(density)
    calls = []
    for each in (far, density):
        far.calls = 0
        found = log_evidence(each, evidence, particles=2000)
        assert float(found) == pytest.approx(expected, abs=0.05)
        calls.append(far.calls)
    near = FarSighted(density)
    near.radius = density.radius  # type: ignore[attr-defined]
    log_evidence(near, evidence, particles=1)
    assert calls[0] == 3 * 15 - 15 - 7
    assert near.calls < calls[0]


class Tabulated:
    """The joint distribution of all 2 x 2 frames as an orderless density."""

    shape, levels = (2, 2), LEVELS

    def __init__(self) -> None:
        self.log_probs = torch.randn(81, generator=torch.Generator().manual_seed(3)).double()
        self.log_probs = self.log_probs.mul(2).log_softmax(0)

    def conditional_given(self, x: Tensor, known: Tensor) -> Tensor:
        agrees = ((x[:, None] == ALL_FRAMES) | ~known[:, None]).all(3).all(2)  # [B 81]
        probs = torch.where(agrees, self.log_probs.exp(), 0.0)
        one_hot = torch.nn.functional.one_hot(ALL_FRAMES.long(), LEVELS).double()
        marginal = torch.einsum("bf,fhwl->bhwl", probs, one_hot)
        return marginal / marginal.sum(3, keepdim=True)

    def log_prob(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    observe = sample = state_dict = load_state_dict = log_prob  # not used


def test_an_orderless_density_is_completed_exactly_in_any_order() -> None:
    density: Any = Tabulated()
    second = ~CORNER.flip(2)
    evidence = torch.cat([
        evidence_of(X, CORNER, LEVELS), evidence_of(X, second, LEVELS), three_noisy(),
    ])  # fmt: skip
    joint = torch.stack([log_joint(density.log_probs, e) for e in evidence])
    for seed in range(3):
        exact = log_evidence(density, evidence[:2], seed=seed, particles=1)
        torch.testing.assert_close(exact, joint[:2].logsumexp(1), rtol=0, atol=1e-6)
    found = log_evidence(density, evidence, particles=4000)
    torch.testing.assert_close(found, joint.logsumexp(1), rtol=0, atol=0.05)
    samples = posterior_samples(density, evidence, 1000)
    for frame in range(3):
        assert_follows(samples[:, frame], joint[frame].softmax(0))


def test_evidence_is_a_channel() -> None:
    noisy = flipped(X, LEVELS, 0.3)
    torch.testing.assert_close(noisy.exp().sum(3), torch.ones(1, 2, 2))
    assert torch.equal(noisy.argmax(3), X.long())
    everything = torch.ones_like(X, dtype=torch.bool)
    assert torch.equal(flipped(X, LEVELS, 0), evidence_of(X, everything, LEVELS))
    assert not evidence_of(X, ~everything, LEVELS).any()


def changed(index: tuple[Any, ...], value: float) -> Tensor:
    evidence = torch.zeros(2, 2, 2, LEVELS)
    evidence[index] = value
    return evidence


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        (changed((1, 0, 1), -math.inf), r"contradictory.*pixel \(0, 1\) of frame 1"),
        (changed((0, 1, 0, 2), math.nan), r"pixel \(1, 0\) of frame 0 for level 2 is nan"),
        (changed((0, 1, 0, 2), math.inf), "for level 2 is inf"),
        (torch.zeros(1, 2, 2, 4), r"shape \(1, 2, 2, 4\).*must be \(B, 2, 2, 3\)"),
        (torch.zeros(1, 3, 2, LEVELS), "must be"),
        (torch.zeros(0, 2, 2, LEVELS), "no frame"),
    ],
)
def test_evidence_that_does_not_fit_is_refused(evidence: Tensor, message: str) -> None:
    density = HistogramConfig().build(shape=(2, 2), levels=LEVELS)
    for function in COMPLETIONS:
        with pytest.raises(UsageError, match=message):
            function(density, evidence)


class WholeFrames:
    """A density of whole frames, without conditionals and without codes."""

    def log_prob(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    observe = sample = state_dict = load_state_dict = log_prob  # not used


def test_a_density_of_whole_frames_is_refused_by_name() -> None:
    density: Any = WholeFrames()
    assert not can_complete(density)
    for function in COMPLETIONS:
        with pytest.raises(UsageError, match=r"^WholeFrames cannot complete frames.*such as cts"):
            function(density, evidence_of(X, CORNER, LEVELS))


@pytest.mark.parametrize("name", ["log_likelihood", "log_prior", "log_posterior"])
def test_a_latent_with_weights_unlike_its_distributions_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    density: Any = BoundConfig(samples=4).example().build(shape=(2, 2), levels=LEVELS)
    usual = density.net.weigh

    def weigh(x: Tensor, samples: int, *, pathwise: bool = False) -> Weights:
        weights: Weights = usual(x, samples, pathwise=pathwise)
        return replace(weights, **{name: getattr(weights, name) + shift})

    monkeypatch.setattr(density.net, "weigh", weigh)
    for shift in (0.0, 1.0):
        assert can_complete(density) == (shift == 0)


def test_bad_arguments_are_refused() -> None:
    density = HistogramConfig().build(shape=(2, 2), levels=LEVELS)
    evidence = evidence_of(X, CORNER, LEVELS)
    with pytest.raises(UsageError, match="n is 0"):
        posterior_samples(density, evidence, 0)
    with pytest.raises(UsageError, match="particles is 0"):
        log_evidence(density, evidence, particles=0)
    with pytest.raises(UsageError, match=r"rate of flipped pixels is 1\.5"):
        flipped(X, LEVELS, 1.5)
    with pytest.raises(UsageError, match="symbol 2"):
        evidence_of(X, CORNER, levels=2)


@pytest.mark.parametrize("name", DENSITY_EXAMPLES)
def test_a_completion_ends_on_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    density = trained(name, samples=8)
    if not can_complete(density):
        return
    now = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    nothing = torch.zeros(1, 2, 2, LEVELS)
    posterior_samples(density, nothing, 1, steps=4, seconds=100)
    with pytest.raises(TimeoutError):
        posterior_samples(density, nothing, 1, steps=4, seconds=2)


def test_evidence_of_little_probability_is_kept() -> None:
    density = BoundConfig(latent=VAEConfig(size=2)).build(shape=(2, 2), levels=2)
    log_evidence = torch.tensor([0.0, -200.0]).double().expand(1, 2, 2, 2)
    found = LatentCompletion(density, log_evidence.exp(), particles=1, steps=1, seed=0).evidence
    torch.testing.assert_close(found, log_evidence.float())


def test_the_conditionals_of_a_histogram_are_exact() -> None:
    density = HistogramConfig().build(shape=(1, 1), levels=3)
    probs = density.conditional(torch.zeros(1, 1, 1, dtype=torch.uint8), 0, 0)
    assert probs.tolist() == [[1 / 3] * 3]
