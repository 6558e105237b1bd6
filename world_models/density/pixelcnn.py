"""PixelCNN: a gated convolutional network that is autoregressive over pixels in raster order.

The small network of Ostrovski et al. 2017, with the vertical and horizontal stacks of
van den Oord et al. 2016 ("Conditional Image Generation with PixelCNN Decoders", section 2.2), whose
receptive field has no blind spot. It is trained online, by one RMSProp update per frame at a
constant learning rate.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from ...envs.checks import above, at_least, check, within
from ...envs.prng import seeded
from ..interface import DensityConfig
from ..precision import FLOAT32, Precision
from ..state import HasState
from .frames import check_frames, check_state


@dataclass(frozen=True)
class PixelCNNConfig(DensityConfig):
    """The small gated PixelCNN of Ostrovski et al. 2017."""

    update_per_frame: bool = True
    """One update per frame, as in the paper; else one per batch: faster, with other gains."""
    maps: int = 16
    """Feature maps of each stack."""
    blocks: int = 2
    """Gated residual blocks after the first layer."""
    head: int = 64
    """Width of the last hidden layer."""
    learning_rate: float = 1e-3
    """Of RMSProp, constant (Ostrovski et al. 2017)."""
    rmsprop_alpha: float = 0.95
    """Decay of RMSProp's mean square; the papers give the learning rate only."""
    rmsprop_eps: float = 1e-4
    """RMSProp's epsilon, for gradients in nats per pixel; below it, late gains become noise."""

    def __post_init__(self) -> None:
        check(self, "density", at_least(1), "maps", "blocks", "head")
        check(self, "density", above(0), "learning_rate", "rmsprop_eps")
        check(self, "density", within(0, 1), "rmsprop_alpha")

    def build(
        self,
        *,
        shape: tuple[int, int],
        levels: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "PixelCNN":
        return PixelCNN(self, shape, levels, seed=seed, device=device, precision=precision)


class PixelCNN(HasState):
    """p(x) = product over pixels of a softmax given the pixels before them in raster order.

    Log-probabilities are in nats. Raises UsageError for frames or states of another shape or
    number of levels.
    """

    STATE = ("shape", "levels", "net", "optimizer", "generator")

    def __init__(
        self,
        config: PixelCNNConfig,
        shape: tuple[int, int],
        levels: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.shape, self.levels = config, shape, levels
        self.device = torch.device(device)
        self.precision = precision.for_small_kernels(self.device)
        with seeded(seed):
            net = GatedPixelCNN(levels, config.maps, config.blocks, config.head)
        # The small kernels are fastest in channels-last memory format.
        self.net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.scale = 1 / max(levels - 1, 1)
        self.optimizer = torch.optim.RMSprop(
            self.net.parameters(),
            lr=config.learning_rate,
            alpha=config.rmsprop_alpha,
            eps=config.rmsprop_eps,
            foreach=True,
        )
        self.generator = torch.Generator().manual_seed(seed)  # the same on every device

    @torch.no_grad()
    def log_prob(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        check_frames(x, self.shape, self.levels)
        return self._log_prob(x.to(self.device))

    @torch.no_grad()
    def pixel_log_probs(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        check_frames(x, self.shape, self.levels)
        return self._pixel_log_probs(x.to(self.device))

    def observe(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        check_frames(x, self.shape, self.levels)
        batch_size = 1 if self.config.update_per_frame else len(x)
        batches = torch.split(x.to(self.device), batch_size)
        before, after = zip(*(self._update(batch) for batch in batches), strict=True)
        return torch.cat(before), torch.cat(after)

    @torch.no_grad()
    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        x = torch.zeros(n, *self.shape, dtype=torch.uint8, device=self.device)
        for i in range(self.shape[0]):
            for j in range(self.shape[1]):
                probs = self.pixel_probs(x, i, j).cpu()
                x[:, i, j] = probs.multinomial(1, generator=self.generator)[:, 0]
        return x

    @torch.no_grad()
    def pixel_probs(self, x: UInt8[Tensor, "B H W"], i: int, j: int) -> Float[Tensor, "B levels"]:
        """Return the distribution of pixel (i, j) given those before it; reads no others."""
        top, left = max(0, i - self.net.radius), max(0, j - self.net.radius)
        window = x[:, top : i + 1, left : j + self.net.radius + 1]
        logits = self._logits(window)
        return logits[:, :, i - top, j - left].softmax(1)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_state(state, self.shape, self.levels)
        super().load_state_dict(state | {"shape": self.shape})

    def _logits(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B levels H W"]:
        with self.precision.autocast(self.device):
            logits: Tensor = self.net(x * self.scale)
        return logits.float()

    def _pixel_log_probs(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        return -cross_entropy(self._logits(x), x.long(), reduction="none")

    def _log_prob(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        # In float64, because a prediction gain is a small difference of large sums.
        return self._pixel_log_probs(x).sum((1, 2), dtype=torch.float64)

    @torch.enable_grad()
    def _update(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Take one gradient step on the batch; return log-probabilities before and after it."""
        parts = torch.split(x, _CHUNK)
        before = []
        self.optimizer.zero_grad()
        for part in parts:
            log_prob = self._log_prob(part)
            (-log_prob.sum() / x.numel()).backward()  # type: ignore[no-untyped-call]
            before.append(log_prob.detach())
        self.optimizer.step()
        with torch.no_grad():
            after = [self._log_prob(part) for part in parts]
        return torch.cat(before), torch.cat(after)


_CHUNK = 16
"""Frames per forward pass: the activations of more do not fit in the CPU's cache."""


class GatedPixelCNN(nn.Module):
    """Logits of each pixel's symbol from the pixels before it in raster order.

    The vertical stack reads the rows above; the horizontal stack reads the pixels to the left and,
    at each layer, the vertical stack. Kernels cover earlier pixels only, so no weight is masked.
    """

    def __init__(self, levels: int, maps: int, blocks: int, head: int) -> None:
        super().__init__()
        self.radius = 3 + blocks
        """Pixels by which the receptive field extends upwards and to either side."""
        self.vertical = nn.Conv2d(1, 2 * maps, (3, 7))
        self.horizontal = nn.Conv2d(1, 2 * maps, (1, 3))
        self.vertical_to_horizontal = nn.Conv2d(2 * maps, 2 * maps, 1)
        self.output = nn.Conv2d(maps, maps, 1)
        self.blocks = nn.ModuleList(GatedBlock(maps) for _ in range(blocks))
        self.head = nn.Sequential(
            nn.ReLU(True), nn.Conv2d(maps, head, 1), nn.ReLU(True), nn.Conv2d(head, levels, 1)
        )

    def forward(self, x: Float[Tensor, "B H W"]) -> Float[Tensor, "B levels H W"]:
        """Return the logits of each pixel's symbol, for symbols scaled to 0..1."""
        # Both kernels end one pixel before the one that is predicted.
        v = self.vertical(pad(x[:, None], (3, 3, 3, 0))[:, :, :-1])
        h = self.horizontal(pad(x[:, None], (3, 0))[..., :-1]) + self.vertical_to_horizontal(v)
        h = self.output(gate(h))
        for block in self.blocks:
            v, h = block(v, h)
        logits: Tensor = self.head(h)
        return logits


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
