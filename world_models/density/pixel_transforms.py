"""Invertible maps of the box [0, levels] of a dequantized pixel to noise, for flows.

Each is a map of single pixels whose parameters are given per pixel: a rational-quadratic spline
(Durkan et al. 2019), an affine map (RealNVP, Dinh et al. 2017) or an additive one (NICE, 2015).
"""

import math
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

Pixels = Float[Tensor, "B h w"]
Params = Float[Tensor, "B h w size"]


class PixelTransform(Protocol):
    """A map of pixels to noise of a fixed distribution, with ``size`` parameters per pixel."""

    size: int
    conditioned: int
    """The first parameters of ``size``, to which a coupling adds."""

    def forward(self, v: Pixels, params: Params) -> tuple[Pixels, Pixels]:
        """Return the noise and the log-derivative of each pixel."""

    def inverse(self, z: Pixels, params: Params) -> Pixels:
        """Return the pixels of some noise, in the box."""

    def initial(self, histogram: Float[Tensor, "H W levels"]) -> Float[Tensor, "H W size"]:
        """Return the parameters that fit a histogram of each pixel's symbols."""

    def log_base(self, z: Pixels) -> Pixels:
        """Return the log-probability of noise."""

    def base_like(self, v: Pixels) -> Pixels:
        """Sample noise of this shape, with torch's global generator."""


class Spline:
    """Monotone rational-quadratic spline of the box onto 0..1, which is uniform noise.

    Bins have equal widths, so that those of a symbol each begin and end with it. Both slopes of a
    bin are relative to its chord: unlike the paper's, a spline has kinks at its knots, where the
    densities of two symbols meet. Of zero slope parameters, its bins are straight lines.
    """

    def __init__(self, levels: int, bins: int) -> None:
        self.levels, self.bins = levels, bins
        self.size = self.conditioned = 3 * bins  # logits of the heights, and slopes on either side

    def forward(self, v: Pixels, params: Params) -> tuple[Pixels, Pixels]:
        heights, slopes = self._heights(params), params[..., self.bins :]
        position = v * (self.bins / self.levels)
        index = position.detach().long().clamp(0, self.bins - 1)[..., None]
        t, height = position - index[..., 0], heights.gather(-1, index)[..., 0]
        bottom = heights.cumsum(-1).gather(-1, index)[..., 0] - height
        left, right = self._slopes(slopes, index)
        # Equations 4 and 5 of the paper, with slopes divided by the chord's.
        divisor = 1 + (left + right - 2) * t * (1 - t)
        z = bottom + height * t * (t + left * (1 - t)) / divisor
        log_slope = (right * t * t + 2 * t * (1 - t) + left * (1 - t) ** 2).log()
        log_chord = height.log() + math.log(self.bins / self.levels)
        return z, log_chord + log_slope - 2 * divisor.log()

    def inverse(self, z: Pixels, params: Params) -> Pixels:
        heights, slopes = self._heights(params), params[..., self.bins :]
        tops = heights.cumsum(-1)
        index = (tops[..., :-1] < z[..., None]).sum(-1, keepdim=True)
        height = heights.gather(-1, index)[..., 0]
        y = ((z - tops.gather(-1, index)[..., 0]) / height + 1).clamp(0, 1)
        left, right = self._slopes(slopes, index)
        # Equations 6 to 8: the root in 0..1 of (1 - b) t^2 + b t - y, without a cancellation.
        b = left - y * (left + right - 2)
        root = (b * b + 4 * (1 - b) * y).clamp(min=0).sqrt()
        t = torch.where(b > 0, 2 * y / (b + root), (root - b) / (2 * (1 - b)))
        return (index[..., 0] + t.clamp(0, 1)) * (self.levels / self.bins)

    def initial(self, histogram: Float[Tensor, "H W levels"]) -> Float[Tensor, "H W size"]:
        # The mass of each bin, of a density that is constant within a symbol.
        border = torch.linspace(0, self.levels, self.bins + 1, device=histogram.device)
        symbol = border.long().clamp(max=self.levels - 1)
        below = pad(histogram.cumsum(-1), (1, 0))[..., symbol]
        mass = (below + histogram[..., symbol] * (border - symbol)).diff(dim=-1)
        return pad(mass.log(), (0, 2 * self.bins))

    def log_base(self, z: Pixels) -> Pixels:
        return torch.zeros_like(z)

    def base_like(self, v: Pixels) -> Pixels:
        return torch.rand_like(v)

    def _heights(self, params: Float[Tensor, "*s size"]) -> Float[Tensor, "*s bins"]:
        heights = params[..., : self.bins].softmax(-1)
        return heights * (1 - self.bins * LEAST_HEIGHT) + LEAST_HEIGHT

    def _slopes(self, slopes: Tensor, index: Tensor) -> tuple[Pixels, Pixels]:
        left = slopes[..., : self.bins].gather(-1, index)[..., 0]
        right = slopes[..., self.bins :].gather(-1, index)[..., 0]
        return (4 * (left / 4).tanh()).exp(), (4 * (right / 4).tanh()).exp()


