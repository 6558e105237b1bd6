"""MADE: a masked fully connected network that is autoregressive over pixels (Germain et al. 2015).

Each hidden unit has a degree, the rank of the last pixel that it may depend on. Masks remove the
weights from later pixels and to earlier ones, so one forward pass gives all conditionals. The
network can learn several orders of the pixels with the same weights; the density is then the
mixture of the orders, as in EoNADE (Uria et al. 2014).
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from ...envs.checks import at_least, check
from .neural import AutoregressiveDensity, NeuralDensity, NeuralDensityConfig
from .pixel_bias import PixelBias


@dataclass(frozen=True)
class MADEConfig(NeuralDensityConfig):
    """A masked autoencoder over one order of the pixels, or a mixture over several."""

    learning_rate: float = 3e-3
    """Of RMSProp."""
    rmsprop_eps: float = 1e-6
    """RMSProp's epsilon, for weights to single pixels, whose gradients are small."""
    hidden: int = 512
    """Units of each hidden layer."""
    layers: int = 1
    """Hidden layers."""
    orders: int = 1
    """Orders of the pixels: raster order, then random ones. The density is their mixture, and takes
    one forward pass for each; only a single order has conditionals of pixels, as coding needs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "density", at_least(1), "hidden", "layers", "orders")

    def example(self) -> "MADEConfig":
        return replace(self, hidden=64)

    @property
    def density_class(self) -> type[NeuralDensity]:
        return MADE if self.orders == 1 else MixtureOfOrders

    def build_network(self, shape: tuple[int, int], levels: int) -> nn.Module:
        return MaskedAutoencoder(shape, levels, self.hidden, self.layers, self.orders)


class MADE(AutoregressiveDensity):
    """p(x) = product over pixels of a softmax given the pixels before them in raster order."""

    chunk = 256  # its weights are larger than its activations

    net: "MaskedAutoencoder"

    @torch.no_grad()
    def conditional(self, x: UInt8[Tensor, "B H W"], i: int, j: int) -> Float[Tensor, "B levels"]:
        with self.precision.autocast(self.device):
            logits = self.net.pixel_logits(x.to(self.device), i * self.shape[1] + j)
        return logits.float().softmax(1)


class MixtureOfOrders(NeuralDensity):
    """p(x) = the mean over K orders of the pixels of p(x | order), which is exact."""

    chunk = MADE.chunk

    net: "MaskedAutoencoder"

    @torch.no_grad()
    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        drawn = torch.randint(len(self.net.ranks), (n,), generator=self.generator)
        x = torch.zeros(n, *self.shape, dtype=torch.uint8, device=self.device)
        for order in sorted(set(drawn.tolist())):
            rows = (drawn == order).nonzero()[:, 0].to(self.device)
            part = x[rows]
            for pixel in self.net.ranks[order].argsort().tolist():
                with self.precision.autocast(self.device):
                    logits = self.net.pixel_logits(part, pixel, order)
                probs = logits.float().softmax(1).cpu()
                symbols = probs.multinomial(1, generator=self.generator)[:, 0]
                part.flatten(1)[:, pixel] = symbols.to(part)
            x[rows] = part
        return x

    def log_probs_of_orders(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "K B"]:
        """Return log p(x | order) of each frame in nats, for each of the K orders."""
        log_probs, x = [], x.to(self.device)
        for order in range(len(self.net.ranks)):
            with self.precision.autocast(self.device):
                logits = self.net(x, order)
            nats = cross_entropy(logits.float(), x.long(), reduction="none")
            log_probs.append(-nats.sum((1, 2), dtype=torch.float64))
        return torch.stack(log_probs)

    def _objective(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        return self.log_probs_of_orders(x).logsumexp(0) - math.log(len(self.net.ranks))


class MaskedAutoencoder(nn.Module):
    """Logits of each pixel's symbol from the pixels of lower rank, in any of K orders.

    ``ranks[k]`` is the position 0..D-1 of each pixel in order k, and ``degrees[k]`` the degree of
    each unit of each hidden layer: the highest rank of a pixel that the unit depends on.
    """

    ranks: Tensor
    degrees: Tensor

    def __init__(
        self, shape: tuple[int, int], levels: int, hidden: int, layers: int, orders: int
    ) -> None:
        super().__init__()
        self.shape, self.levels = shape, levels
        pixels = math.prod(shape)
        sizes = [pixels] + [hidden] * layers
        self.layers = nn.ModuleList(MaskedLinear(a, b) for a, b in pairwise(sizes))
        self.output = nn.Parameter(torch.zeros(levels, pixels, hidden))
        self.bias = PixelBias(shape, levels)  # it begins as independent pixels
        shuffled = [torch.randperm(pixels) for _ in range(orders - 1)]
        self.register_buffer("ranks", torch.stack([torch.arange(pixels), *shuffled]))
        degrees = [sample_degrees(pixels, hidden, layers) for _ in range(orders)]
        self.register_buffer("degrees", torch.stack(degrees))

    def forward(self, x: UInt8[Tensor, "B H W"], order: int = 0) -> Float[Tensor, "B levels H W"]:
        """Return the logits of all pixels."""
        weight = (self.output * self._output_mask(order)).flatten(0, 1)
        logits = linear(self._features(x, order), weight, self.bias().flatten())
        return logits.view(len(x), self.levels, *self.shape)

    def pixel_logits(
        self, x: UInt8[Tensor, "B H W"], pixel: int, order: int = 0
    ) -> Float[Tensor, "B levels"]:
        """Return the logits of one pixel, by its number in raster order."""
        weight = self.output[:, pixel] * self._output_mask(order)[pixel]
        return linear(self._features(x, order), weight, self.bias().flatten(1)[:, pixel])

    def _features(self, x: UInt8[Tensor, "B H W"], order: int) -> Float[Tensor, "B hidden"]:
        """Return the last hidden layer, for one order."""
        h = (x - self.bias.mean()).flatten(1)
        below = self.ranks[order]
        for layer, degrees in zip(self.layers, self.degrees[order], strict=True):
            h = layer(h, degrees[:, None] >= below).relu()  # equation 8
            below = degrees
        return h

    def _output_mask(self, order: int) -> Bool[Tensor, "pixels hidden"]:
        return self.ranks[order][:, None] > self.degrees[order][-1]  # equation 9


class MaskedLinear(nn.Module):
    """A linear layer some of whose weights are masked."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(
        self, x: Float[Tensor, "B in"], mask: Bool[Tensor, "out in"]
    ) -> Float[Tensor, "B out"]:
        """Return the outputs, with the weights where the mask is False taken as 0."""
        return linear(x, self.linear.weight * mask, self.linear.bias)


def sample_degrees(pixels: int, hidden: int, layers: int) -> Tensor:
    """Sample the degrees of hidden units; a unit's is not below the least of the layer before."""
    degrees: list[Tensor] = []
    for _ in range(layers):
        least = int(degrees[-1].min()) if degrees else 0
        degrees.append(torch.randint(least, max(pixels - 1, least + 1), (hidden,)))
    return torch.stack(degrees)
