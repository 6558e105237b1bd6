"""Context-tree switching (CTS): one variable-order Markov model per pixel.

The density of Bellemare et al. 2016, section 3. Each pixel has a tree over its four causal
neighbors, the left one split first. A node mixes its own estimator with its child's prediction, by
a weight that is the posterior probability of its own (Veness et al. 2012, "Context Tree
Switching"). The model learns by counting, so one visit suffices to learn a frame.

To code videos, a tree is also over pixels of the two frames before.
"""

from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from ...envs.errors import UsageError
from ..interface import DensityConfig
from ..precision import FLOAT32, Precision
from .frames import check_frames, check_state

CONTEXT = ((0, 0, -1), (0, -1, 0), (0, -1, -1), (0, -1, 1))
"""The pixels left, up, up-left and up-right: frames before, rows below and columns to the right."""
TEMPORAL_CONTEXT = (
    (1, 0, 0), (0, 0, -1), (0, -1, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0)
)  # fmt: skip
"""The pixel itself in the frame before, left, up, the pixels right and below in the frame before,
and the pixel itself two frames before."""
NO_PIXEL_PROBS = np.empty((0, 0))
"""Tells ``score_and_update`` not to return the probabilities of pixels."""


@dataclass(frozen=True)
class CTSConfig(DensityConfig):
    """Context-tree switching for each pixel; it has no hyperparameters."""

    def build(
        self,
        *,
        shape: tuple[int, int],
        levels: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "CTS":
        return CTS(shape, levels, seed=seed, device=device)

    def build_temporal(
        self, *, shape: tuple[int, int], levels: int, seed: int = 0
    ) -> "TemporalCTS":
        return TemporalCTS(shape, levels, seed=seed)


class CTS:
    """p(x) as the product over pixels of each context tree's prediction given its neighbors.

        p_node(x) = w e(x) + (1 - w) p_child(x),  e(x) = (count(x) + 1 / levels) / (total + 1)

    A pixel's prediction is that of its root; the neighbors' symbols choose the children, and a leaf
    predicts e(x), the Dirichlet-multinomial estimate with the Perks prior. w is the posterior
    probability of staying, 1/2 at first (see ``context_trees`` for its update); the switching rate
    at the t-th frame is 1 / (t + 1), and pixels outside the frame count as symbol 0.
    Log-probabilities are in nats. The trees are in host memory, the results on ``device``. At 42 x
    42 pixels and 8 levels they take at most 340 MB, and usually a tenth of it. Raises UsageError
    for frames or states of another shape or number of levels.
    """

    context: ClassVar[tuple[tuple[int, int, int], ...]] = CONTEXT
    radius = 1
    """Of the pixels of a context in the same frame."""

    def __init__(
        self,
        shape: tuple[int, int],
        levels: int,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        from . import context_trees  # imports numba, which other parts do without

        self.kernels = context_trees
        self.shape, self.levels, self.device = shape, levels, device
        self.past = np.zeros((max(back for back, *_ in self.context), *shape), np.uint8)
        self.generator = torch.Generator().manual_seed(seed)
        roots = 1 + shape[0] * shape[1]
        self.trees = self.kernels.ContextTrees(
            np.zeros((roots, 2 * levels + 1), np.int32),
            np.full(roots, 0.5),
            np.zeros((1, levels + 1), np.int32),
            np.array([roots, 1, 0]),
            self.context,
        )

    @property
    def num_frames(self) -> int:
        """Number of learned frames."""
        return int(self.trees.used[2])

    def log_prob(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        check_frames(x, self.shape, self.levels)
        frames = x.contiguous().numpy(force=True)
        before, _ = self.kernels.score_and_update(
            self.trees, frames, self.past, False, NO_PIXEL_PROBS
        )
        return torch.from_numpy(before).to(self.device)

    def pixel_log_probs(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        check_frames(x, self.shape, self.levels)
        frames = x.contiguous().numpy(force=True)
        probs = np.empty((len(x), self.shape[0] * self.shape[1]))
        self.kernels.score_and_update(self.trees, frames, self.past, False, probs)
        return torch.from_numpy(np.log(probs)).view(x.shape).to(self.device)

    def conditional(self, x: UInt8[Tensor, "B H W"], i: int, j: int) -> Float[Tensor, "B levels"]:
        frames = x.contiguous().numpy(force=True)
        probs = self.kernels.conditionals(self.trees, frames, self.past, i, j)
        return torch.from_numpy(probs).to(self.device)

    def write_intervals(self, x: UInt8[Tensor, "B H W"], intervals: NDArray[np.uint32]) -> None:
        self.kernels.write_intervals(self.trees, x.numpy(), self.past, intervals)

    def pop_frames(
        self, x: UInt8[Tensor, "B H W"], words: NDArray[np.uint32], head: NDArray[np.uint64]
    ) -> None:
        self.kernels.pop_frames(self.trees, x.numpy(), self.past, words, head)

    def observe(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        check_frames(x, self.shape, self.levels)
        frames = x.contiguous().numpy(force=True)
        before, after = np.empty(len(x)), np.empty(len(x))
        for i in range(0, len(x), 32):  # in parts of 32, to reserve hardly more than is needed
            part = slice(i, i + 32)
            self.kernels.reserve(self.trees, self.shape, len(frames[part]))
            before[part], after[part] = self.kernels.score_and_update(
                self.trees, frames[part], self.past, True, NO_PIXEL_PROBS
            )
        return torch.from_numpy(before).to(self.device), torch.from_numpy(after).to(self.device)

    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        uniform = torch.rand(n, *self.shape, dtype=torch.float64, generator=self.generator)
        frames = self.kernels.sample(self.trees, uniform.numpy(), self.past)
        return torch.from_numpy(frames).to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows in use of the trees, and the generator."""
        nodes, leaves, num_frames = self.trees.used.tolist()
        return {
            "shape": self.shape,
            "levels": self.levels,
            "num_frames": num_frames,
            "nodes": torch.from_numpy(self.trees.nodes[:nodes].copy()),
            "weights": torch.from_numpy(self.trees.weights[:nodes].copy()),
            "leaves": torch.from_numpy(self.trees.leaves[:leaves].copy()),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the trees.

        Raises UsageError for those of another shape or number of levels, and ValueError if a node
        links to one that is not there, which the compiled code would read all the same.
        """
        check_state(state, self.shape, self.levels)
        nodes, weights, leaves = (
            state[pool].numpy(force=True).copy() for pool in ("nodes", "weights", "leaves")
        )
        trees = self.kernels.ContextTrees(
            nodes,
            weights,
            leaves,
            np.array([len(nodes), len(leaves), state["num_frames"]]),
            self.trees.context,
        )
        self.kernels.check_links(trees, self.shape, self.levels)
        self.trees = trees
        self.generator.set_state(state["generator"].cpu())


class TemporalCTS(CTS):
    """CTS whose contexts also hold pixels of the frames before: a ``TemporalDensity``.

    Complete trees would take levels^2 times the memory of those of CTS; the frames of a game reach
    a small part of them. Raises UsageError for a past of another shape, length or levels.
    """

    context = TEMPORAL_CONTEXT
    num_past = max(back for back, *_ in TEMPORAL_CONTEXT)

    def given(self, past: UInt8[Tensor, "F H W"]) -> "TemporalCTS":
        check_frames(past, self.shape, self.levels)
        if len(past) != self.num_past:
            raise UsageError(f"the past has {len(past)} frames; give the {self.num_past} before")
        density = copy(self)
        density.past = past.contiguous().numpy(force=True)
        return density
