"""CTS compared with the published code and with a recursive tree, and its memory bound."""

from dataclasses import dataclass, field
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reverie.world_models.density.context_trees import reserve
from reverie.world_models.density.cts import CTSConfig

from sample_models import DENSITY_EXAMPLES

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "cts_montezuma.npz")


def test_log_probs_of_real_frames_are_those_of_the_published_code() -> None:
    frames = torch.from_numpy(GOLDEN["frames"])
    before, after = CTSConfig().build(shape=(42, 42), levels=8).observe(frames)
    np.testing.assert_allclose(before, GOLDEN["log_prob"], rtol=1e-6)
    np.testing.assert_allclose(after, GOLDEN["recoding_log_prob"], rtol=1e-6)


@dataclass
class Node:
    """A context tree as in the paper: recursive, sparse, updated one symbol at a time."""

    levels: int
    stay: float = 0.5
    symbols: list[int] = field(default_factory=list)
    children: dict[int, "Node"] = field(default_factory=dict)

    def prob(self, context: list[int], symbol: int) -> float:
        estimate = (self.symbols.count(symbol) + 1 / self.levels) / (len(self.symbols) + 1)
        if not context:
            return estimate
        child = self.children.get(context[0], Node(self.levels)).prob(context[1:], symbol)
        return self.stay * estimate + (1 - self.stay) * child

    def update(self, context: list[int], symbol: int, rate: float) -> None:
        if context:
            estimate = self.prob([], symbol)
            child = self.children.setdefault(context[0], Node(self.levels))
            child_prob = child.prob(context[1:], symbol)
            child.update(context[1:], symbol, rate)
            split = (1 - self.stay) * child_prob
            stay = (1 - rate) * self.stay * estimate + rate * split
            self.stay = stay / (stay + (1 - rate) * split + rate * estimate * stay)
        self.symbols.append(symbol)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_given_the_frames_before_it_agrees_with_a_recursive_tree(data: st.DataObject) -> None:
    levels = data.draw(st.integers(2, 5))
    height, width = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    shape = data.draw(st.integers(3, 8)), height, width
    frames = data.draw(arrays(np.uint8, shape, elements=st.integers(0, levels - 1)))
    density = CTSConfig().build_temporal(shape=(height, width), levels=levels)
    trees = {pixel: Node(levels) for pixel in np.ndindex(height, width)}
    for t in range(2, len(frames)):
        past, frame = torch.from_numpy(frames[t - 2 : t]), frames[t]
        before, _ = density.given(past).observe(torch.from_numpy(frame)[None])
        two, one, x = (np.pad(each, 1) for each in frames[t - 2 : t + 1])
        expected = 0.0
        for (i, j), tree in trees.items():
            r, c = i + 1, j + 1  # in the padded frame
            context = [one[r, c], x[r, c - 1], x[r - 1, c], one[r, c + 1], one[r + 1, c], two[r, c]]
            expected += log(tree.prob(context, x[r, c]))
            tree.update(context, x[r, c], rate=1 / t)
        np.testing.assert_allclose(before, expected, rtol=1e-9)


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
    untrained = density.log_prob(torch.from_numpy(frames[-1:]))
    np.testing.assert_allclose(untrained, -frames[0].size * log(levels), rtol=1e-12)
    before, after = density.observe(torch.from_numpy(frames))
    trees = {pixel: Node(levels) for pixel in np.ndindex(shape)}
    for t, frame in enumerate(frames):
        x = np.pad(frame, ((1, 0), (1, 1))).tolist()
        expected_before = expected_after = 0.0
        for (i, j), tree in trees.items():
            context = [x[i + 1][j], x[i][j + 1], x[i][j], x[i][j + 2]]
            expected_before += log(tree.prob(context, x[i + 1][j + 1]))
            tree.update(context, x[i + 1][j + 1], rate=1 / (t + 2))
            expected_after += log(tree.prob(context, x[i + 1][j + 1]))
        np.testing.assert_allclose(before[t], expected_before, rtol=1e-9)
        np.testing.assert_allclose(after[t], expected_after, rtol=1e-9)


def test_complete_trees_of_atari_frames_take_less_than_400_megabytes() -> None:
    density = CTSConfig().build(shape=(42, 42), levels=8)
    reserve(density.trees, density.shape, frames=10**9)
    trees = density.trees
    assert sum(x.nbytes for x in (trees.nodes, trees.weights, trees.leaves)) < 400e6


def test_trees_grow_to_complete_trees_and_no_further() -> None:
    shape, levels = (3, 4), 2
    density = CTSConfig().build(shape=shape, levels=levels)
    frames = torch.randint(levels, (3000, *shape), generator=torch.Generator().manual_seed(0))
    density.observe(frames.to(torch.uint8))
    # Pixels at the border have fewer contexts, because pixels outside the frame are 0.
    assert len(density.trees.nodes) <= 1 + 12 * (1 + 2 + 4 + 8)
    assert len(density.trees.leaves) <= 1 + 12 * 16
    contexts = 4 * 16 + 2 * 4 + 2 * 8 + 1 + 3 * 2  # of pixels inside, left and right, top, corner
    assert int(density.trees.used[1]) == 1 + contexts


@pytest.mark.parametrize("name", ["histogram", "cts"])
def test_exact_pseudo_counts_grow_with_visits_among_other_frames(name: str) -> None:
    # Bellemare et al. 2016, equation 2.
    density = DENSITY_EXAMPLES[name].build(shape=(5, 5), levels=3)
    prng = torch.Generator().manual_seed(0)
    others = torch.randint(3, (401, 5, 5), generator=prng, dtype=torch.uint8)
    counts = []
    for batch in torch.split(others[1:], 4):
        density.observe(batch)
        before, after = density.observe(others[:1])
        rho, recoding = before.exp(), after.exp()
        counts.append(float(rho * (1 - recoding) / (recoding - rho)))
    early, middle, late = (sum(counts[k : k + 10]) for k in (0, 45, 90))
    assert 0 < early < middle < late
