"""Representations by variational inference: models, keys and updates."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.envs.errors import NumericalError, UsageError
from reverie.envs.interface import Segment
from reverie.experiments.runs.checkpoints import Checkpoints
from reverie.world_models.inference.bounds import ELBO, IWAE, LatentVariableModel, bound
from reverie.world_models.latents.binary_vae import BinaryVAEConfig
from reverie.world_models.latents.vae import VAEConfig
from reverie.world_models.precision import FLOAT32, Precision
from reverie.world_models.representation.variational import (
    VariationalConfig,
    VariationalRepresentation,
)

VAE, BITS = VAEConfig(size=4), BinaryVAEConfig(size=6)
FLOW = VAEConfig(size=4, posterior="iaf")
NVIL = VariationalConfig(BITS, alpha=ELBO, estimator="nvil")
CONFIGS: list[VariationalConfig] = [
    VariationalConfig(VAE),
    VariationalConfig(VAE, beta=4.0, free_bits=0.1),
    VariationalConfig(VAE, alpha=IWAE, samples=3),
    VariationalConfig(VAE, estimator="vimco", samples=3),
    VariationalConfig(VAEConfig(size=4, posterior="planar"), estimator="vimco", samples=16),
    VariationalConfig(FLOW),
    VariationalConfig(VAE, optimizer="rmsprop", learning_rate=1e-4),
    VariationalConfig.of(BITS),
    NVIL,
]


def squares(n: int, size: int = 16, seed: int = 0) -> Tensor:
    """Return gray frames with a bright square at a random position."""
    position = torch.randint(size - 4, (n, 2), generator=torch.Generator().manual_seed(seed))
    frames = torch.full((n, 1, size, size), 60, dtype=torch.uint8)
    for frame, (row, column) in zip(frames, position.tolist(), strict=True):
        frame[0, row : row + 4, column : column + 4] = 220
    return frames


def build(
    config: VariationalConfig, size: int = 16, seed: int = 0, precision: Precision = FLOAT32
) -> VariationalRepresentation:
    model = config.build(obs_shape=(1, size, size), seed=seed, precision=precision)
    assert isinstance(model, VariationalRepresentation)
    return model


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.latent.size}-{c.estimator}")
def test_updates_raise_the_bound_for_every_model_bound_and_estimator(
    config: VariationalConfig,
) -> None:
    model = build(replace(config, learning_rate=max(config.learning_rate, 1e-3)))
    assert isinstance(model.model, LatentVariableModel)
    held_out = squares(200, seed=1)
    model.update(Segment.of_observations(squares(32)))
    torch.manual_seed(0)
    before = bound(model.weigh(held_out, 4).log_weights(), IWAE).mean()
    for step in range(40):
        metrics = model.update(Segment.of_observations(squares(32, seed=step + 2)))
    assert set(metrics) == {
        "representation/bound",
        "representation/log_likelihood",
        "representation/kl",
    }
    assert bound(model.weigh(held_out, 4).log_weights(), IWAE).mean() > before + 1


@pytest.mark.parametrize("config", [VariationalConfig(VAE), VariationalConfig.of(BITS)])
def test_keys_of_the_low_precision_copy_are_those_of_autocast(config: VariationalConfig) -> None:
    model, other = (build(config, precision=Precision("bf16")) for _ in range(2))
    for step in range(3):
        model.update(Segment.of_observations(squares(8, seed=step)))
        key = model.encode(squares(5, seed=9))
        with torch.no_grad(), model.precision.autocast(model.device):
            expected = model.model.key(model.model.prepare(squares(5, seed=9))).float()
        assert torch.equal(key, expected)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other.encode(squares(5, seed=9)), key)


def test_distances_of_keys_grow_with_distances_of_positions() -> None:
    model = build(VariationalConfig(VAE))
    for step in range(150):
        model.update(Segment.of_observations(squares(32, seed=step)))
    frames = torch.full((3, 1, 16, 16), 60, dtype=torch.uint8)
    for frame, column in zip(frames, (2, 3, 10), strict=True):
        frame[0, 5:9, column : column + 4] = 220
    key, near, far = model.encode(frames)
    assert 2 * (key - near).norm() < (key - far).norm()


def test_a_resumed_fit_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    for config in (VariationalConfig(VAE, anneal_updates=20), CONFIGS[-1]):
        straight, resumed = build(config), build(config, seed=1)
        for step in range(6):
            straight.update(Segment.of_observations(squares(8, seed=step)))
            if step == 2:
                Checkpoints(tmp_path).save(step, straight.state_dict())
                resumed.load_state_dict(Checkpoints(tmp_path).load() or {})
            if step > 2:
                resumed.update(Segment.of_observations(squares(8, seed=step)))
        assert torch.equal(straight.encode(squares(4)), resumed.encode(squares(4)))


def test_the_learning_rate_is_annealed_to_zero() -> None:
    model = build(VariationalConfig(VAE, anneal_updates=3))
    for step in range(3):
        model.update(Segment.of_observations(squares(8, seed=step)))
    key = model.encode(squares(4))
    model.update(Segment.of_observations(squares(8, seed=9)))
    assert torch.equal(key, model.encode(squares(4)))


def test_the_norm_of_the_gradient_is_clipped() -> None:
    def norm(max_grad_norm: float) -> float:
        model = build(VariationalConfig(VAE, max_grad_norm=max_grad_norm))
        model.update(Segment.of_observations(squares(8)))
        gradients = [p.grad for p in model.model.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    unclipped = norm(1e9)
    assert norm(unclipped / 3) == pytest.approx(unclipped / 3, rel=1e-4)
    assert norm(unclipped * 3) == pytest.approx(unclipped, rel=1e-4)


def test_only_the_gradient_of_the_bound_is_clipped() -> None:
    """Not that of NVIL's baseline, which is in other units and far larger."""
    model = build(replace(NVIL, max_grad_norm=9.0))
    for _ in range(3):
        model.update(Segment.of_observations(squares(8)))
    gradients = [p.grad for p in model.model.parameters() if p.grad is not None]
    assert float(torch.nn.utils.get_total_norm(gradients)) == pytest.approx(9.0, rel=1e-4)