LEAST_HEIGHT = 1e-6
"""Probability of a bin at least, for finite derivatives."""


class Affine:
    """Logit of the box, shifted and scaled to standard normal noise.

    The additive map of NICE has a scale for each pixel that does not depend on other pixels.
    """

    size = 2  # shift and log-scale

    def __init__(self, levels: int, *, additive: bool = False) -> None:
        self.levels = levels
        self.conditioned = 1 if additive else 2

    def forward(self, v: Pixels, params: Params) -> tuple[Pixels, Pixels]:
        shift, log_scale = self._shift_and_log_scale(params)
        fraction = MARGIN + (1 - 2 * MARGIN) * v / self.levels
        logits = fraction.log() - (-fraction).log1p()
        log_slope = math.log((1 - 2 * MARGIN) / self.levels) - fraction.log() - (-fraction).log1p()
        return (logits - shift) * (-log_scale).exp(), log_slope - log_scale

    def inverse(self, z: Pixels, params: Params) -> Pixels:
        shift, log_scale = self._shift_and_log_scale(params)
        fraction = (z * log_scale.exp() + shift).sigmoid()
        v = (fraction - MARGIN) * (self.levels / (1 - 2 * MARGIN))
        return v.clamp(0, self.levels)

    def initial(self, histogram: Float[Tensor, "H W levels"]) -> Float[Tensor, "H W size"]:
        # Mean and deviation of the logits, at 16 points of each symbol.
        points = (torch.arange(16 * self.levels, device=histogram.device) + 0.5) / 16
        logits = (points / self.levels).logit()
        weights = (histogram / 16).repeat_interleave(16, -1)
        mean = (weights * logits).sum(-1)
        variance = (weights * (logits - mean[..., None]) ** 2).sum(-1)
        share = (variance.log() / (2 * LOG_SCALE_LIMIT)).clamp(-0.999, 0.999)
        return torch.stack([mean, LOG_SCALE_LIMIT * share.atanh()], -1)

    def log_base(self, z: Pixels) -> Pixels:
        return -z * z / 2 - math.log(2 * math.pi) / 2

    def base_like(self, v: Pixels) -> Pixels:
        return torch.randn_like(v)

    def _shift_and_log_scale(self, params: Params) -> tuple[Pixels, Pixels]:
        shift, log_scale = params.unbind(-1)
        return shift, LOG_SCALE_LIMIT * (log_scale / LOG_SCALE_LIMIT).tanh()


LOG_SCALE_LIMIT = 5.0
"""Bound of the log-scale of an affine map."""
MARGIN = 1e-6
"""Distance of the logit's argument from 0 and 1 at the borders of the box, for finite values: the
papers' 0.05 would leave normal noise outside of the box."""
