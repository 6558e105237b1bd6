"""PixelRNN: LSTMs that run along the diagonals of a frame, in both directions.

The Diagonal BiLSTM of van den Oord et al. 2016 ("Pixel Recurrent Neural Networks", sections 3.2 to
3.4). A pixel is predicted from all pixels before it in raster order, at any distance.
"""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn.functional import pad

from ...envs.checks import at_least, check
from ..precision import FLOAT32, Precision
from .neural import AutoregressiveDensity, NeuralDensityConfig
from .pixel_bias import PixelBias


@dataclass(frozen=True)
class PixelRNNConfig(NeuralDensityConfig):
    """A small PixelRNN of diagonal LSTMs (van den Oord et al. 2016)."""

    rmsprop_eps: float = 1e-6
    """RMSProp's epsilon, for the small gradients that the biases of pixels leave."""
    hidden: int = 32
    """Units of an LSTM; the maps between layers have twice as many features."""
    layers: int = 2
    """Layers, each of one LSTM per direction."""
    head: int = 64
    """Width of the last hidden layer."""
    position: bool = True
    """Biases of each symbol at each pixel, which begin at the log-frequencies of the first batch:
    not in the paper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "density", at_least(1), "hidden", "layers", "head")

    @property
    def density_class(self) -> type["PixelRNN"]:
        return PixelRNN

    def build_network(self, shape: tuple[int, int], levels: int) -> nn.Module:
        return DiagonalNetwork(
            levels, self.hidden, self.layers, self.head, shape if self.position else None
        )


class PixelRNN(AutoregressiveDensity):
    """p(x) = product over pixels of a softmax given the pixels before them in raster order.

    A conditional takes one step of each LSTM if it follows the last one in raster order, of frames
    with the same earlier pixels; otherwise it takes a step for each earlier pixel.
    """

    net: "DiagonalNetwork"

    def __init__(
        self,
        config: PixelRNNConfig,
        shape: tuple[int, int],
        levels: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> None:
        super().__init__(config, shape, levels, seed=seed, device=device, precision=precision)
        self._scan: RasterScan | None = None

    @torch.no_grad()
    def conditional(self, x: UInt8[Tensor, "B H W"], i: int, j: int) -> Float[Tensor, "B levels"]:
        x, scan = x.to(self.device), self._scan
        if scan is None or not scan.precedes(x, i, j):
            scan = RasterScan(self.net, x)
        with self.precision.autocast(self.device):
            logits = scan.advance(x, i, j)
        # A scan of whole frames is not continued, and its memory is free.
        self._scan = scan if (i + 1, j + 1) != self.shape else None
        return logits.float().softmax(1)


class DiagonalNetwork(nn.Module):
    """Logits of each pixel's symbol from all pixels before it in raster order.

    Kernels cover earlier pixels only, so no weight is masked. An additional column on the right
    passes the last pixel of a row to the next row.
    """

    def __init__(
        self, levels: int, hidden: int, layers: int, head: int, shape: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.hidden, features = hidden, 2 * hidden
        self.scale = 1 / max(levels - 1, 1)
        self.above = nn.Conv2d(1, features, (3, 7))
        self.left = nn.Conv2d(1, features, (1, 3), bias=False)
        self.layers = nn.ModuleList(DiagonalBiLSTM(features, hidden) for _ in range(layers))
        output = nn.Linear(head, levels)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(features, head), nn.ReLU(True), output)
        self.position = PixelBias(shape, levels) if shape else None
        """Biases of each pixel, if the shape of frames is given; it begins with these alone."""
        if shape:
            nn.init.zeros_(output.weight)
            nn.init.zeros_(output.bias)

    def forward(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B levels H W"]:
        """Return the logits of each pixel's symbol."""
        y = self.embed(pad(x, (3, 4, 3, 0))).permute(2, 3, 0, 1)
        for layer in self.layers:
            y = layer(y)
        logits: Tensor = self.head(y[:, :-1])
        logits = logits.permute(2, 3, 0, 1)
        return logits if self.position is None else logits + self.position()

    def embed(self, x: UInt8[Tensor, "B H3 W6"]) -> Float[Tensor, "B F H W"]:
        """Return the first features, of frames with margins of 3 above, left and right."""
        pixels = x[:, None] * self.scale
        features: Tensor = self.above(pixels[:, :, :-1]) + self.left(pixels[:, :, 3:, :-4])
        return features


