"""The encoder and the decoder of Blundell et al. 2016 (section 3.1, "Variational autoencoder").

Four convolutions of stride 2 without padding and a hidden layer, and their mirror image; of a frame
too small for all four, as many as it has room for. The initial weights (He et al. 2015), the
centred input and the linear maps between pixels and code, beside the convolutions, are ours.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

CONVOLUTIONS = ((32, 4), (32, 5), (64, 5), (64, 4))
"""(maps, kernel) of each."""
HIDDEN = 512


class Encoder(nn.Module):
    """Linear outputs of a frame's features and of its pixels, once ``mean`` is taken away.

    The map from pixels still reads a frame unlike those learned from, where features mislead.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, obs_shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        before, *size = obs_shape
        layers: list[nn.Module] = []
        for (maps, kernel), after in zip(CONVOLUTIONS, _sizes(*size), strict=False):
            layers += [nn.Conv2d(before, maps, kernel, stride=2), nn.ReLU(inplace=True)]
            before, size = maps, list(after)
        layers += [nn.Flatten(), nn.Linear(before * math.prod(size), HIDDEN), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.outputs = nn.Linear(HIDDEN, outputs)
        self.pixels = nn.Linear(math.prod(obs_shape), outputs, bias=False)
        nn.init.zeros_(self.pixels.weight)
        self.features.apply(_keep_scale)
        self.register_buffer("mean", torch.zeros(obs_shape))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def start_from(self, x: Float[Tensor, "B K H W"]) -> None:
        """Centre on a first batch: else most of a feature is the same in every frame."""
        self.mean.copy_(x.mean(0))
        self.scale.copy_((x - self.mean).square().mean().sqrt().clamp(min=0.05))

    def look(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B features"]:
        """The hidden layer."""
        hidden: Tensor = self.features(self._centred(x))
        return hidden

    def forward(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B outputs"]:
        centred = self._centred(x)
        out: Tensor = self.outputs(self.features(centred))
        linear: Tensor = self.pixels(centred.flatten(1))
        # Divided, or one step of Adam would move the code by thousands of pixels' worth.
        return out.float() + linear.float() / math.sqrt(self.pixels.in_features)

    def _centred(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        return ((x - self.mean) / self.scale).contiguous(memory_format=torch.channels_last)


class Decoder(nn.Module):
    """Maps of the frame's size from a code; beside the convolutions, each pixel is linear in it.

    Without the convolutions it would be factor analysis. What is still or moves as a whole is so
    learned in a few hundred steps rather than many thousands, and they draw what is left.
    """

    def __init__(self, latent: int, shape: tuple[int, int], maps: int) -> None:
        super().__init__()
        sizes = [shape, *_sizes(*shape)]
        rows, columns = sizes[-1]
        kept = CONVOLUTIONS[: len(sizes) - 1]
        before = kept[-1][0] if kept else CONVOLUTIONS[0][0]
        layers: list[nn.Module] = [
            nn.Linear(latent, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, before * rows * columns),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (before, rows, columns)),
        ]
        for (channels, kernel), small, large in zip(
            reversed(kept), reversed(sizes[1:]), reversed(sizes[:-1]), strict=True
        ):
            # A stride of 2 forgets whether there was an odd row at the end.
            missing = [b - (2 * (a - 1) + kernel) for a, b in zip(small, large, strict=True)]
            layers += [
                nn.ConvTranspose2d(before, channels, kernel, 2, output_padding=missing),  # type: ignore[arg-type]
                nn.ReLU(inplace=True),
            ]
            before = channels
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(before, maps, 1, bias=False)
        self.background = nn.Parameter(torch.zeros(maps, *shape))
        self.loading = nn.Parameter(torch.zeros(latent, maps * math.prod(shape)))
        self.layers.apply(_keep_scale)
        nn.init.normal_(self.last.weight, std=0.01 / before**0.5)  # at first, the background alone

    def forward(self, z: Float[Tensor, "*S D"]) -> Float[Tensor, "*S maps H W"]:
        z, shape = z.flatten(0, -2), (*z.shape[:-1], *self.background.shape)
        hidden = self.layers[:4](z)
        image = self.layers[4](hidden).contiguous(memory_format=torch.channels_last)
        out: Tensor = self.last(self.layers[5:](image))
        # Added in full precision, whatever the convolutions' is.
        linear = (z @ self.loading).float().view(-1, *self.background.shape)
        return (out.float() + linear + self.background).view(shape)


def means_and_log_deviations(
    outputs: Float[Tensor, "B twice"], start: float = -1.0
) -> Float[Tensor, "B twice"]:
    """A Gaussian code from an encoder's outputs; no deviation leaves e^(start +- 8).

    They begin about e^start: at -1 a code is more than noise from the first step on.
    """
    mean, log_deviation = outputs.float().chunk(2, 1)
    return torch.cat([mean, 8 * (log_deviation / 8).tanh() + start], 1)


def _keep_scale(layer: nn.Module) -> None:
    """He initialisation: through eleven layers of torch's own, a code would not be heard."""
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        fan_in = layer.weight[0].numel()
        if isinstance(layer, nn.ConvTranspose2d):
            taps = layer.weight[0, 0].numel() // 4  # that reach one pixel, at stride 2
            fan_in = layer.in_channels * taps
        nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_in))
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns after each convolution that fits."""
    sizes = []
    for _, kernel in CONVOLUTIONS:
        if min(height, width) < kernel:
            break
        height, width = (height - kernel) // 2 + 1, (width - kernel) // 2 + 1
        sizes.append((height, width))
    return sizes
