"""Quality of predicted frames beside the true ones: PSNR and SSIM, per frame.

Both compare frames of bytes. They are high for a prediction that agrees with the truth pixel by
pixel, so where the future is random a blurred mean scores better than a sharp sample of it.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

PEAK = 255.0
WINDOW, WINDOW_STD = 11, 1.5
"""Side of the Gaussian window and its standard deviation, in pixels (Wang et al. 2004)."""
K1, K2 = 0.01, 0.03
"""Constants relative to the peak, which keep the ratios finite on flat frames."""


def psnr(
    truth: UInt8[Tensor, "B C H W"], prediction: UInt8[Tensor, "B C H W"]
) -> Float[Tensor, " B"]:
    """Return the peak signal-to-noise ratio of each frame in decibels.

        10 log10(255^2 / mean squared error)

    It is infinite for equal frames.
    """
    squared_error = (truth.double() - prediction.double()).square().mean((1, 2, 3))
    return 10 * (PEAK**2 / squared_error).log10().float()


def ssim(
    truth: UInt8[Tensor, "B C H W"], prediction: UInt8[Tensor, "B C H W"]
) -> Float[Tensor, " B"]:
    """Return the structural similarity of each frame, 1 for equal frames.

        (2 m_x m_y + c1) (2 s_xy + c2) / ((m_x^2 + m_y^2 + c1) (s_x^2 + s_y^2 + c2))

    Means m, variances and covariance s are those in a Gaussian window; the ratio is averaged over
    the channels and over all positions of the window within the frame (Wang et al. 2004, "Image
    Quality Assessment: From Error Visibility to Structural Similarity", section III.B). In a frame
    with fewer than 11 rows or columns the window has as many as the frame.
    """
    x, y = truth.double(), prediction.double()
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x = _windowed(x.square()) - mean_x.square()
    variance_y = _windowed(y.square()) - mean_y.square()
    covariance = _windowed(x * y) - mean_x * mean_y
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    index: Tensor = (luminance * structure).mean((1, 2, 3))
    return index.float()


def _windowed(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H_ W_"]:
    """Return the weighted mean of every window within the images."""
    rows, columns = (_weights(min(WINDOW, side), images) for side in images.shape[2:])
    single = images.flatten(0, 1)[:, None]
    means = functional.conv2d(single, rows.view(1, 1, -1, 1))
    means = functional.conv2d(means, columns.view(1, 1, 1, -1))
    return means.view(*images.shape[:2], *means.shape[2:])


def _weights(side: int, like: Tensor) -> Float[Tensor, " {side}"]:
    """Return the Gaussian weights of one axis of the window, with sum 1."""
    offset = torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2
    return (-offset.square() / (2 * WINDOW_STD**2)).softmax(0)
