"""Representations by variational inference: models, keys and updates."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reverie.envs.errors import NumericalError, UsageError
from reverie.experiments.runs.checkpoints import Checkpoints
from reverie.world_models.inference.bounds import ELBO, IWAE, LatentVariableModel, bound
from reverie.world_models.precision import FLOAT32, Precision
from reverie.world_models.representation.binary_vae import AutoregressiveBernoulli, BinaryVAEConfig
from reverie.world_models.representation.networks import Decoder, Encoder
from reverie.world_models.representation.vae import GaussianVAE, VAEConfig
from reverie.world_models.representation.variational import (
    VariationalConfig,
    VariationalRepresentation,
)

CONFIGS: list[VariationalConfig] = [
    VAEConfig(latent=4),
    VAEConfig(latent=4, beta=4.0, free_bits=0.1),
    VAEConfig(latent=4, alpha=IWAE, samples=3),
    VAEConfig(latent=4, estimator="vimco", samples=3),
    VAEConfig(latent=4, optimizer="rmsprop", learning_rate=1e-4),
    BinaryVAEConfig(latent=6),
    BinaryVAEConfig(latent=6, estimator="nvil", samples=1, alpha=ELBO),
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


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{type(c).__name__}-{c.estimator}")
def test_updates_raise_the_bound_for_every_model_bound_and_estimator(
    config: VariationalConfig,
) -> None:
    model = build(replace(config, learning_rate=max(config.learning_rate, 1e-3)))
    assert isinstance(model.model, LatentVariableModel)
    held_out = squares(200, seed=1)
    model.update(squares(32))
    torch.manual_seed(0)
    before = bound(model.weigh(held_out, 4).log_weights(), IWAE).mean()
    for step in range(40):
        metrics = model.update(squares(32, seed=step + 2))
    assert set(metrics) == {
        "representation/bound",
        "representation/log_likelihood",
        "representation/kl",
    }
    assert bound(model.weigh(held_out, 4).log_weights(), IWAE).mean() > before + 1


@pytest.mark.parametrize("config", [VAEConfig(latent=4), BinaryVAEConfig(latent=4)])
def test_keys_of_the_low_precision_copy_are_those_of_autocast(config: VariationalConfig) -> None:
    model, other = (build(config, precision=Precision("bf16")) for _ in range(2))
    for step in range(3):
        model.update(squares(8, seed=step))
        key = model.encode(squares(5, seed=9))
        with torch.no_grad(), model.precision.autocast(model.device):
            expected = model.model.key(model.model.prepare(squares(5, seed=9))).float()
        assert torch.equal(key, expected)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other.encode(squares(5, seed=9)), key)


def test_the_published_network_has_the_published_sizes() -> None:
    encoder, decoder = Encoder((1, 84, 84), 64), Decoder(32, (84, 84), 2)
    x, rows = torch.rand(1, 1, 84, 84), []
    for layer in encoder.features:
        x = layer(x)
        if isinstance(layer, torch.nn.Conv2d):
            rows.append(tuple(x.shape[1:]))
    assert rows == [(32, 41, 41), (32, 19, 19), (64, 8, 8), (64, 3, 3)]
    assert encoder.outputs.in_features == 512
    reverse = [x for x in decoder.layers if isinstance(x, torch.nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in reverse] == [64, 64, 32, 32]
    assert [layer.kernel_size for layer in reverse] == [(4, 4), (5, 5), (5, 5), (4, 4)]
    assert decoder(torch.randn(3, 2, 32)).shape == (3, 2, 2, 84, 84)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (10, 5), (42, 42), (83, 85), (210, 160)])
def test_networks_support_frames_of_any_size(size: tuple[int, int]) -> None:
    assert Encoder((3, *size), 5)(torch.rand(2, 3, *size)).shape == (2, 5)
    assert Decoder(4, size, 6)(torch.randn(2, 4)).shape == (2, 6, *size)


def test_the_standard_deviation_of_a_pixel_has_a_minimum() -> None:
    model = GaussianVAE((1, 8, 8), latent=2, min_std=0.05)
    with torch.no_grad():
        model.decoder.bias[1] = -50.0
    std = model.likelihood(torch.randn(5, 2)).stddev
    torch.testing.assert_close(std, torch.full_like(std, 0.05))


def test_the_kl_of_a_gaussian_code_is_the_closed_form() -> None:
    model = GaussianVAE((1, 8, 8), latent=3, min_std=0.05)
    q = model.posterior(torch.rand(7, 1, 8, 8))
    kl = model.divergence(q)
    mean, variance = q.mean, q.variance
    expected = (variance + mean.square() - 1 - variance.log()) / 2
    torch.testing.assert_close(kl, expected)


def test_probabilities_of_autoregressive_bits_sum_to_one() -> None:
    torch.manual_seed(0)
    bits = AutoregressiveBernoulli(torch.randn(5), torch.randn(5, 5))
    all_codes = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 5)
    probability = bits.log_prob(all_codes).exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-5)
    samples = bits.sample(torch.Size([20_000]))
    index = (samples * 2 ** torch.arange(4, -1, -1)).sum(1).long()
    observed = torch.bincount(index, minlength=32)
    expected = 20_000 * probability
    # Pearson's statistic has mean 31 and standard deviation 8.
    assert float(((observed - expected) ** 2 / expected).sum()) < 70
    # By hand: the more probable value of each bit conditions the next one.
    weight = torch.zeros(2, 2)
    weight[1, 0] = 3.0
    two = AutoregressiveBernoulli(torch.tensor([1.0, -1.0]), weight)
    expected = torch.tensor([1.0, 2.0]).sigmoid()
    torch.testing.assert_close(two.greedy_probs(), expected)


def test_a_binarized_frame_is_1_above_its_mean() -> None:
    model = build(BinaryVAEConfig())
    frames = torch.tensor([[[[0, 10], [20, 200]]]], dtype=torch.uint8)
    assert model.model.prepare(frames).tolist() == [[[[0, 0], [0, 1]]]]


def test_distances_of_keys_grow_with_distances_of_positions() -> None:
    model = build(VAEConfig(latent=4))
    for step in range(150):
        model.update(squares(32, seed=step))
    frames = torch.full((3, 1, 16, 16), 60, dtype=torch.uint8)
    for frame, column in zip(frames, (2, 3, 10), strict=True):
        frame[0, 5:9, column : column + 4] = 220
    key, near, far = model.encode(frames)
    assert 2 * (key - near).norm() < (key - far).norm()


def test_a_resumed_fit_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    for config in (VAEConfig(latent=4, anneal_updates=20), CONFIGS[-1]):
        straight, resumed = build(config), build(config, seed=1)
        for step in range(6):
            straight.update(squares(8, seed=step))
            if step == 2:
                Checkpoints(tmp_path).save(step, straight.state_dict())
                resumed.load_state_dict(Checkpoints(tmp_path).load() or {})
            if step > 2:
                resumed.update(squares(8, seed=step))
        assert torch.equal(straight.encode(squares(4)), resumed.encode(squares(4)))


def test_the_learning_rate_is_annealed_to_zero() -> None:
    model = build(VAEConfig(latent=4, anneal_updates=3))
    for step in range(3):
        model.update(squares(8, seed=step))
    key = model.encode(squares(4))
    model.update(squares(8, seed=9))
    assert torch.equal(key, model.encode(squares(4)))


def test_the_norm_of_the_gradient_is_clipped() -> None:
    def norm(max_grad_norm: float) -> float:
        model = build(VAEConfig(latent=4, max_grad_norm=max_grad_norm))
        model.update(squares(8))
        gradients = [p.grad for p in model.model.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    unclipped = norm(1e9)
    assert norm(unclipped / 3) == pytest.approx(unclipped / 3, rel=1e-4)
    assert norm(unclipped * 3) == pytest.approx(unclipped, rel=1e-4)


def test_only_the_gradient_of_the_bound_is_clipped() -> None:
    """Not that of NVIL's baseline, which is in other units and far larger."""
    nvil = BinaryVAEConfig(latent=4, estimator="nvil", samples=1, alpha=ELBO, max_grad_norm=9.0)
    model = build(nvil)
    for _ in range(3):
        model.update(squares(8))
    gradients = [p.grad for p in model.model.parameters() if p.grad is not None]
    assert float(torch.nn.utils.get_total_norm(gradients)) == pytest.approx(9.0, rel=1e-4)


