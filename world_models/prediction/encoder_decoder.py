"""Layers of action-conditional prediction (Oh et al. 2015, section 3 and appendix).

A convolutional encoder, a transformation in which action and features multiply, and a decoder that
mirrors the encoder. Pixels are in 0..1 minus the mean frame.
"""

import math
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from ...envs.errors import UsageError
from .subpixel import convolution, deconvolution

Size = Literal["published", "small", "tiny"]


@dataclass(frozen=True)
class Layer:
    """A convolution, and the transposed convolution that mirrors it."""

    channels: int
    kernel: int
    stride: int
    padding: tuple[int, int]


@dataclass(frozen=True)
class Architecture:
    """Layers of one size of the network."""

    layers: tuple[Layer, ...]
    hidden: int
    """Width of the features, of the LSTM and of the factors."""
    min_frame: tuple[int, int]
    """Rows and columns of the smallest frame."""


ARCHITECTURES: dict[Size, Architecture] = {
    "published": Architecture(
        (
            Layer(64, 8, 2, (0, 1)),
            Layer(128, 6, 2, (1, 1)),
            Layer(128, 6, 2, (1, 1)),
            Layer(128, 4, 2, (0, 0)),
        ),
        hidden=2048,
        min_frame=(64, 64),
    ),
    # For 84 x 84 gray frames.
    "small": Architecture(
        (Layer(16, 8, 4, (2, 2)), Layer(32, 4, 2, (1, 1)), Layer(64, 4, 2, (1, 1))),
        hidden=512,
        min_frame=(20, 20),
    ),
    # For frames of a few pixels: the same transformation between fully connected layers.
    "tiny": Architecture((), hidden=128, min_frame=(1, 1)),
}


def architecture_for(
    size: Size,
    obs_shape: tuple[int, int, int],
    architectures: dict[Size, Architecture] = ARCHITECTURES,
) -> Architecture:
    """Return the layers of a size; raises UsageError if the frames are too small for them."""
    architecture = architectures[size]
    rows, columns = architecture.min_frame
    if obs_shape[1] < rows or obs_shape[2] < columns:
        raise UsageError(
            f"predictor.size is {size}, which needs frames of {rows} x {columns} pixels or more, "
            f"and these are {obs_shape[1]} x {obs_shape[2]}; choose predictor:tiny or "
            "--predictor.size tiny (of an agent, agent.predictor:tiny or --agent.predictor.size "
            "tiny)."
        )
    return architecture


class Encoder(nn.Module):
    """Observations to features: convolutions and a hidden layer, each with a ReLU."""

    def __init__(self, architecture: Architecture, obs_shape: tuple[int, int, int]) -> None:
        super().__init__()
        in_channels, *size = obs_shape
        self.shapes = [tuple(obs_shape)]  # of the input of each layer, and of the last output
        convolutions: list[nn.Module] = []
        for layer in architecture.layers:
            convolutions += [
                convolution(in_channels, layer.channels, layer.kernel, layer.stride, layer.padding),
                nn.ReLU(),
            ]
            in_channels = layer.channels
            size = [
                (x + 2 * p - layer.kernel) // layer.stride + 1
                for x, p in zip(size, layer.padding, strict=True)
            ]
            self.shapes.append((in_channels, *size))
        self.convolutions = nn.Sequential(*convolutions)
        self.hidden = nn.Sequential(
            nn.Linear(math.prod(self.shapes[-1]), architecture.hidden), nn.ReLU()
        )

    def forward(self, obs: Float[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        """Return the features of centered observations."""
        features: Tensor = self.hidden(self.convolutions(obs).flatten(1))
        return features


class Transformation(nn.Module):
    """h' = W_dec((W_enc h) * (W_act a)) + b: one matrix per action, factored.

    For an action of zeros, W_act a is a constant and the prediction is unconditional.
    """

    def __init__(self, hidden: int, num_actions: int, factors: int) -> None:
        super().__init__()
        self.encode = nn.Linear(hidden, factors)
        self.act = nn.Linear(num_actions, factors)
        self.decode = nn.Linear(factors, hidden)

    def forward(
        self, features: Float[Tensor, "B D"], action: Float[Tensor, "B A"]
    ) -> Float[Tensor, "B D"]:
        """Return h' of features h and an action a, as one-hot or zeros."""
        transformed: Tensor = self.decode(self.encode(features) * self.act(action))
        return transformed


class Decoder(nn.Module):
    """The encoder's mirror, from features to one frame; its last layer is linear."""

    def __init__(
        self, architecture: Architecture, shapes: list[tuple[int, ...]], channels: int
    ) -> None:
        super().__init__()
        layers, width = architecture.layers, architecture.hidden
        self.grid = shapes[-1] if layers else (channels, *shapes[0][1:])
        self.hidden: nn.Module = nn.Linear(width, math.prod(self.grid))
        if not layers:  # a hidden layer takes the place of the transposed convolutions
            self.hidden = nn.Sequential(nn.Linear(width, width), nn.ReLU(), self.hidden)
        deconvolutions: list[nn.Module] = []
        for i, layer in reversed(list(enumerate(layers))):
            (_, *size), (_, *small) = shapes[i], shapes[i + 1]
            rows, columns = (
                x - ((y - 1) * layer.stride - 2 * p + layer.kernel)
                for x, y, p in zip(size, small, layer.padding, strict=True)
            )
            in_channels = layers[min(i + 1, len(layers) - 1)].channels
            out_channels = layer.channels if i else channels
            deconvolutions += [
                nn.ReLU(),
                deconvolution(
                    in_channels,
                    out_channels,
                    layer.kernel,
                    layer.stride,
                    layer.padding,
                    (rows, columns),
                ),
            ]
        self.deconvolutions = nn.Sequential(*deconvolutions)

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B C H W"]:
        """Return one centered frame."""
        frame: Tensor = self.deconvolutions(self.hidden(features).unflatten(1, self.grid))
        return frame


def initialize(network: nn.Module) -> None:
    """Draw weights from torch's global generator as the authors' code does."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, nn.LSTMCell):
            for weight in module.parameters():
                nn.init.uniform_(weight, -0.08, 0.08)
    for module in network.modules():
        if isinstance(module, Transformation):
            nn.init.uniform_(module.encode.weight, -1, 1)
            nn.init.uniform_(module.act.weight, -0.1, 0.1)
