"""Tests of every representation in the table."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from reverie.world_models.interface import Representation, RepresentationConfig
from reverie.world_models.representation import REPRESENTATIONS
from reverie.world_models.representation.dct import DCTConfig
from reverie.world_models.representation.downscaled import DownscaledConfig
from reverie.world_models.representation.projection import ProjectionConfig

from sample_models import still_segment

SHAPE = (1, 84, 84)
each = pytest.mark.parametrize(
    "config",
    [entry() if isinstance(entry, type) else entry for entry in REPRESENTATIONS.values()],
    ids=list(REPRESENTATIONS),
)


def frames(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, *SHAPE), dtype=torch.uint8, generator=generator)


@each
def test_it_implements_the_protocol(config: RepresentationConfig) -> None:
    model = config.build(obs_shape=SHAPE, seed=1)
    assert isinstance(model, Representation)
    obs = frames(16)
    keys = model.encode(obs)
    assert keys.shape == (16, model.dim)
    assert keys.dtype == torch.float32
    assert torch.equal(keys, model.encode(obs)), "encoding is deterministic and makes no update"
    torch.testing.assert_close(model.encode(obs[4:12]), keys[4:12])  # independent of the batch
    assert torch.equal(config.build(obs_shape=SHAPE, seed=1).encode(obs), keys)
    other_keys = config.build(obs_shape=SHAPE, seed=2).encode(obs)
    draws_nothing = config.needs_privileged or isinstance(config, DownscaledConfig | DCTConfig)
    assert torch.equal(other_keys, keys) == draws_nothing


@each
def test_a_state_is_restored_exactly(config: RepresentationConfig, tmp_path: object) -> None:
    a, b = (config.build(obs_shape=SHAPE, seed=seed) for seed in (1, 2))
    a.update(still_segment(frames(8), a.segment_length))
    b.load_state_dict(a.state_dict())
    assert torch.equal(a.encode(frames(4, 1)), b.encode(frames(4, 1)))


def test_a_projection_preserves_distances() -> None:
    """Johnson-Lindenstrauss: |G(x - y)|^2 / |x - y|^2 has mean 1 and variance 2 / dim."""
    model = ProjectionConfig(dim=256).build(obs_shape=SHAPE)
    obs = frames(200)
    a, b = obs[:100], obs[100:]
    true = ((a.float() - b.float()) / 255).flatten(1).square().sum(1)
    ratio = (model.encode(a) - model.encode(b)).square().sum(1) / true
    assert abs(float(ratio.mean()) - 1) < 0.05
    assert abs(float(ratio.std()) - (2 / 256) ** 0.5) < 0.03


def test_downscaled_frames_are_means_of_areas_in_few_levels() -> None:
    """By hand, on the levels' edges, and for areas with parts of pixels."""
    obs = torch.tensor([[0, 64, 255, 255], [64, 128, 255, 254]], dtype=torch.uint8)[None, None]
    model = DownscaledConfig(width=2, height=1, levels=4).build(obs_shape=(1, 2, 4))
    assert (model.encode(obs) * 3).tolist() == [[1, 3]]  # means 64 and 254.75
    model = DownscaledConfig(width=3, height=1, levels=256).build(obs_shape=(1, 1, 4))
    row = torch.tensor([[[[30, 60, 90, 121]]]], dtype=torch.uint8)
    assert (model.encode(row) * 255).round().tolist() == [[37, 75, 113]]  # 37.5, 75, 113.25
    large = torch.full((1, 1, 300, 301), 32, dtype=torch.uint8)  # in float64
    for frame in (large, large[:, :, :210, :160]):
        model = DownscaledConfig().build(obs_shape=(1, *frame.shape[2:]))
        assert model.dim == 88
        assert ((model.encode(frame) * 7).round() == 1).all()
        assert ((model.encode(frame - 1) * 7).round() == 0).all()
    small = DownscaledConfig().build(obs_shape=(3, 5, 4))
    assert small.dim == 60, "a frame is not enlarged"


def test_a_dct_has_the_lowest_frequencies_of_each_frame() -> None:
    obs = frames(3).view(3, 3, 28, 84)
    keys = DCTConfig(size=5).build(obs_shape=(3, 28, 84)).encode(obs).view(3, 3, 5, 5)
    expected = dctn(obs.double().numpy() / 255, axes=(2, 3), norm="ortho")[:, :, :5, :5]
    np.testing.assert_allclose(keys.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_dct_of_all_frequencies_preserves_distances() -> None:
    obs = frames(2).view(2, 1, 12, 588)[..., :7].contiguous()
    model = DCTConfig(size=100).build(obs_shape=(1, 12, 7))
    assert model.dim == 12 * 7
    a, b = model.encode(obs)
    true = ((obs[0].float() - obs[1].float()) / 255).square().sum()
    torch.testing.assert_close((a - b).square().sum(), true)
