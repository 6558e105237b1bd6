"""Representations by variational inference: their models, keys and steps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from envs.errors import NumericalError, UsageError
from experiments.checkpoints import Checkpoints
from world_models.arithmetic import Arithmetic, using
from world_models.inference.bounds import ELBO, IWAE, LatentVariableModel, bound
from world_models.representation.binary_vae import AutoregressiveBernoulli, BinaryVAEConfig
from world_models.representation.networks import Decoder, Encoder
from world_models.representation.vae import GaussianVAE, VAEConfig
from world_models.representation.variational import VariationalConfig, VariationalRepresentation

CONFIGS: list[VariationalConfig] = [
    VAEConfig(latent=4),
    VAEConfig(latent=4, beta=4.0, free_bits=0.1),
    VAEConfig(latent=4, alpha=IWAE, samples=3),
    VAEConfig(latent=4, estimator="vimco", samples=3),
    VAEConfig(latent=4, optimiser="rmsprop", learning_rate=1e-4),
    BinaryVAEConfig(latent=6),
    BinaryVAEConfig(latent=6, estimator="nvil", samples=1, alpha=ELBO),
]


def squares(n: int, size: int = 16, seed: int = 0) -> Tensor:
    """A bright square at a place of its own on a grey frame."""
    place = torch.randint(size - 4, (n, 2), generator=torch.Generator().manual_seed(seed))
    frames = torch.full((n, 1, size, size), 60, dtype=torch.uint8)
    for frame, (row, column) in zip(frames, place.tolist(), strict=True):
        frame[0, row : row + 4, column : column + 4] = 220
    return frames


def build(config: VariationalConfig, size: int = 16, seed: int = 0) -> VariationalRepresentation:
    model = config.build(obs_shape=(1, size, size), seed=seed)
    assert isinstance(model, VariationalRepresentation)
    return model


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{type(c).__name__}-{c.estimator}")
def test_every_model_bound_and_estimator_go_together_and_the_bound_rises(
    config: VariationalConfig,
) -> None:
    model = build(replace(config, learning_rate=max(config.learning_rate, 1e-3)))
    assert isinstance(model.model, LatentVariableModel)
    held_out = squares(200, seed=1)
    model.update(squares(32))
    torch.manual_seed(0)
    before = bound(model.weigh(held_out, 4).log(), IWAE).mean()
    for step in range(40):
        metrics = model.update(squares(32, seed=step + 2))
    assert set(metrics) == {
        "representation/bound",
        "representation/log_likelihood",
        "representation/code",
    }
    assert bound(model.weigh(held_out, 4).log(), IWAE).mean() > before + 1


@pytest.mark.parametrize("config", [VAEConfig(latent=4), BinaryVAEConfig(latent=4)])
def test_keys_by_weights_rounded_once_are_those_of_the_learner(config: VariationalConfig) -> None:
    with using(Arithmetic("bf16")):
        model, other = build(config), build(config)
    for step in range(3):
        model.update(squares(8, seed=step))
        key = model.encode(squares(5, seed=9))
        with torch.no_grad(), model.arithmetic.multiplying(model.device):
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
def test_a_frame_of_any_size_is_read_and_drawn(size: tuple[int, int]) -> None:
    assert Encoder((3, *size), 5)(torch.rand(2, 3, *size)).shape == (2, 5)
    assert Decoder(4, size, 6)(torch.randn(2, 4)).shape == (2, 6, *size)


def test_a_pixels_deviation_is_floored() -> None:
    model = GaussianVAE((1, 8, 8), latent=2, floor=0.05)
    with torch.no_grad():
        model.decoder.background[1] = -50.0
    deviation = model.likelihood(torch.randn(5, 2)).stddev
    torch.testing.assert_close(deviation, torch.full_like(deviation, 0.05))


def test_the_divergence_of_a_gaussian_code_is_the_closed_form() -> None:
    model = GaussianVAE((1, 8, 8), latent=3, floor=0.05)
    q = model.posterior(torch.rand(7, 1, 8, 8))
    known = model.divergence(q)
    mean, variance = q.mean, q.variance
    expected = (variance + mean.square() - 1 - variance.log()) / 2
    torch.testing.assert_close(known, expected)


def test_bits_that_see_those_before_them_have_probabilities_that_sum_to_one() -> None:
    torch.manual_seed(0)
    bits = AutoregressiveBernoulli(torch.randn(5), torch.randn(5, 5))
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 5)
    probability = bits.log_prob(every).exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-5)
    drawn = bits.sample(torch.Size([20_000]))
    index = (drawn * 2 ** torch.arange(4, -1, -1)).sum(1).long()
    observed = torch.bincount(index, minlength=32)
    expected = 20_000 * probability
    # Pearson's statistic has mean 31 and standard deviation 8.
    assert float(((observed - expected) ** 2 / expected).sum()) < 70
    # By hand: the likelier value of each bit decides what the next one sees.
    links = torch.zeros(2, 2)
    links[1, 0] = 3.0
    two = AutoregressiveBernoulli(torch.tensor([1.0, -1.0]), links)
    expected = torch.tensor([1.0, 2.0]).sigmoid()
    torch.testing.assert_close(two.probabilities(), expected)


def test_a_frames_bits_are_where_it_is_brighter_than_its_mean() -> None:
    model = build(BinaryVAEConfig())
    frames = torch.tensor([[[[0, 10], [20, 200]]]], dtype=torch.uint8)
    assert model.model.prepare(frames).tolist() == [[[[0, 0], [0, 1]]]]


def test_keys_tell_near_places_from_far_ones() -> None:
    model = build(VAEConfig(latent=4))
    for step in range(150):
        model.update(squares(32, seed=step))
    frames = torch.full((3, 1, 16, 16), 60, dtype=torch.uint8)
    for frame, column in zip(frames, (2, 3, 10), strict=True):
        frame[0, 5:9, column : column + 4] = 220
    here, near, far = model.encode(frames)
    assert 2 * (here - near).norm() < (here - far).norm()


def test_a_resumed_fit_takes_the_steps_of_an_uninterrupted_one(tmp_path: Path) -> None:
    for config in (VAEConfig(latent=4, decay_steps=20), CONFIGS[-1]):
        straight, resumed = build(config), build(config, seed=1)
        for step in range(6):
            straight.update(squares(8, seed=step))
            if step == 2:
                Checkpoints(tmp_path).save(step, straight.state_dict())
                resumed.load_state_dict(Checkpoints(tmp_path).load() or {})
            if step > 2:
                resumed.update(squares(8, seed=step))
        assert torch.equal(straight.encode(squares(4)), resumed.encode(squares(4)))


def test_the_learning_rate_falls_to_nothing() -> None:
    model = build(VAEConfig(latent=4, decay_steps=3))
    for step in range(3):
        model.update(squares(8, seed=step))
    key = model.encode(squares(4))
    model.update(squares(8, seed=9))
    assert torch.equal(key, model.encode(squares(4)))


def test_no_gradient_is_longer_than_the_clip() -> None:
    def norm(clip: float) -> float:
        model = build(VAEConfig(latent=4, gradient_clip=clip))
        model.update(squares(8))
        gradients = [p.grad for p in model.model.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    whole = norm(1e9)
    assert norm(whole / 3) == pytest.approx(whole / 3, rel=1e-4)
    assert norm(whole * 3) == pytest.approx(whole, rel=1e-4)


def test_the_clip_is_of_the_bounds_gradient_alone() -> None:
    """Not of NVIL's baseline, whose gradient is in other units and far longer."""
    nvil = BinaryVAEConfig(latent=4, estimator="nvil", samples=1, alpha=ELBO, gradient_clip=9.0)
    model = build(nvil)
    for _ in range(3):
        model.update(squares(8))
    gradients = [p.grad for p in model.model.parameters() if p.grad is not None]
    assert float(torch.nn.utils.get_total_norm(gradients)) == pytest.approx(9.0, rel=1e-4)


