"""AIR against enumerations of which objects are present, and its windows by hand."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reverie.envs.errors import UsageError
from reverie.world_models.inference.bounds import ELBO, IWAE, bound
from reverie.world_models.inference.estimators import Estimator, surrogate
from reverie.world_models.inference.evidence import log_evidence
from reverie.world_models.latents.air import AIR, AIRConfig
from reverie.world_models.latents.composition import Composer
from reverie.world_models.latents.objects import Objects, log_prob_of_presence
from reverie.world_models.latents.places import Places

TINY = AIRConfig(likelihood="bernoulli", steps=2, size=2, glimpse=2, hidden=8)
PATTERNS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])


def build(config: AIRConfig = TINY, shape: tuple[int, int] = (3, 3), spread: float = 0.3) -> AIR:
    """Return a model of bits in which objects matter, with a posterior unlike the prior."""
    torch.manual_seed(0)
    model = config.build(shape, 2)
    model.start_at_prior()
    for parameter in model.parameters():
        parameter.data += spread * torch.randn_like(parameter) / max(parameter[0].numel(), 1) ** 0.5
    painted: Any = model.paint[-1]
    painted.weight.data.normal_()
    painted.bias.data.fill_(1.0)  # most objects are bright
    return model.requires_grad_(False)


def bits(n: int, shape: tuple[int, int] = (3, 3)) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(2, (n, *shape), generator=generator).float()


def infer(model: AIR, x: Tensor, present: Tensor) -> Objects:
    """Infer objects of which those of [S T] are present, with sampled places and appearances."""
    rows = present.repeat_interleave(len(x), 0)

    def choose(step: int, part: slice, q: Distribution) -> Tensor:
        return q.rsample() if q.has_rsample else rows[:, step, None]

    return model.infer(x, len(present), choose)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (AIRConfig(steps=3, continuation=0.25), [64, 16, 4, 1]),
        (AIRConfig(steps=2, counts=(3.0, 1.0, 4.0)), [3, 1, 4]),
    ],
)
def test_the_prior_of_counts_is_the_given_one(config: AIRConfig, expected: list[int]) -> None:
    model = replace(config, glimpse=2).build((3, 3), 2)
    model.start_at_prior()
    presence = torch.ones(len(expected), config.steps).tril(-1)
    probs = log_prob_of_presence(presence, model.prior_logits).exp()
    torch.testing.assert_close(probs, torch.tensor(expected) / sum(expected))
    counts = model.prior().sample(torch.Size([20_000]))[:, :: model.width].sum(1)
    observed = torch.bincount(counts.long(), minlength=len(expected))
    # Pearson's statistic has at most 3 degrees of freedom: more than 21 is one in 10,000.
    assert float(((observed - 20_000 * probs) ** 2 / (20_000 * probs)).sum()) < 21
    untrained = model.key(bits(1))[0, :: model.width]  # as a priori
    torch.testing.assert_close(untrained, probs.flip(0).cumsum(0).flip(0)[1:])


def test_the_posterior_of_counts_sums_to_one_and_is_sampled() -> None:
    model, x, n = build(), bits(1), 5000
    found = infer(model, x, PATTERNS.repeat_interleave(n, 0))
    each = found.log_presence.exp().view(3, n)
    error = each.std(1) / n**0.5
    assert float(each.mean(1).sum()) == pytest.approx(1, abs=4.5 * float(error.norm()))
    counts = model.posterior(x).sample(torch.Size([n]))[:, 0, :: model.width].sum(1)
    share = torch.bincount(counts.long(), minlength=3) / n
    tolerance = 4.5 * (error.square() + share * (1 - share) / n).sqrt()
    assert ((share - each.mean(1)).abs() < tolerance).all()
    assert share.min() > 0.05


def test_codes_have_the_probabilities_that_they_were_drawn_with() -> None:
    model, x = build(), bits(5)
    weights = model.weigh(x, 4, pathwise=True)
    codes = weights.codes.view(-1, 2, model.width)
    again = model.infer(x, 4, lambda step, part, _: codes[:, step, part])
    torch.testing.assert_close(again.log_presence.view(4, 5), weights.log_score)
    torch.testing.assert_close(model.posterior(x).log_prob(weights.codes), weights.log_posterior)


def test_the_evidence_equals_an_enumeration_of_counts() -> None:
    """For each count, over many places and appearances drawn from the prior."""
    model, x, n = build(spread=0.15), bits(4), 40_000  # weights of light tails
    prior = log_prob_of_presence(PATTERNS, model.prior_logits)
    evidence, errors = [], []
    for present in PATTERNS:
        codes = torch.randn(n, 2, model.width)
        codes[..., 0] = 1
        likelihood = model.likelihood((present[:, None] * codes).flatten(1))
        value, error = log_evidence(likelihood.expand(torch.Size([n])).log_prob(x[:, None]).T)
        evidence.append(value)
        errors.append(error)
    log_probs = prior[:, None] + torch.stack(evidence)
    exact = log_probs.logsumexp(0)
    error = ((log_probs - exact).exp() * torch.stack(errors)).norm(dim=0)
    log_weights = model.weigh(x, n).log_weights()
    estimate, noise = log_evidence(log_weights)
    tolerance = 4.5 * (error.square() + noise.square()).sqrt()
    assert ((estimate - exact).abs() < tolerance).all()
    assert float(tolerance.max()) < 0.1
    assert (bound(log_weights, ELBO) < exact - tolerance).all()


class Shifted(nn.Module):
    """The outputs of a layer, with a shift of each frame's presence logits."""

    def __init__(self, layer: nn.Module, shift: Tensor) -> None:
        super().__init__()
        self.layer, self.shift = layer, shift

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)
        shift = self.shift.repeat(len(x) // len(self.shift))[:, None]
        return outputs + nn.functional.pad(shift, (0, outputs.shape[1] - 1))


@pytest.mark.parametrize("alpha", [ELBO, IWAE])
def test_gradients_of_presence_agree_with_finite_differences(alpha: float) -> None:
    """The expected bound of two samples, of which the presences are enumerated."""
    model, n, step = build(), 4000, 0.05
    x, layer = torch.ones(n, 3, 3), model.locate

    def expected_bounds(shift: float) -> Tensor:
        model.detect[-1] = Shifted(layer, torch.full((n,), shift))
        total = torch.zeros(n)
        for chosen in product(range(3), repeat=2):
            torch.manual_seed(2)
            found = infer(model, x, PATTERNS[[*chosen]])
            codes, log_presence = found.codes.view(2, n, -1), found.log_presence.view(2, n)
            log_joint = model.likelihood(codes).log_prob(x) + model.prior().log_prob(codes)
            log_weights = log_joint - log_presence - found.log_rest.view(2, n)
            total += log_presence.sum(0).exp() * bound(log_weights, alpha)
        return total

    exact = (expected_bounds(step) - expected_bounds(-step)) / (2 * step)
    estimators: list[Estimator] = ["nvil", "vimco"]
    for estimator in estimators:
        shift = torch.zeros(n, requires_grad=True)
        model.detect[-1] = Shifted(layer, shift)
        weights = model.weigh(x, 2, pathwise=True)
        value = surrogate(
            estimator, weights.log_weights(), weights.log_score, torch.full((n,), -6.0), alpha=alpha
        )
        (each,) = torch.autograd.grad(value.sum(), shift)
        error = ((each.var() + exact.var()) / n).sqrt()
        assert abs(float(each.mean() - exact.mean())) < 4.5 * float(error)
        assert float(error) < 0.2 * abs(float(exact.mean())), "small enough to detect a bias"


def test_an_absent_object_changes_nothing() -> None:
    model, x = build(), bits(6)
    weights = model.weigh(x, 3)
    codes = weights.codes.unflatten(-1, (2, -1))
    absent = codes[..., :1] == 0
    assert absent.any()
    changed = torch.where(absent, 7.0, codes)
    changed[..., :1] = codes[..., :1]
    z = changed.flatten(2)
    assert not torch.equal(z, weights.codes)
    assert torch.equal(model.decode(z), model.decode(weights.codes))
    assert torch.equal(model.prior().log_prob(z), weights.log_prior)
    torch.testing.assert_close(model.posterior(x).log_prob(z), weights.log_posterior)


@pytest.mark.parametrize("scale", [-3.0, 0.0, 3.0])
def test_an_object_is_written_within_its_box(scale: float) -> None:
    """A constant patch: its box is filled, but for the blur of its edge, and nothing else is."""
    config = replace(TINY, steps=1, glimpse=5)
    model = config.build((30, 24), 2).requires_grad_(False)
    model.start_at_prior()
    painted: Any = model.paint[-1]
    painted.weight.zero_()
    painted.bias.fill_(2.0)
    model.locate.bias.copy_(torch.tensor([3.0, scale, 0.4, -0.3, 0.0, 0.0, 0.0]))
    x = torch.zeros(1, 30, 24)
    assert isinstance(model, Composer)
    composed = model.compose(x)
    top, left, bottom, right = composed.boxes[0, 0].tolist()  # type: ignore[index]
    assert bottom - top == pytest.approx(right - left, rel=1e-4)
    params = composed.images[0, 0].logit()
    rows, columns = torch.arange(30) + 0.5, torch.arange(24) + 0.5
    blur = max((bottom - top) / 5, 1.0)
    inside = (rows > top + blur)[:, None] & (rows < bottom - blur)[:, None]
    inside = inside & (columns > left + blur) & (columns < right - blur)
    outside = (rows < top - blur)[:, None] | (rows > bottom + blur)[:, None]
    outside = outside | (columns < left - blur) | (columns > right + blur)
    if inside.any():
        torch.testing.assert_close(
            params[inside], torch.full_like(params[inside], 2.0), atol=0.2, rtol=0
        )
    assert params[outside].abs().max() < 0.3
    mass = params.sum()
    assert float((params.sum(1) * rows).sum() / mass) == pytest.approx((top + bottom) / 2, abs=0.05)
    assert float((params.sum(0) * columns).sum() / mass) == pytest.approx(
        (left + right) / 2, abs=0.05
    )
    assert float(mass) == pytest.approx(2.0 * (bottom - top) ** 2, rel=0.02)


@torch.no_grad()
def test_objects_are_attracted_to_the_largest_error() -> None:
    places, error = Places(6, (40, 30)), torch.zeros(2, 1, 40, 30)
    for frame, (i, j) in zip(error, [(10, 20), (33, 4)], strict=True):
        frame[0, i : i + 4, j : j + 4] = 0.9
        frame[0, 22:26, 11:14] = 0.5  # a fainter one
    top, left, bottom, right = places.boxes(places.attend(error)).unbind(1)
    torch.testing.assert_close(bottom - top, torch.full((2,), 6.0))
    torch.testing.assert_close((top + bottom) / 2, torch.tensor([12.0, 35.0]), atol=0.2, rtol=0)
    torch.testing.assert_close((left + right) / 2, torch.tensor([22.0, 6.0]), atol=0.2, rtol=0)
    places.attraction.zero_()
    assert not places.attend(error).any()


def test_frames_smaller_than_a_glimpse_are_refused() -> None:
    message = "latent.glimpse is 9, which is larger than frames of 10 x 8 pixels"
    with pytest.raises(UsageError, match=message):
        AIRConfig(glimpse=9).build((10, 8))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "latent.steps is 0"),
        ({"continuation": 0.0}, "continuation is 0.0; it must be in"),
        ({"counts": (0.5, 0.5)}, "must be 4 positive numbers, for 0 to 3"),
        ({"counts": (1.0, 0.0, 1.0, 1.0)}, "must be 4 positive numbers"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AIRConfig(**wrong)
