"""PixelCNN: a gated convolutional net that reads a frame in raster order.

The slim net of Ostrovski et al. 2017 (section 4), with the vertical and horizontal stacks of van
den Oord et al. 2016 ("Conditional Image Generation with PixelCNN Decoders", section 2.2), whose
receptive field has no blind spot. It learns online: one step of RMSProp at a constant rate a frame.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from envs.checks import above, at_least, check, within
from envs.dice import seeded
from world_models.density.frames import check_frames, check_state
from world_models.interface import DensityConfig
from world_models.optimizers import load_optimizer


@dataclass(frozen=True)
class PixelCNNConfig(DensityConfig):
    """The slim gated PixelCNN of Ostrovski et al. 2017."""

    one_by_one: bool = True
    """One step a frame, as in the paper; else one joint step a batch: faster, other gains."""
    maps: int = 16
    """Feature maps of each stack."""
    blocks: int = 2
    """Gated residual blocks after the first layer."""
    head: int = 64
    """Width of the last hidden layer."""
    learning_rate: float = 1e-3
    smoothing: float = 0.95
    """Decay of RMSProp's mean square; the papers print the rate alone."""
    epsilon: float = 1e-4
    """RMSProp's floor, for gradients in nats a pixel: without it late gains turn to noise."""

    def __post_init__(self) -> None:
        check(self, "density", at_least(1), "maps", "blocks", "head")
        check(self, "density", above(0), "learning_rate", "epsilon")
        check(self, "density", within(0, 1), "smoothing")

    def build(
        self,
        *,
        shape: tuple[int, int],
        levels: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> "PixelCNN":
        return PixelCNN(self, shape, levels, seed=seed, device=device)


class PixelCNN:
    """p(x) = product over pixels of a softmax given all pixels above and to the left.

    Log-probabilities are in nats. Raises ``UsageError`` on frames or states of another kind.
    """

    def __init__(
        self,
        config: PixelCNNConfig,
        shape: tuple[int, int],
        levels: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.shape, self.levels = config, shape, levels
        self.device = torch.device(device)
        with seeded(seed):
            net = GatedPixelCNN(levels, config.maps, config.blocks, config.head)
        # Maps last in memory, which is what makes the small kernels fast.
        self.net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.scale = 1 / max(levels - 1, 1)
        self.optimiser = torch.optim.RMSprop(
            self.net.parameters(),
            lr=config.learning_rate,
            alpha=config.smoothing,
            eps=config.epsilon,
            foreach=True,
        )
        self.generator = torch.Generator().manual_seed(seed)  # the same on every device

    @torch.no_grad()
    def log_prob(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        check_frames(x, self.shape, self.levels)
        return self._sum(x.to(self.device))

    @torch.no_grad()
    def pixel_log_probs(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        check_frames(x, self.shape, self.levels)
        return self._score(x.to(self.device))

    def observe(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        check_frames(x, self.shape, self.levels)
        size = 1 if self.config.one_by_one else len(x)
        batches = torch.split(x.to(self.device), size)
        before, after = zip(*(self._step(batch) for batch in batches), strict=True)
        return torch.cat(before), torch.cat(after)

    @torch.no_grad()
    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        x = torch.zeros(n, *self.shape, dtype=torch.uint8, device=self.device)
        for i in range(self.shape[0]):
            for j in range(self.shape[1]):
                odds = self.pixel(x, i, j).cpu()
                x[:, i, j] = odds.multinomial(1, generator=self.generator)[:, 0]
        return x

    @torch.no_grad()
    def pixel(self, x: UInt8[Tensor, "B H W"], i: int, j: int) -> Float[Tensor, "B levels"]:
        """Distribution of pixel (i, j) given those before it; looks at no others."""
        top, left = max(0, i - self.net.reach), max(0, j - self.net.reach)
        window = x[:, top : i + 1, left : j + self.net.reach + 1]
        logits: Tensor = self.net(window * self.scale)
        return logits[:, :, i - top, j - left].softmax(1)

    def state_dict(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "levels": self.levels,
            "net": deepcopy(self.net.state_dict()),
            "optimiser": deepcopy(self.optimiser.state_dict()),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_state(state, self.shape, self.levels)
        self.net.load_state_dict(state["net"])
        load_optimizer(self.optimiser, state["optimiser"])
        self.generator.set_state(state["generator"].cpu())

    def _score(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        return -cross_entropy(self.net(x * self.scale), x.long(), reduction="none")

    def _sum(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        # A prediction gain is a small difference of large sums.
        return self._score(x).sum((1, 2), dtype=torch.float64)

    @torch.enable_grad()
    def _step(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """One gradient step on the batch; log-probabilities before and after it."""
        parts = torch.split(x, _PART)
        before = []
        self.optimiser.zero_grad()
        for part in parts:
            log_prob = self._sum(part)
            (-log_prob.sum() / x.numel()).backward()  # type: ignore[no-untyped-call]
            before.append(log_prob.detach())
        self.optimiser.step()
        with torch.no_grad():
            after = [self._sum(part) for part in parts]
        return torch.cat(before), torch.cat(after)


_PART = 16
"""Frames that go through the net at a time: more leave the processor's cache and are slower."""


class GatedPixelCNN(nn.Module):
    """Logits of each pixel's symbol from the pixels before it in raster order.

    The vertical stack sees the rows above, the horizontal stack the row itself to the left and, at
    each layer, what the vertical one has seen. No weight is masked: kernels cover seen pixels only.
    """

    def __init__(self, levels: int, maps: int, blocks: int, head: int) -> None:
        super().__init__()
        self.reach = 3 + blocks
        """Pixels that the receptive field extends upwards and to either side."""
        self.above = nn.Conv2d(1, 2 * maps, (3, 7))
        self.beside = nn.Conv2d(1, 2 * maps, (1, 3))
        self.down = nn.Conv2d(2 * maps, 2 * maps, 1)
        self.mix = nn.Conv2d(maps, maps, 1)
        self.blocks = nn.ModuleList(GatedBlock(maps) for _ in range(blocks))
        self.head = nn.Sequential(
            nn.ReLU(True), nn.Conv2d(maps, head, 1), nn.ReLU(True), nn.Conv2d(head, levels, 1)
        )

    def forward(self, x: Float[Tensor, "B H W"]) -> Float[Tensor, "B levels H W"]:
        # Both kernels end one pixel short of the one that is predicted.
        v = self.above(pad(x[:, None], (3, 3, 3, 0))[:, :, :-1])
        h = self.mix(gate(self.beside(pad(x[:, None], (3, 0))[..., :-1]) + self.down(v)))
        for block in self.blocks:
            v, h = block(v, h)
        logits: Tensor = self.head(h)
        return logits


class GatedBlock(nn.Module):
    """One residual layer of both stacks (van den Oord et al. 2016, figure 2)."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.above = nn.Conv2d(maps, 2 * maps, (2, 3))
        self.beside = nn.Conv2d(maps, 2 * maps, (1, 2))
        self.down = nn.Conv2d(2 * maps, 2 * maps, 1)
        self.mix = nn.Conv2d(maps, maps, 1)

    def forward(
        self, v: Float[Tensor, "B pairs H W"], h: Float[Tensor, "B maps H W"]
    ) -> tuple[Float[Tensor, "B pairs H W"], Float[Tensor, "B maps H W"]]:
        v = self.above(pad(gate(v), (1, 1, 1, 0)))
        return v, h + self.mix(gate(self.beside(pad(h, (1, 0))) + self.down(v)))


def gate(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
    """tanh(a / 2) sigmoid(b) of the two halves of the maps (equation 2, but for the a / 2)."""
    # As tanh(a / 2) = 2 sigmoid(a) - 1, and a CPU's sigmoid is several times faster than its tanh.
    value, door = x.sigmoid().chunk(2, dim=1)
    return (2 * value - 1) * door