def test_an_update_leaves_the_global_generator_unchanged() -> None:
    state = torch.get_rng_state()
    build(VariationalConfig(VAE)).update(Segment.of_observations(squares(8)))
    assert torch.equal(state, torch.get_rng_state())


def test_invalid_frames_are_refused() -> None:
    model = build(VariationalConfig(VAE))
    for call in (lambda obs: model.update(Segment.of_observations(obs)), model.encode):
        with pytest.raises(UsageError, match="empty"):
            call(squares(0))
        with pytest.raises(UsageError, match=r"shape \(1, 12, 12\)"):
            call(squares(2, size=12))


def test_a_bound_that_is_not_finite_raises_without_an_update() -> None:
    model = build(VariationalConfig(VAE))
    model.update(Segment.of_observations(squares(8)))
    with torch.no_grad():
        model.model.get_parameter("decoder.bias")[0, 0, 0] = torch.nan
    before = model.state_dict()
    with pytest.raises(NumericalError, match="nan at its update 1"):
        model.update(Segment.of_observations(squares(8)))
    assert model.num_updates == 1
    after = model.state_dict()["model"]["encoder.outputs.weight"]
    assert torch.equal(before["model"]["encoder.outputs.weight"], after)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"estimator": "vimco"}, "2 or more with estimator vimco"),
        ({"free_bits": 1.0, "alpha": 0.0}, "free_bits is 1.0"),
        ({"free_bits": -1.0}, "free_bits is -1.0; it must be 0 or more"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"free_bits": 1.0, "latent": FLOW}, "free_bits is 1.0; it must be 0, as the KL"),
        ({"latent": BITS}, "must be nvil or vimco .*, as codes have no pathwise"),
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        VariationalConfig(**wrong)
