"""PixelCNN: the receptive field of a pixel, its position, and updates per batch or per frame."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from reverie.world_models.density.histogram import Histogram, HistogramConfig
from reverie.world_models.density.pixelcnn import GatedPixelCNN, PixelCNN, PixelCNNConfig

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "cts_montezuma.npz")
FRAMES = torch.from_numpy(GOLDEN["frames"])


def test_the_receptive_field_is_all_earlier_pixels_within_the_radius() -> None:
    torch.manual_seed(0)
    net = GatedPixelCNN(levels=4, maps=16, blocks=2, head=64)
    size, radius = 15, net.radius
    rows, columns = torch.arange(size)[:, None], torch.arange(size)
    for i, j in [(7, 7), (0, 0), (0, 14), (14, 0), (14, 14), (2, 9)]:
        image = torch.rand(1, size, size, requires_grad=True)
        jacobian = torch.zeros(size, size)
        for logit in net(image)[0, :, i, j]:
            (gradient,) = torch.autograd.grad(logit, image, retain_graph=True)
            jacobian += gradient[0].abs()
        earlier = (rows < i) | ((rows == i) & (columns < j))
        within_radius = (rows >= i - radius) & ((columns - j).abs() <= radius)
        assert torch.equal(jacobian > 0, earlier & within_radius)


@pytest.mark.parametrize("position", [False, True])
def test_a_prediction_from_the_window_equals_that_from_the_whole_frame(position: bool) -> None:
    density = PixelCNN(PixelCNNConfig(position=position), (9, 14), levels=8)
    x = torch.randint(8, (4, 9, 14), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    density.update(x)
    for parameter in density.net.parameters():
        parameter.data *= 2  # so that distant pixels matter
    with torch.no_grad():
        whole = density.net(x * (1 / 7)).softmax(1)
    for i, j in np.ndindex(9, 14):
        torch.testing.assert_close(
            density.conditional(x, i, j), whole[:, :, i, j], rtol=0, atol=1e-6
        )


def test_with_positions_it_begins_as_a_histogram_of_the_first_batch() -> None:
    x = FRAMES[:32, 20:32, 20:32]
    configs = HistogramConfig(), PixelCNNConfig(position=True), PixelCNNConfig()
    densities = [config.build(shape=(12, 12), levels=8) for config in configs]
    for density in densities:
        density.observe(x) if isinstance(density, Histogram) else density.update(x)
    expected, with_biases, without = (float(each.log_prob(x).mean()) for each in densities)
    assert expected < with_biases < 0.7 * expected  # its prior counts for fewer frames
    assert without < 2 * expected


def pseudo_counts(config: PixelCNNConfig, batch_size: int) -> torch.Tensor:
    """Ostrovski et al. 2017, equation 3, with c = 0.1, on three passes over real frames."""
    density = config.build(shape=(42, 42), levels=8)
    batches = torch.split(FRAMES.repeat(3, 1, 1), batch_size)
    pairs = [density.observe(frames) for frames in batches]
    gain = torch.cat([after - before for before, after in pairs]).clamp(min=1e-9)
    num_frames = torch.arange(1, len(gain) + 1)
    return 1 / (0.1 * num_frames**-0.5 * gain).expm1()


def test_updates_per_batch_rank_frames_like_updates_per_frame() -> None:
    per_frame = pseudo_counts(PixelCNNConfig(), batch_size=1)
    per_batch = pseudo_counts(PixelCNNConfig(update_per_frame=False), batch_size=32)
    assert spearmanr(per_frame, per_batch).statistic >= 0.8
