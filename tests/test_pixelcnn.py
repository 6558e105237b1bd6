"""PixelCNN: what each pixel sees, and what a joint step keeps of the exact order."""

from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from world_models.density.pixelcnn import GatedPixelCNN, PixelCNNConfig

GOLDEN = np.load(Path(__file__).parent / "golden" / "cts_montezuma.npz")
FRAMES = torch.from_numpy(GOLDEN["frames"])


def test_a_pixel_sees_all_pixels_before_it_within_reach_and_none_after() -> None:
    torch.manual_seed(0)
    net = GatedPixelCNN(levels=4, maps=16, blocks=2, head=64)
    size, reach = 15, net.reach
    rows, columns = torch.arange(size)[:, None], torch.arange(size)
    for i, j in [(7, 7), (0, 0), (0, 14), (14, 0), (14, 14), (2, 9)]:
        image = torch.rand(1, size, size, requires_grad=True)
        jacobian = torch.zeros(size, size)
        for logit in net(image)[0, :, i, j]:
            (gradient,) = torch.autograd.grad(logit, image, retain_graph=True)
            jacobian += gradient[0].abs()
        earlier = (rows < i) | ((rows == i) & (columns < j))
        near = (rows >= i - reach) & ((columns - j).abs() <= reach)
        assert torch.equal(jacobian > 0, earlier & near)


def test_a_pixel_is_predicted_from_its_window_as_from_the_whole_frame() -> None:
    density = PixelCNNConfig().build(shape=(9, 14), levels=8)
    for parameter in density.net.parameters():
        parameter.data *= 2  # so that what lies far away matters
    x = torch.randint(8, (4, 9, 14), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    with torch.no_grad():
        whole = density.net(x * density.scale).softmax(1)
    for i, j in np.ndindex(9, 14):
        torch.testing.assert_close(density.pixel(x, i, j), whole[:, :, i, j], rtol=0, atol=1e-6)


def pseudo_counts(config: PixelCNNConfig, batch: int) -> torch.Tensor:
    """Ostrovski et al. 2017, equation 3, with c = 0.1, on three passes over real frames."""
    density = config.build(shape=(42, 42), levels=8)
    pairs = [density.observe(frames) for frames in FRAMES.repeat(3, 1, 1).split(batch)]
    gain = torch.cat([after - before for before, after in pairs]).clamp(min=1e-9)
    steps = torch.arange(1, len(gain) + 1)
    return 1 / (0.1 * steps**-0.5 * gain).expm1()


def test_joint_steps_rank_frames_as_the_exact_order_does() -> None:
    exact = pseudo_counts(PixelCNNConfig(), batch=1)
    joint = pseudo_counts(PixelCNNConfig(one_by_one=False), batch=32)
    assert spearmanr(exact, joint).statistic >= 0.8
