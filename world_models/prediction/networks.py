"""The published layers of action-conditional prediction (Oh et al. 2015, section 3 and appendix).

An encoder of convolutions, a transformation in which action and features multiply, and a decoder
that mirrors the encoder. Pixels are in 0..1 less the mean frame.
"""

import math
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from envs.errors import UsageError
from world_models.prediction.subpixel import convolution, deconvolution

Size = Literal["published", "small", "tiny"]


@dataclass(frozen=True)
class Layer:
    """A convolution, and the deconvolution that mirrors it."""

    channels: int
    kernel: int
    stride: int
    padding: tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """Everything that a size of the network is."""

    layers: tuple[Layer, ...]
    hidden: int
    """Width of the code, of the LSTM and of the factors."""
    least: tuple[int, int]
    """Rows and columns of the smallest frame it is for."""


SIZES: dict[Size, Plan] = {
    "published": Plan(
        (
            Layer(64, 8, 2, (0, 1)),
            Layer(128, 6, 2, (1, 1)),
            Layer(128, 6, 2, (1, 1)),
            Layer(128, 4, 2, (0, 0)),
        ),
        hidden=2048,
        least=(64, 64),
    ),
    # For 84 x 84 grey frames.
    "small": Plan(
        (Layer(16, 8, 4, (2, 2)), Layer(32, 4, 2, (1, 1)), Layer(64, 4, 2, (1, 1))),
        hidden=512,
        least=(20, 20),
    ),
    # For worlds of a few pixels: the same transformation between plain layers.
    "tiny": Plan((), hidden=128, least=(1, 1)),
}


def plan_for(size: Size, obs_shape: tuple[int, int, int]) -> Plan:
    """The size's layers; raises UsageError where the frames are too small for them."""
    plan = SIZES[size]
    if obs_shape[1] < plan.least[0] or obs_shape[2] < plan.least[1]:
        raise UsageError(
            f"A predictor of size {size} needs frames of {plan.least[0]} x {plan.least[1]} pixels "
            f"or more, and these are {obs_shape[1]} x {obs_shape[2]}; choose a smaller size."
        )
    return plan


class Encoder(nn.Module):
    """Looks to features: convolutions and a hidden layer, each with a ReLU."""

    def __init__(self, plan: Plan, obs_shape: tuple[int, int, int]) -> None:
        super().__init__()
        before, *size = obs_shape
        self.shapes = [tuple(obs_shape)]  # of what enters each layer, and of what leaves the last
        convolutions: list[nn.Module] = []
        for layer in plan.layers:
            convolutions += [
                convolution(before, layer.channels, layer.kernel, layer.stride, layer.padding),
                nn.ReLU(),
            ]
            before = layer.channels
            size = [
                (x + 2 * p - layer.kernel) // layer.stride + 1
                for x, p in zip(size, layer.padding, strict=True)
            ]
            self.shapes.append((before, *size))
        self.convolutions = nn.Sequential(*convolutions)
        self.hidden = nn.Sequential(nn.Linear(math.prod(self.shapes[-1]), plan.hidden), nn.ReLU())

    def forward(self, look: Float[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        features: Tensor = self.hidden(self.convolutions(look).flatten(1))
        return features


class Transformation(nn.Module):
    """h' = W_dec((W_enc h) * (W_act a)) + b: one matrix an action, factored (equation 5).

    With no actions, W_act is a constant and the net cannot know what was done.
    """

    def __init__(self, hidden: int, num_actions: int, factors: int) -> None:
        super().__init__()
        self.encode = nn.Linear(hidden, factors)
        self.act = nn.Linear(num_actions, factors)
        self.decode = nn.Linear(factors, hidden)

    def forward(
        self, features: Float[Tensor, "B D"], action: Float[Tensor, "B A"]
    ) -> Float[Tensor, "B D"]:
        code: Tensor = self.decode(self.encode(features) * self.act(action))
        return code


class Decoder(nn.Module):
    """The encoder's mirror, from a code to one frame; its last layer is linear."""

    def __init__(self, plan: Plan, shapes: list[tuple[int, ...]], colours: int) -> None:
        super().__init__()
        self.grid = shapes[-1] if plan.layers else (colours, *shapes[0][1:])
        self.hidden: nn.Module = nn.Linear(plan.hidden, math.prod(self.grid))
        if not plan.layers:  # a hidden layer in the place of the deconvolutions
            between = nn.Linear(plan.hidden, plan.hidden)
            self.hidden = nn.Sequential(between, nn.ReLU(), self.hidden)
        deconvolutions: list[nn.Module] = []
        for i, layer in reversed(list(enumerate(plan.layers))):
            (_, *size), (_, *small) = shapes[i], shapes[i + 1]
            rows, columns = (
                x - ((y - 1) * layer.stride - 2 * p + layer.kernel)
                for x, y, p in zip(size, small, layer.padding, strict=True)
            )
            before = plan.layers[min(i + 1, len(plan.layers) - 1)].channels
            after = layer.channels if i else colours
            deconvolutions += [
                nn.ReLU(),
                deconvolution(
                    before,
                    after,
                    layer.kernel,
                    layer.stride,
                    layer.padding,
                    (rows, columns),
                ),
            ]
        self.deconvolutions = nn.Sequential(*deconvolutions)

    def forward(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B C H W"]:
        frame: Tensor = self.deconvolutions(self.hidden(code).unflatten(1, self.grid))
        return frame


def initialise(net: nn.Module) -> None:
    """As the authors' code draws weights; call it under a seeded generator."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, nn.LSTMCell):
            for weight in module.parameters():
                nn.init.uniform_(weight, -0.08, 0.08)
    for module in net.modules():
        if isinstance(module, Transformation):
            nn.init.uniform_(module.encode.weight, -1, 1)
            nn.init.uniform_(module.act.weight, -0.1, 0.1)


def one_hot(action: Tensor, num_actions: int) -> Tensor:
    """Actions [B] as rows [B, A].

    Raises UsageError for one that the predictor does not know, where asking does not make a GPU
    wait.
    """
    if action.device.type == "cpu" and len(action) and int(action.max()) >= num_actions:
        raise UsageError(
            f"Action {int(action.max())} was asked of a predictor that knows actions "
            f"0..{num_actions - 1}; record and train it with the same action set."
        )
    return functional.one_hot(action, num_actions).float()