class DiagonalBiLSTM(nn.Module):
    """One residual layer: an LSTM from left to right, and one from right to left.

    The state of a pixel follows from that of the pixel beside it, and from the hidden state of the
    pixel above it. So all pixels of a diagonal, of all frames and in both directions, take a step
    together. Weights have a first axis of two directions.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.from_input = uniform(hidden, 2, features, 4 * hidden)
        self.from_state = uniform(hidden, 2, 2 * hidden, 4 * hidden)
        self.bias = uniform(hidden, 2, 1, 4 * hidden)
        self.output = nn.Linear(hidden, features)

    def forward(self, y: Float[Tensor, "H W B F"]) -> Float[Tensor, "H W B F"]:
        """Return the next layer."""
        rows, columns, batch, _ = y.shape
        order, sizes = diagonals(rows, columns, y.device)
        inputs = y.flatten(0, 1).index_select(0, order.flatten()).view(2, -1, y.shape[3])
        gates = torch.baddbmm(self.bias, inputs, self.from_input)
        h = c = torch.zeros(2, 0, batch, self.hidden, device=y.device)
        states = []
        for d, z in enumerate(torch.split(gates, [size * batch for size in sizes], 1)):
            # The pixels above the first one and beside the last one may lie outside.
            outside = (0, 0, 0, 0, int(d < columns), int(d < rows))
            h, c = pad(h, outside), pad(c, outside)
            above_and_beside = torch.cat([h[:, :-1], h[:, 1:]], -1).flatten(1, 2)
            z = torch.baddbmm(z, above_and_beside, self.from_state)
            h, c = lstm(z.view(2, -1, batch, 4 * self.hidden), c[:, 1:])
            states.append(h)
        place = order.argsort(dim=1) + order.new_tensor([[0], [rows * columns]])
        h = torch.cat(states, 1).flatten(0, 1).index_select(0, place.flatten())
        right, left = h.view(2, rows, columns, batch, self.hidden)
        # From right to left a pixel is reached after those beyond it, so the row above is read.
        change: Tensor = self.output(right + pad(left[:-1], (0, 0, 0, 0, 0, 0, 1, 0)))
        return y + change

    def step(
        self,
        direction: int,
        y: Float[Tensor, "B F"],
        above: Float[Tensor, "B D"],
        beside: Float[Tensor, "B D"],
        c: Float[Tensor, "B D"],
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Return a pixel's hidden and cell state, given the one beside it and that above."""
        z = torch.addmm(self.bias[direction], y, self.from_input[direction])
        above_and_beside = torch.cat([above, beside], -1)
        return lstm(torch.addmm(z, above_and_beside, self.from_state[direction]), c)


def uniform(hidden: int, *shape: int) -> nn.Parameter:
    """Return weights initialized as those of torch's LSTMs."""
    return nn.Parameter(torch.empty(shape).uniform_(-(hidden**-0.5), hidden**-0.5))


def lstm(
    gates: Float[Tensor, "*S D4"], c: Float[Tensor, "*S D"]
) -> tuple[Float[Tensor, "*S D"], Float[Tensor, "*S D"]]:
    """Return the next hidden and cell state (equation 3, except for tanh(a / 2) of the content)."""
    # tanh(a / 2) = 2 sigmoid(a) - 1, and on a CPU sigmoid is several times faster than tanh.
    o, f, i, g = gates.sigmoid().chunk(4, -1)
    c = f * c + i * (2 * g - 1)
    return o * c.tanh(), c