def test_fitting_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    build(VAEConfig(latent=4)).update(squares(8))
    assert torch.equal(state, torch.get_rng_state())


def test_unusable_frames_are_refused_by_name() -> None:
    model = build(VAEConfig(latent=4))
    for call in (model.update, model.encode):
        with pytest.raises(UsageError, match="empty"):
            call(squares(0))
        with pytest.raises(UsageError, match=r"shape \(1, 12, 12\)"):
            call(squares(2, size=12))


def test_a_bound_that_is_no_number_names_its_step_and_nothing_is_learned() -> None:
    model = build(VAEConfig(latent=4))
    model.update(squares(8))
    with torch.no_grad():
        model.model.get_parameter("decoder.background")[0, 0, 0] = torch.nan
    before = model.state_dict()
    with pytest.raises(NumericalError, match="nan at its step 1"):
        model.update(squares(8))
    assert model.steps == 1
    after = model.state_dict()["model"]["encoder.outputs.weight"]
    assert torch.equal(before["model"]["encoder.outputs.weight"], after)


@pytest.mark.parametrize(
    ("kind", "wrong", "says"),
    [
        (VAEConfig, {"samples": 0}, "samples is 0"),
        (VAEConfig, {"estimator": "vimco"}, "2 or more with the estimator vimco"),
        (VAEConfig, {"free_bits": 1.0, "alpha": 0.0}, "free_bits is 1.0"),
        (VAEConfig, {"floor": 0.0}, "floor is 0.0"),
        (BinaryVAEConfig, {"estimator": "pathwise"}, "nvil or vimco, as codes are binary"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    kind: type, wrong: dict[str, float], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        kind(**wrong)