def test_an_update_leaves_the_global_generator_unchanged() -> None:
    state = torch.get_rng_state()
    build(VAEConfig(latent=4)).update(squares(8))
    assert torch.equal(state, torch.get_rng_state())


def test_invalid_frames_are_refused() -> None:
    model = build(VAEConfig(latent=4))
    for call in (model.update, model.encode):
        with pytest.raises(UsageError, match="empty"):
            call(squares(0))
        with pytest.raises(UsageError, match=r"shape \(1, 12, 12\)"):
            call(squares(2, size=12))


def test_a_bound_that_is_not_finite_raises_without_an_update() -> None:
    model = build(VAEConfig(latent=4))
    model.update(squares(8))
    with torch.no_grad():
        model.model.get_parameter("decoder.bias")[0, 0, 0] = torch.nan
    before = model.state_dict()
    with pytest.raises(NumericalError, match="nan at its update 1"):
        model.update(squares(8))
    assert model.num_updates == 1
    after = model.state_dict()["model"]["encoder.outputs.weight"]
    assert torch.equal(before["model"]["encoder.outputs.weight"], after)


@pytest.mark.parametrize(
    ("config", "wrong", "message"),
    [
        (VAEConfig, {"samples": 0}, "samples is 0"),
        (VAEConfig, {"estimator": "vimco"}, "2 or more with estimator vimco"),
        (VAEConfig, {"free_bits": 1.0, "alpha": 0.0}, "free_bits is 1.0"),
        (VAEConfig, {"min_std": 0.0}, "min_std is 0.0"),
        (BinaryVAEConfig, {"estimator": "pathwise"}, "nvil or vimco, as codes are binary"),
    ],
)
def test_invalid_settings_are_refused(config: type, wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config(**wrong)
