"""Mosaics come back, and a point holds the size and the error of its codec."""

import numpy as np
import pytest
import torch
from PIL import features

from reverie.experiments.evaluation.rate_distortion import (
    CODECS,
    QUALITIES,
    mosaic_of,
    rate_distortion,
    tiles_of,
)
from reverie.world_models.latents.conv_draw import ConvDRAWConfig

from sample_models import random_frames


@pytest.mark.parametrize("n", [1, 3, 4, 7])
def test_a_mosaic_holds_every_frame(n: int) -> None:
    frames = random_frames(n, (3, 5), 250).numpy()
    mosaic = mosaic_of(frames)
    assert mosaic.size < 2 * frames.size + 15
    assert np.array_equal(tiles_of(mosaic, frames.shape), frames)


def test_every_codec_has_its_points() -> None:
    frames = random_frames(9, (16, 16), 200)
    model = ConvDRAWConfig().example().build((16, 16), 200)
    points = rate_distortion(model, frames, betas=(0.5, 2.0))
    own, *others = ([x for x in points if x.codec == name] for name in ("ConvDRAW", *CODECS))
    assert [x.setting for x in own] == [
        "0 steps", "1 steps, beta 0.5", "1 steps, beta 2", "2 steps, beta 0.5", "2 steps, beta 2"
    ]  # fmt: skip
    for name, found in zip(CODECS, others, strict=True):
        assert len(found) == (len(QUALITIES) if features.check(CODECS[name]) else 0)
        for better in found[-1:]:
            assert better.psnr > found[0].psnr + 3
            assert better.bytes > found[0].bytes
    assert all(x.bits_per_pixel == 8 * x.bytes / frames.numel() for x in points)


def test_the_error_is_that_of_the_gray_frames() -> None:
    """Frames of mean 1/2 from a model whose frames are 1/2 have their standard deviation."""
    frames = (torch.arange(2 * 8 * 8).view(2, 8, 8) % 2).to(torch.uint8)
    model = ConvDRAWConfig(likelihood="bernoulli", steps=1).build((8, 8), 2)
    for weight in model.write.parameters():
        torch.nn.init.zeros_(weight)
    first = rate_distortion(model, frames)[0]
    assert first.psnr == pytest.approx(20 * np.log10(2), abs=1e-4)
