"""DRAW given an example: its rows, its examples, and what the example is worth."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reverie.envs.errors import UsageError
from reverie.envs.interface import Segment
from reverie.world_models.inference.bounds import IWAE, bound
from reverie.world_models.latents.interface import ConditionalModel
from reverie.world_models.latents.one_shot_draw import OneShotDRAW, OneShotDRAWConfig
from reverie.world_models.representation.variational import VariationalConfig

from sample_models import still_segment

SMALL = OneShotDRAWConfig(
    likelihood="bernoulli", attention=False, hidden=64, size=4, glimpses=3, horizon=3
)


def build(shape: tuple[int, int], seed: int = 0) -> OneShotDRAW:
    torch.manual_seed(seed)
    model = SMALL.build((1, *shape), 2)
    assert isinstance(model, OneShotDRAW)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def bits(n: int, shape: tuple[int, int], seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, (n, 1, *shape), generator=generator, dtype=torch.uint8)


@torch.no_grad()
def test_each_row_is_given_its_own_example() -> None:
    model, frames = build((4, 3)), bits(5, (4, 3))
    example = model.prepare(frames)
    z = torch.randn(3, 5, model.size)
    together = model.given(example).decode(z)
    for i in range(5):
        alone = model.given(example[i : i + 1])
        torch.testing.assert_close(alone.decode(z[:, i]), together[:, i])
        key = model.given(example).key(example.flip(0))[i]
        torch.testing.assert_close(alone.key(example.flip(0)[i : i + 1])[0], key)
    shift = (together - model.decode(z)).abs().flatten(2).amax(2)
    assert (shift > 1e-3).all(), "the example changes every frame"
    some = torch.tensor([True, False, True, False, True])
    mixed = model.given(example, some).decode(z)
    torch.testing.assert_close(mixed, torch.where(some[:, None, None, None, None], together,
                                                  model.decode(z)))  # fmt: skip
    assert model.known is None
    assert [*map(id, model.given(example).parameters())] == [*map(id, model.parameters())]


@torch.no_grad()
def test_the_probabilities_of_all_frames_given_an_example_sum_to_one() -> None:
    model = build((2, 2))
    model.start_at_prior()
    model.posterior_params.weight += 0.05 * torch.randn_like(model.posterior_params.weight)
    frames = torch.cartesian_prod(*[torch.arange(2, dtype=torch.uint8)] * 4).view(-1, 1, 2, 2)
    examples = model.prepare(bits(1, (2, 2))).expand(16, -1, -1, -1)
    for given in (model, model.given(examples)):
        weights = given.weigh(model.prepare(frames), 2000)
        total = float(bound(weights.log_weights(), IWAE).exp().sum())
        assert total == pytest.approx(1, abs=0.05)


def test_an_example_is_another_frame_of_the_episode() -> None:
    """Frames are numbered; each episode ends at another timestep, some at the first."""
    model = replace(SMALL, likelihood="gaussian").build((1, 1, 1))
    assert isinstance(model, OneShotDRAW)
    conditional: ConditionalModel = model
    assert isinstance(conditional, ConditionalModel)
    assert model.segment_length == 3
    count, timesteps = 4000, 5
    numbers = torch.arange(timesteps + 1, dtype=torch.uint8).repeat(count, 1)
    end = torch.arange(count) % (timesteps + 2)
    segment = replace(
        still_segment(torch.zeros(count, 1, 1, 1, dtype=torch.uint8), timesteps),
        obs=numbers[..., None, None, None],
        last=torch.arange(timesteps + 1) >= end[:, None],
    )
    torch.manual_seed(0)
    example, known = model.examples(segment)
    ahead = example.flatten().long()
    assert (ahead[known] >= 1).all()
    assert (ahead <= end.clamp(max=SMALL.horizon)).all()
    for last in range(timesteps + 2):
        found = ahead[(end == last) & known].unique().tolist()
        assert found == [*range(1, min(last, SMALL.horizon) + 1)], "every one is drawn"
    assert 0.05 < float((~known[end > 0]).float().mean()) < 0.15
    empty = Segment.of_observations(numbers[:, :1, None, None])
    assert not model.examples(empty)[1].any()
    unknown = model.given_segment(empty)
    assert isinstance(unknown, OneShotDRAW)
    assert unknown.known is not None
    assert not unknown.known.any()


def noisy_pairs(n: int, generator: torch.Generator) -> Tensor:
    """Return two copies [n 2 1 5 5] of each of n random classes, with a twentieth flipped."""
    classes = torch.rand(n, 1, 1, 5, 5, generator=generator) < 0.5
    flips = torch.rand(n, 2, 1, 5, 5, generator=generator) < 0.05
    return 255 * (classes ^ flips).to(torch.uint8)


def test_an_example_of_an_unseen_class_raises_the_bound_and_another_lowers_it() -> None:
    generator = torch.Generator().manual_seed(0)
    config = VariationalConfig(replace(SMALL, horizon=1), learning_rate=3e-3)
    fitted = config.build(obs_shape=(1, 5, 5))
    for _ in range(500):
        obs = noisy_pairs(64, generator)
        fitted.update(replace(still_segment(obs[:, 0], 1), obs=obs))
    model = fitted.model
    assert isinstance(model, OneShotDRAW)
    x, example = (model.prepare(frames) for frames in noisy_pairs(200, generator).unbind(1))
    with torch.no_grad():
        nats = {
            name: bound(given.weigh(x, 16).log_weights(), IWAE).mean()
            for name, given in (
                ("right", model.given(example)),
                ("none", model),
                ("wrong", model.given(example.roll(1, 0))),
            )
        }
    assert nats["right"] > nats["none"] + 2
    assert nats["none"] > nats["wrong"] + 2


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="horizon is 0"):
        OneShotDRAWConfig(horizon=0)
