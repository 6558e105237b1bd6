"""Context-tree switching: one adaptive Markov model a pixel (Bellemare et al. 2016, section 3).

Each pixel has a tree over its four causal neighbours, the left one split first. A node predicts by
its own counts or as its child does, and a switching weight says which has predicted better (Veness
et al. 2012, "Context Tree Switching"). It learns by counting, so a frame is learned at one look.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from world_models.density.context_trees import Trees, reserve, sample, sweep
from world_models.density.frames import check_frames, check_state
from world_models.interface import DensityConfig

NO_PIXELS = np.empty((0, 0))


@dataclass(frozen=True)
class CTSConfig(DensityConfig):
    """A context-tree model of each pixel; the paper leaves nothing to tune."""

    def build(
        self,
        *,
        shape: tuple[int, int],
        levels: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> "CTS":
        return CTS(shape, levels, seed=seed, device=device)


class CTS:
    """p(x) = product over pixels of that pixel's context tree given its neighbours.

    Estimators are Dirichlet-multinomials with the Perks prior 1/levels, the prior of staying is
    1/2, the switching rate after t frames is 1/(t+1), and pixels outside the frame read as symbol
    0. Log-probabilities are in nats. The counts live in host memory, the answers on ``device``.
    At 42 x 42 pixels and 8 levels they never take more than 340 MB, and usually a tenth of it.
    Raises ``UsageError`` on frames or states of another kind.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        levels: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shape, self.levels, self.device = shape, levels, device
        self.frames = 0
        self.generator = torch.Generator().manual_seed(seed)
        roots = 1 + shape[0] * shape[1]
        self.trees = Trees(
            np.zeros((roots, 2 * levels + 1), np.int32),
            np.full(roots, 0.5),
            np.zeros((1, levels + 1), np.int32),
            np.array([roots, 1]),
        )

    def log_prob(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        check_frames(x, self.shape, self.levels)
        frames = x.contiguous().numpy(force=True)
        before, _ = sweep(self.trees, frames, self.frames, False, NO_PIXELS)
        return torch.from_numpy(before).to(self.device)

    def pixel_log_probs(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        check_frames(x, self.shape, self.levels)
        each = np.empty((len(x), self.shape[0] * self.shape[1]))
        sweep(self.trees, x.contiguous().numpy(force=True), self.frames, False, each)
        return torch.from_numpy(np.log(each)).view(x.shape).to(self.device)

    def observe(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        check_frames(x, self.shape, self.levels)
        frames = x.contiguous().numpy(force=True)
        before, after = np.empty(len(x)), np.empty(len(x))
        for i in range(0, len(x), 32):  # 32, so that no more room is made than will be needed
            part = slice(i, i + 32)
            reserve(self.trees, self.shape, len(frames[part]))
            before[part], after[part] = sweep(
                self.trees, frames[part], self.frames, True, NO_PIXELS
            )
            self.frames += len(frames[part])
        return torch.from_numpy(before).to(self.device), torch.from_numpy(after).to(self.device)

    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        uniform = torch.rand(n, *self.shape, dtype=torch.float64, generator=self.generator)
        return torch.from_numpy(sample(self.trees, uniform.numpy())).to(self.device)

    def state_dict(self) -> dict[str, Any]:
        nodes, leaves = self.trees.used.tolist()
        return {
            "shape": self.shape,
            "levels": self.levels,
            "frames": self.frames,
            "nodes": torch.from_numpy(self.trees.nodes[:nodes].copy()),
            "weights": torch.from_numpy(self.trees.weights[:nodes].copy()),
            "leaves": torch.from_numpy(self.trees.leaves[:leaves].copy()),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_state(state, self.shape, self.levels)
        nodes, weights, leaves = (
            state[pool].numpy(force=True).copy() for pool in ("nodes", "weights", "leaves")
        )
        self.trees = Trees(nodes, weights, leaves, np.array([len(nodes), len(leaves)]))
        self.frames = state["frames"]
        self.generator.set_state(state["generator"].cpu())