def diagonals(
    rows: int, columns: int, device: torch.device
) -> tuple[Int64[Tensor, "2 P"], list[int]]:
    """Return the pixels' raster indices by diagonal, and the number of pixels on each diagonal.

    The first axis has the diagonals that begin at the upper left, and those at the upper right.
    """
    column = torch.arange(columns)
    distance = torch.stack([column, column.flip(0)])[:, None] + torch.arange(rows)[:, None]
    order = distance.flatten(1).argsort(dim=1, stable=True)
    return order.to(device), distance[0].flatten().bincount().tolist()


class RasterScan:
    """The states of a network while the pixels of frames become known in raster order."""

    def __init__(self, net: DiagonalNetwork, x: UInt8[Tensor, "B H W"]) -> None:
        self.net, self.weights = net, versions(net)
        self.layers = cast(list[DiagonalBiLSTM], list(net.layers))
        self.known = torch.zeros_like(pad(x, (3, 4, 3, 0)))
        """The earlier pixels, with the margins of ``DiagonalNetwork.embed``."""
        self.columns = x.shape[2] + 1
        size = len(self.layers), self.columns + 1, len(x)
        self.h = torch.zeros(2, *size, net.hidden, device=x.device)
        """The newest hidden state of each column [direction, layer, column]. The last one, beside
        the first column and beside the additional one, remains 0."""
        self.c = self.h[0, :, 0].clone()
        """The newest cell states from left to right."""
        self.inputs = torch.zeros(*size, 2 * net.hidden, device=x.device)
        """The present row's inputs to each layer, for the LSTMs from right to left."""
        self.features = self.inputs[0, 0]
        """The last layer's features of the newest pixel."""
        self.num_steps = 0

    def precedes(self, x: UInt8[Tensor, "B H W"], i: int, j: int) -> bool:
        """Return whether pixel (i, j) of x is the last predicted one or comes after it.

        That is so if the weights and all pixels before the last predicted one are the same.
        """
        row, column = divmod(self.num_steps - 1, self.columns)
        known = self.known[:, 3:, 3:-4]
        return (
            (row, column) <= (i, j)
            and known.shape == x.shape
            and self.weights == versions(self.net)
            and torch.equal(known[:, :row], x[:, :row])
            and torch.equal(known[:, row, :column], x[:, row, :column])
        )

    def advance(self, x: UInt8[Tensor, "B H W"], i: int, j: int) -> Float[Tensor, "B levels"]:
        """Return the logits of pixel (i, j), after steps of the pixels since the last one."""
        while self.num_steps <= i * self.columns + j:
            row, column = divmod(self.num_steps, self.columns)
            if column:
                self.known[:, row + 3, column + 2] = x[:, row, column - 1]
            self._step_right(row, column)
            if column == self.columns - 1:
                self._step_left()
            self.num_steps += 1
        logits: Tensor = self.net.head(self.features)
        return logits if self.net.position is None else logits + self.net.position()[:, i, j]

    def _step_right(self, row: int, column: int) -> None:
        """Take a step of each layer from left to right."""
        y = self.net.embed(self.known[:, row : row + 4, column : column + 7])[:, :, 0, 0]
        for k, layer in enumerate(self.layers):
            self.inputs[k, column] = y
            right, left = self.h[:, k]  # in this column: of the row above
            c = self.c[k] if column else torch.zeros_like(self.c[k])
            h, self.c[k] = layer.step(0, y, right[column], right[column - 1], c)
            y = y + layer.output(h + left[column])
            right[column] = h
        self.features = y

    def _step_left(self) -> None:
        """Run each layer from right to left over a whole row."""
        for k, layer in enumerate(self.layers):
            h, c = self.h[1, k], torch.zeros_like(self.c[k])
            for column in reversed(range(self.columns)):
                h[column], c = layer.step(1, self.inputs[k, column], h[column], h[column + 1], c)


def versions(net: nn.Module) -> list[int]:
    """Return numbers that differ after any change of the weights."""
    return [weight._version for weight in net.parameters()]
