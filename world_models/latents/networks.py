"""Encoder and decoder of Blundell et al. 2016 (section 3.1, "Variational autoencoder").

Four convolutions of stride 2 without padding and a hidden layer, and the reverse; fewer
convolutions for frames too small for all four. Not from the paper: the initialization (He et al.
2015), the centered input, and the linear skip connections between pixels and code.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..likelihoods import Likelihood
from .interface import LatentModel

CONVOLUTIONS = ((32, 4), (32, 5), (64, 5), (64, 4))
"""(feature maps, kernel size) of each layer."""
HIDDEN = 512


class Autoencoder(LatentModel):
    """Base of the models with these networks, in which one code is one event of a distribution.

    The encoder gives ``outputs`` numbers per frame, the decoder the pixels of a code of ``size``.
    """

    num_features = HIDDEN

    def __init__(self, pixels: Likelihood, size: int, outputs: int) -> None:
        super().__init__(pixels)
        self.size = size
        channels, height, width = (1, *pixels.shape)[-3:]
        self.obs_shape = channels, height, width
        self.encoder = Encoder(self.obs_shape, outputs)
        self.decoder = Decoder(size, (height, width), pixels.maps * channels)

    @torch.no_grad()
    def initialize_from(self, x: Tensor) -> None:
        self.encoder.initialize_from(self._inputs(x))
        self.decoder.bias.copy_(self.pixels.initial(x).view_as(self.decoder.bias))

    @torch.no_grad()
    def start_at_prior(self) -> None:
        nn.init.zeros_(self.encoder.outputs.weight)
        nn.init.zeros_(self.encoder.outputs.bias)

    def encode(self, x: Tensor) -> Float[Tensor, "B outputs"]:
        """Return the encoder's outputs, float32."""
        outputs: Tensor = self.encoder(self._inputs(x))
        return outputs

    def decode(self, z: Float[Tensor, "*S D"]) -> Tensor:
        maps: Tensor = self.decoder(z)
        return maps.reshape(*z.shape[:-1], self.pixels.maps, *self.pixels.shape)

    def features(self, x: Tensor) -> Float[Tensor, "B D"]:
        return self.encoder.forward_features(self._inputs(x))

    def _inputs(self, x: Tensor) -> Float[Tensor, "B K H W"]:
        return self.pixels.inputs(x).reshape(-1, *self.obs_shape)


class Encoder(nn.Module):
    """Convolutional network with a linear skip connection from the centered pixels.

    The skip connection also generalizes to frames unlike those trained on, unlike the features.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, obs_shape: tuple[int, int, int], outputs: int) -> None:
        super().__init__()
        channels, *size = obs_shape
        layers: list[nn.Module] = []
        for (maps, kernel), next_size in zip(CONVOLUTIONS, _output_sizes(*size), strict=False):
            layers += [nn.Conv2d(channels, maps, kernel, stride=2), nn.ReLU(inplace=True)]
            channels, size = maps, list(next_size)
        flat = channels * math.prod(size)
        layers += [nn.Flatten(), nn.Linear(flat, HIDDEN), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.outputs = nn.Linear(HIDDEN, outputs)
        self.skip = nn.Linear(math.prod(obs_shape), outputs, bias=False)
        nn.init.zeros_(self.skip.weight)
        self.features.apply(_he_init)
        self.register_buffer("mean", torch.zeros(obs_shape))
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def initialize_from(self, x: Float[Tensor, "B K H W"]) -> None:
        """Set the mean and scale of the input from a first batch.

        Without it, most of a feature is the same in every frame. A single frame has no spread, and
        changes nothing.
        """
        if len(x) == 1:
            return
        self.mean.copy_(x.mean(0))
        self.scale.copy_((x - self.mean).square().mean().sqrt().clamp(min=0.05))

    def forward_features(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B features"]:
        """Return the last hidden layer."""
        hidden: Tensor = self.features(self._centered(x))
        return hidden

    def forward(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B outputs"]:
        """Return the outputs of the network plus those of the skip connection, float32."""
        centered = self._centered(x)
        out: Tensor = self.outputs(self.features(centered))
        linear: Tensor = self.skip(centered.flatten(1))
        # Divided, because one Adam update of thousands of pixels' weights moves the code too far.
        return out.float() + linear.float() / math.sqrt(self.skip.in_features)

    def _centered(self, x: Float[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        return ((x - self.mean) / self.scale).contiguous(memory_format=torch.channels_last)


class Decoder(nn.Module):
    """Transposed convolutions with a linear skip connection from the code to each pixel.

    The linear part alone is factor analysis. It fits the static and the most variable parts of
    frames in hundreds of updates instead of thousands; the convolutions fit the residual.
    """

    def __init__(self, latent: int, shape: tuple[int, int], maps: int) -> None:
        super().__init__()
        sizes = [shape, *_output_sizes(*shape)]
        rows, columns = sizes[-1]
        convolutions = CONVOLUTIONS[: len(sizes) - 1]
        channels = convolutions[-1][0] if convolutions else CONVOLUTIONS[0][0]
        layers: list[nn.Module] = [
            nn.Linear(latent, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, channels * rows * columns),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (channels, rows, columns)),
        ]
        for (out_channels, kernel), small, large in zip(
            reversed(convolutions), reversed(sizes[1:]), reversed(sizes[:-1]), strict=True
        ):
            # With stride 2, an odd last row or column must be added.
            padding = [b - (2 * (a - 1) + kernel) for a, b in zip(small, large, strict=True)]
            layers += [
                nn.ConvTranspose2d(channels, out_channels, kernel, 2, output_padding=padding),  # type: ignore[arg-type]
                nn.ReLU(inplace=True),
            ]
            channels = out_channels
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(channels, maps, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(maps, *shape))
        self.loading = nn.Parameter(torch.zeros(latent, maps * math.prod(shape)))
        self.layers.apply(_he_init)
        nn.init.normal_(self.last.weight, std=0.01 / channels**0.5)  # small, so the bias dominates

    def forward(self, z: Float[Tensor, "*S D"]) -> Float[Tensor, "*S maps H W"]:
        """Return each pixel's parameters, the sum of network, skip connection and bias, float32."""
        z, shape = z.flatten(0, -2), (*z.shape[:-1], *self.bias.shape)
        hidden = self.layers[:4](z)
        image = self.layers[4](hidden).contiguous(memory_format=torch.channels_last)
        out: Tensor = self.last(self.layers[5:](image))
        # The sum is in float32, whatever the precision of the convolutions.
        linear = (z @ self.loading).float().view(-1, *self.bias.shape)
        return (out.float() + linear + self.bias).view(shape)


def _he_init(layer: nn.Module) -> None:
    """Apply He initialization: with PyTorch's default, signals vanish over eleven layers."""
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        fan_in = layer.weight[0].numel()
        if isinstance(layer, nn.ConvTranspose2d):
            # At stride 2, a quarter of the kernel's weights contribute to one pixel.
            fan_in = layer.in_channels * (layer.weight[0, 0].numel() // 4)
        nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_in))
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)


def _output_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Return the rows and columns after each convolution that fits."""
    sizes = []
    for _, kernel in CONVOLUTIONS:
        if min(height, width) < kernel:
            break
        height, width = (height - kernel) // 2 + 1, (width - kernel) // 2 + 1
        sizes.append((height, width))
    return sizes
