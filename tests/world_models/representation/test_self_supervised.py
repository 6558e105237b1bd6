"""What representations that are trained on a task share."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from reverie.envs.errors import NumericalError, UsageError
from reverie.envs.interface import Segment
from reverie.world_models.representation import REPRESENTATIONS
from reverie.world_models.representation.bigan import BiGANConfig
from reverie.world_models.representation.contrastive import ContrastiveConfig
from reverie.world_models.representation.self_supervised import (
    SelfSupervised,
    SelfSupervisedConfig,
)

from sample_models import assert_same_state, still_segment

TASKS: dict[str, SelfSupervisedConfig] = {
    name: entry(dim=4)
    for name, entry in REPRESENTATIONS.items()
    if isinstance(entry, type) and issubclass(entry, SelfSupervisedConfig)
}
each = pytest.mark.parametrize("config", TASKS.values(), ids=list(TASKS))


def build(config: SelfSupervisedConfig, shape: tuple[int, int, int], seed: int) -> SelfSupervised:
    model = config.build(obs_shape=shape, seed=seed)
    assert isinstance(model, SelfSupervised)
    return model


def batch(model: SelfSupervised, seed: int) -> Segment:
    generator = torch.Generator().manual_seed(seed)
    shape = 8, model.segment_length + 1, *model.obs_shape
    obs = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return replace(still_segment(obs[:, 0], model.segment_length, seed), obs=obs)


@each
@pytest.mark.parametrize("shape", [(4, 10, 10), (1, 10, 5), (1, 1, 2)])
def test_updates_continue_exactly_and_an_evaluation_changes_nothing(
    config: SelfSupervisedConfig, shape: tuple[int, int, int]
) -> None:
    a, b = (build(config, shape, seed) for seed in (1, 2))
    untrained = a.encode(batch(a, 0).obs[:, 0])
    for seed in range(2):
        a.update(batch(a, seed))
    b.load_state_dict(a.state_dict())
    a.evaluate(batch(a, 5))
    for seed in range(2, 4):
        expected = a.evaluate(batch(a, seed))
        assert a.update(batch(a, seed)) == b.update(batch(b, seed)) == expected
    assert_same_state(a, b)
    assert not torch.equal(a.encode(batch(a, 0).obs[:, 0]), untrained)


@each
def test_what_it_was_not_built_for_is_refused(config: SelfSupervisedConfig) -> None:
    model = build(config, (1, 10, 5), 0)
    with pytest.raises(UsageError, match=r"have shape \(1, 9, 5\), .* built for \(1, 10, 5\)"):
        model.encode(torch.zeros(2, 1, 9, 5, dtype=torch.uint8))
    with pytest.raises(UsageError, match="batch of frames is empty"):
        model.encode(torch.zeros(0, 1, 10, 5, dtype=torch.uint8))
    if model.segment_length:
        message = f"have 0 timesteps, .* learns from {model.segment_length}"
        with pytest.raises(UsageError, match=message):
            model.update(Segment.of_observations(batch(model, 0).obs[:, 0]))


@each
def test_a_loss_that_is_not_finite_changes_nothing(config: SelfSupervisedConfig) -> None:
    model = build(config, (1, 10, 5), 0)
    model.update(batch(model, 0))
    bias: Tensor = model.task.encoder.outputs.bias
    with torch.no_grad():
        bias[0] = torch.nan
    before = model.state_dict()
    with pytest.raises(NumericalError, match=r"loss is nan at its update 1, .* learning_rate"):
        model.update(batch(model, 1))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        *((config, "dim", 0) for config in TASKS.values()),
        (ContrastiveConfig(), "learning_rate", 0.0),
        (ContrastiveConfig(), "lag", 0),
        (BiGANConfig(), "penalty", -1.0),
    ],
)
def test_settings_out_of_range_are_refused(
    config: SelfSupervisedConfig, name: str, value: float
) -> None:
    with pytest.raises(UsageError, match=f"representation.{name} is {value}; it must be"):
        replace(config, **{name: value})  # type: ignore[arg-type]
