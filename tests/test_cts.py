"""CTS: the published code's numbers, an independent tree, and a bound on memory."""

from dataclasses import dataclass, field
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from world_models.density import DENSITIES
from world_models.density.context_trees import reserve
from world_models.density.cts import CTSConfig

GOLDEN = np.load(Path(__file__).parent / "golden" / "cts_montezuma.npz")


def test_real_frames_score_as_the_published_code_scores_them() -> None:
    frames = torch.from_numpy(GOLDEN["frames"])
    before, after = CTSConfig().build(shape=(42, 42), levels=8).observe(frames)
    np.testing.assert_allclose(before, GOLDEN["log_prob"], rtol=1e-6)
    np.testing.assert_allclose(after, GOLDEN["recoding_log_prob"], rtol=1e-6)


@dataclass
class Node:
    """A context tree as its paper has it: recursive, sparse, one symbol at a time."""

    levels: int
    stay: float = 0.5
    seen: list[int] = field(default_factory=list)
    children: dict[int, "Node"] = field(default_factory=dict)

    def prob(self, context: list[int], symbol: int) -> float:
        own = (self.seen.count(symbol) + 1 / self.levels) / (len(self.seen) + 1)
        if not context:
            return own
        child = self.children.get(context[0], Node(self.levels)).prob(context[1:], symbol)
        return self.stay * own + (1 - self.stay) * child

    def learn(self, context: list[int], symbol: int, rate: float) -> None:
        if context:
            own = self.prob([], symbol)
            child = self.children.setdefault(context[0], Node(self.levels))
            below = child.prob(context[1:], symbol)
            child.learn(context[1:], symbol, rate)
            split = (1 - self.stay) * below
            stay = (1 - rate) * self.stay * own + rate * split
            self.stay = stay / (stay + (1 - rate) * split + rate * own * stay)
        self.seen.append(symbol)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_it_agrees_with_a_recursive_tree(data: st.DataObject) -> None:
    levels = data.draw(st.integers(2, 5))
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    frames = data.draw(
        arrays(
            np.uint8, (data.draw(st.integers(1, 12)), *shape), elements=st.integers(0, levels - 1)
        )
    )
    density = CTSConfig().build(shape=shape, levels=levels)
    unseen = density.log_prob(torch.from_numpy(frames[-1:]))
    np.testing.assert_allclose(unseen, -frames[0].size * log(levels), rtol=1e-12)
    before, after = density.observe(torch.from_numpy(frames))
    trees = {pixel: Node(levels) for pixel in np.ndindex(shape)}
    for t, frame in enumerate(frames):
        x = np.pad(frame, ((1, 0), (1, 1))).tolist()
        expected_before = expected_after = 0.0
        for (i, j), tree in trees.items():
            context = [x[i + 1][j], x[i][j + 1], x[i][j], x[i][j + 2]]
            expected_before += log(tree.prob(context, x[i + 1][j + 1]))
            tree.learn(context, x[i + 1][j + 1], rate=1 / (t + 2))
            expected_after += log(tree.prob(context, x[i + 1][j + 1]))
        np.testing.assert_allclose(before[t], expected_before, rtol=1e-9)
        np.testing.assert_allclose(after[t], expected_after, rtol=1e-9)


def test_whole_trees_of_atari_frames_take_less_than_400_megabytes() -> None:
    density = CTSConfig().build(shape=(42, 42), levels=8)
    reserve(density.trees, density.shape, frames=10**9)
    assert sum(pool.nbytes for pool in density.trees) < 400e6


def test_trees_never_outgrow_their_bound_and_fill_it() -> None:
    shape, levels = (3, 4), 2
    density = CTSConfig().build(shape=shape, levels=levels)
    frames = torch.randint(levels, (3000, *shape), generator=torch.Generator().manual_seed(0))
    density.observe(frames.to(torch.uint8))
    # Pixels at the border have fewer contexts, as what is outside is always 0.
    assert len(density.trees.nodes) <= 1 + 12 * (1 + 2 + 4 + 8)
    assert len(density.trees.leaves) <= 1 + 12 * 16
    inner = 4 * 16 + 2 * 4 + 2 * 8 + 1 + 3 * 2  # contexts: inside; left and right; top and corner
    assert int(density.trees.used[1]) == 1 + inner


@pytest.mark.parametrize("name", ["histogram", "cts"])
def test_exact_pseudo_counts_grow_with_visits_among_other_frames(name: str) -> None:
    # Bellemare et al. 2016, equation 2: no schedule, the model's own counts alone.
    density = DENSITIES[name]().build(shape=(5, 5), levels=3)
    dice = torch.Generator().manual_seed(0)
    others = torch.randint(3, (401, 5, 5), generator=dice, dtype=torch.uint8)
    counts = []
    for batch in others[1:].split(4):
        density.observe(batch)
        before, after = density.observe(others[:1])
        rho, recoding = before.exp(), after.exp()
        counts.append(float(rho * (1 - recoding) / (recoding - rho)))
    early, middle, late = (sum(counts[k : k + 10]) for k in (0, 45, 90))
    assert 0 < early < middle < late
