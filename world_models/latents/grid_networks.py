"""Networks of convolutional DRAW, on a grid coarser than the frame, from pixels and to them."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import conv2d

KERNEL = 5
"""Of the convolutions of stride 2 between pixels and grid; the LSTMs' is 3."""


class ConvLSTM(nn.Module):
    """Long short-term memory whose products are convolutions (Shi et al. 2015), without peepholes.

    ``gates`` is added to the input, forget and output gates and to the content.
    """

    def __init__(self, inputs: int, maps: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + maps, 4 * maps, 3, padding=1)
        assert self.gates.bias is not None
        nn.init.zeros_(self.gates.bias)
        nn.init.ones_(self.gates.bias[maps : 2 * maps])  # remembers at first

    def forward(
        self, inputs: tuple[Tensor, ...], hidden: Tensor, cell: Tensor, gates: Tensor | float = 0.0
    ) -> tuple[Float[Tensor, "N maps h w"], Float[Tensor, "N maps h w"]]:
        """Return the next hidden state and cell."""
        i, f, o, content = (self.gates(torch.cat([*inputs, hidden], 1)) + gates).chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * content.tanh()
        return o.sigmoid() * cell.tanh(), cell


class GaussianHead(nn.Module):
    """Gaussian of a place's features, whose log standard deviation stays within 8 of 0."""

    def __init__(self, maps: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2 * size, maps, 1, 1))
        self.bias = nn.Parameter(torch.zeros(2 * size))
        nn.init.normal_(self.weight, std=maps**-0.5)

    @torch.no_grad()
    def start_at_standard(self) -> None:
        """Make the Gaussian a standard normal one everywhere."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, features: Float[Tensor, "N maps h w"]) -> Normal:
        """Return the Gaussian, in float32."""
        mean, log_std = conv2d(features, self.weight, self.bias).float().chunk(2, 1)
        return Normal(mean, (8 * (log_std / 8).tanh()).exp(), validate_args=False)


def reading(channels: int, maps: int, layers: int) -> nn.Sequential:
    """Return convolutions from pixels to the encoder's gates, each to half of the rows, rounded up.

    Any frame is large enough for them.
    """
    convolutions: list[nn.Module] = []
    for k in reversed(range(layers)):
        outputs = maps if k else 4 * maps
        convolution = nn.Conv2d(channels, outputs, KERNEL, 2, padding=KERNEL // 2, bias=k == 0)
        nn.init.normal_(convolution.weight, std=math.sqrt(2 / (channels * KERNEL**2)))
        convolutions += [convolution, nn.ReLU(inplace=True)]
        channels = outputs
    return nn.Sequential(*convolutions[:-1])


def writing(maps: int, outputs: int, sizes: list[tuple[int, ...]]) -> nn.Sequential:
    """Return transposed convolutions from canvas to pixels; ``sizes`` go from pixels to grid."""
    convolutions: list[nn.Module] = []
    for k in reversed(range(len(sizes) - 1)):
        rows, columns = (a - 2 * b + 1 for a, b in zip(sizes[k], sizes[k + 1], strict=True))
        convolution = nn.ConvTranspose2d(
            maps, maps if k else outputs, KERNEL, 2, KERNEL // 2, (rows, columns), bias=k > 0
        )
        # A quarter of the kernel contributes to a pixel; the last is small beside the bias.
        std = math.sqrt(2 / (maps * KERNEL**2 / 4)) if k else 0.01 / math.sqrt(maps)
        nn.init.normal_(convolution.weight, std=std)
        convolutions += [convolution, nn.ReLU(inplace=True)]
    return nn.Sequential(*convolutions[:-1])
