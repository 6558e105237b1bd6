"""PixelCNN: a gated convolutional network that is autoregressive over pixels in raster order.

The small network of Ostrovski et al. 2017, with the vertical and horizontal stacks of
van den Oord et al. 2016 ("Conditional Image Generation with PixelCNN Decoders", section 2.2), whose
receptive field has no blind spot.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import pad

from ...envs.checks import at_least, check
from .neural import AutoregressiveDensity, NeuralDensityConfig
from .pixel_bias import PixelBias


@dataclass(frozen=True)
class PixelCNNConfig(NeuralDensityConfig):
    """The small gated PixelCNN of Ostrovski et al. 2017."""

    maps: int = 16
    """Feature maps of each stack."""
    blocks: int = 2
    """Gated residual blocks after the first layer."""
    head: int = 64
    """Width of the last hidden layer."""
    position: bool = False
    """Biases of each symbol at each pixel, which begin at the log-frequencies of the first batch:
    not in the paper, whose network cannot tell where in a frame it is. The gradients that are left
    are small: ``pixel-cnn-position`` also has a higher learning rate and a lower epsilon."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "density", at_least(1), "maps", "blocks", "head")

    @property
    def density_class(self) -> type["PixelCNN"]:
        return PixelCNN

    def build_network(self, shape: tuple[int, int], levels: int) -> nn.Module:
        return GatedPixelCNN(
            levels, self.maps, self.blocks, self.head, shape if self.position else None
        )


class PixelCNN(AutoregressiveDensity):
    """p(x) = product over pixels of a softmax given the pixels before them in raster order."""

    net: "GatedPixelCNN"

    @property
    def radius(self) -> int:
        """Pixels by which the receptive field extends upwards and to either side."""
        return self.net.radius

    @torch.no_grad()
    def conditional(self, x: UInt8[Tensor, "B H W"], i: int, j: int) -> Float[Tensor, "B levels"]:
        top, left = max(0, i - self.net.radius), max(0, j - self.net.radius)
        window = x.to(self.device)[:, top : i + 1, left : j + self.net.radius + 1]
        logits = self._logits(window, top, left)
        return logits[:, :, i - top, j - left].softmax(1)

    def _logits(
        self, x: UInt8[Tensor, "B h w"], top: int = 0, left: int = 0
    ) -> Float[Tensor, "B levels h w"]:
        """Return the logits of the pixels of a window of the frame."""
        with self.precision.autocast(self.device):
            logits: Tensor = self.net(x * (1 / max(self.levels - 1, 1)), top, left)
        return logits.float()


class GatedPixelCNN(nn.Module):
    """Logits of each pixel's symbol from the pixels before it in raster order.

    The vertical stack reads the rows above; the horizontal stack reads the pixels to the left and,
    at each layer, the vertical stack. Kernels cover earlier pixels only, so no weight is masked.
    """

    def __init__(
        self,
        levels: int,
        maps: int,
        blocks: int,
        head: int,
        shape: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.radius = 3 + blocks
        """Pixels by which the receptive field extends upwards and to either side."""
        self.vertical = nn.Conv2d(1, 2 * maps, (3, 7))
        self.horizontal = nn.Conv2d(1, 2 * maps, (1, 3))
        self.vertical_to_horizontal = nn.Conv2d(2 * maps, 2 * maps, 1)
        self.output = nn.Conv2d(maps, maps, 1)
        self.blocks = nn.ModuleList(GatedBlock(maps) for _ in range(blocks))
        first, last = nn.Conv2d(maps, head, 1), nn.Conv2d(head, levels, 1)
        self.head = nn.Sequential(nn.ReLU(True), first, nn.ReLU(True), last)
        self.position = PixelBias(shape, levels) if shape else None
        """Biases of each pixel, if the shape of frames is given; it begins with these alone."""
        if shape:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "B H W"], top: int = 0, left: int = 0
    ) -> Float[Tensor, "B levels H W"]:
        """Return the logits of each pixel's symbol, for symbols scaled to 0..1.

        ``top`` and ``left`` are where in the frame a window begins.
        """
        # Both kernels end one pixel before the one that is predicted.
        v = self.vertical(pad(x[:, None], (3, 3, 3, 0))[:, :, :-1])
        h = self.horizontal(pad(x[:, None], (3, 0))[..., :-1]) + self.vertical_to_horizontal(v)
        h = self.output(gate(h))
        for block in self.blocks:
            v, h = block(v, h)
        logits: Tensor = self.head(h)
        if self.position is None:
            return logits
        biases: Tensor = self.position()
        return logits + biases[:, top : top + x.shape[1], left : left + x.shape[2]]


class GatedBlock(nn.Module):
    """One residual layer of both stacks (van den Oord et al. 2016, figure 2)."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.vertical = nn.Conv2d(maps, 2 * maps, (2, 3))
        self.horizontal = nn.Conv2d(maps, 2 * maps, (1, 2))
        self.vertical_to_horizontal = nn.Conv2d(2 * maps, 2 * maps, 1)
        self.output = nn.Conv2d(maps, maps, 1)

    def forward(
        self, v: Float[Tensor, "B pairs H W"], h: Float[Tensor, "B maps H W"]
    ) -> tuple[Float[Tensor, "B pairs H W"], Float[Tensor, "B maps H W"]]:
        """Return the next layer of the vertical and of the horizontal stack."""
        v = self.vertical(pad(gate(v), (1, 1, 1, 0)))
        residual = self.horizontal(pad(h, (1, 0))) + self.vertical_to_horizontal(v)
        return v, h + self.output(gate(residual))


def gate(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
    """Return tanh(a / 2) sigmoid(b) of both halves of the maps (equation 2, except for a / 2)."""
    # tanh(a / 2) = 2 sigmoid(a) - 1, and on a CPU sigmoid is several times faster than tanh.
    a, b = x.sigmoid().chunk(2, dim=1)
    return (2 * a - 1) * b
