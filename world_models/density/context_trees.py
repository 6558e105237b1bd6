"""Context trees and their compiled update; ``cts.py`` has the model.

All pixels share one pool of nodes, and a node is allocated at its first visit. Hence a frame that
resembles the last ones reads memory nearly in order. Functions are named after the published code
(SkipCTS, ``python/cts/model.py``: ``update``, ``mix_prediction``, ``update_switching_weights``).
"""

from typing import NamedTuple, no_type_check

import numpy as np

from ..coding.rans import pop, tabulate, write_interval
from ..machine_code import compiled


class ContextTrees(NamedTuple):
    """The trees of all pixels in two pools, in the order of first visits, and their counters.

    Row 0 of each pool stays empty: it represents every context without visits.
    """

    nodes: np.ndarray
    """Int32[nodes, 2 levels + 1]: count of each symbol, total count, index of each child."""
    weights: np.ndarray
    """Float64[nodes]: posterior probability of staying, that is of the node's own estimator."""
    leaves: np.ndarray
    """Int32[leaves, levels + 1]: count of each symbol, total count."""
    used: np.ndarray
    """Int64[3]: number of rows in use, of nodes and of leaves; and of learned frames."""
    context: tuple[tuple[int, int, int], ...]
    """The pixels of a context in order of importance, each as the frames before, the rows below and
    the columns to the right of the pixel that is predicted. Their number is a constant in the
    machine code, because they are a tuple."""


def reserve(trees: ContextTrees, shape: tuple[int, int], frames: int) -> None:
    """Grow the pools for the most nodes that ``frames`` frames can add, up to complete trees."""
    pixels, levels, depth = shape[0] * shape[1], trees.leaves.shape[1] - 1, len(trees.context)
    nodes, leaves, _ = trees.used.tolist()
    inner_nodes = sum(levels**d for d in range(depth))
    for pool, rows, growth, limit in (
        (trees.nodes, nodes, depth - 1, inner_nodes),
        (trees.weights, nodes, depth - 1, inner_nodes),
        (trees.leaves, leaves, 1, levels**depth),
    ):
        max_rows = 1 + pixels * limit
        needed = min(rows + pixels * growth * frames, max_rows)
        if len(pool) < needed:
            # In place, so that the system remaps a large pool instead of copying it.
            pool.resize((min(2 * needed, max_rows), *pool.shape[1:]), refcheck=False)


def check_links(trees: ContextTrees, shape: tuple[int, int], levels: int) -> None:
    """Raise ValueError unless every node that a frame of this shape can reach is in its pool."""
    nodes, weights, leaves = trees.nodes, trees.weights, trees.leaves
    rows, columns = len(nodes), (2 * levels + 1, levels + 1)
    reached = np.arange(1, 1 + shape[0] * shape[1])
    fits = rows > len(reached) and weights.shape == (rows,) and len(leaves) > 0
    if not fits or (*nodes.shape[1:], *leaves.shape[1:]) != columns:
        raise ValueError(f"its trees have pools {nodes.shape}, {weights.shape}, {leaves.shape}")
    for depth in range(1, len(trees.context) + 1):
        children = nodes[reached, levels + 1 :]
        pool = leaves if depth == len(trees.context) else nodes
        if children.min() < 0 or children.max() >= len(pool):
            raise ValueError("its trees have links to nodes that are not there")
        reached = np.unique(children)


@compiled(error_model="numpy")
@no_type_check
def score_and_update(
    trees: ContextTrees, frames: np.ndarray, past: np.ndarray, update: bool, pixel_probs: np.ndarray
):
    """Return the log-probabilities of the frames just before and just after their update, in nats.

    ``past``, uint8 [F H W], holds the frames before each of them, the oldest first. Without
    ``update`` the trees stay unchanged. If ``pixel_probs`` has rows, each pixel's probability
    before the update is written to the row of its frame.

    The three passes over a frame are separate because memory is the bottleneck: the reads of many
    pixels then overlap, and the arithmetic runs on contiguous arrays.
    """
    levels, pixels = trees.leaves.shape[1] - 1, frames.shape[1] * frames.shape[2]
    depth, num_frames = len(trees.context), trees.used[2]
    before, after = np.zeros(len(frames)), np.zeros(len(frames))
    path = np.empty((depth, pixels), np.uint32)
    weight = np.empty((depth, pixels))
    # Arrays unpacked from a larger one would be strided, and numba's loops over those are slow.
    count = np.empty((depth + 1, pixels), np.int32)
    total = np.empty((depth + 1, pixels), np.int32)
    p, q = np.empty(pixels), np.empty(pixels)
    padded = np.zeros((len(past) + 1, frames.shape[1] + 2, frames.shape[2] + 2), np.uint8)
    padded[:-1, 1:-1, 1:-1] = past
    for b in range(len(frames)):
        padded[-1, 1:-1, 1:-1] = frames[b]
        _update_counts(trees, padded, update, path, weight, count, total)
        _update_switching_weights(count, total, weight, p, q, 1 / levels, 1 / (num_frames + b + 2))
        if update:
            trees.used[2] += 1
            for pixel in range(pixels):
                for d in range(depth):
                    trees.weights[path[d, pixel]] = weight[d, pixel]
        if len(pixel_probs):
            pixel_probs[b] = p
        before[b], after[b] = _log_product(p), _log_product(q)
    return before, after


@compiled(error_model="numpy")
@no_type_check
def _update_counts(trees, padded, update, path, weight, count, total):
    """Read the weights and counts on each pixel's path; with ``update``, increment the counts.

    ``padded`` holds the frame, after those before it, with a border of symbol 0. ``path`` holds the
    inner nodes from root to leaf, ``count`` the count of the pixel's symbol and ``total`` that of
    all symbols, both before the increment.
    """
    nodes, weights, leaves, used, context = trees
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    levels, depth, symbols = leaves.shape[1] - 1, len(context), padded.ravel()
    offsets = np.empty(depth, np.int64)  # from a pixel to those of its context
    links = np.empty(depth, np.uint32)
    for d in range(depth):
        back, down, right = context[d]
        offsets[d] = (down - back * (height + 2)) * (width + 2) + right
    for i in range(height):
        for j in range(width):
            here = ((len(padded) - 1) * (height + 2) + i + 1) * (width + 2) + j + 1
            symbol = symbols[here]
            for d in range(depth):  # before any store, so that no load waits for one
                links[d] = levels + 1 + symbols[here + offsets[d]]
            pixel = i * width + j
            node = np.uint32(1 + pixel)
            for d in range(depth):
                path[d, pixel] = node
                weight[d, pixel] = weights[node]
                count[d, pixel] = nodes[node, symbol]
                total[d, pixel] = nodes[node, levels]
                link = links[d]
                child = np.uint32(nodes[node, link])
                if update:
                    nodes[node, symbol] += 1
                    nodes[node, levels] += 1
                    if child == 0:
                        pool = 1 if d == depth - 1 else 0
                        child = np.uint32(used[pool])
                        used[pool] += 1
                        nodes[node, link] = child
                        if pool == 0:
                            weights[child] = 0.5
                node = child
            count[depth, pixel] = leaves[node, symbol]
            total[depth, pixel] = leaves[node, levels]
            if update:
                leaves[node, symbol] += 1
                leaves[node, levels] += 1


@compiled(error_model="numpy")
@no_type_check
def _update_switching_weights(count, total, weight, p, q, prior, rate):
    """Update ``weight`` in place; write each pixel's probability before (p) and after (q) it.

    From the leaves to the roots, with the node's own estimate e = (count + prior) / (total + 1),
    its child's p and the weight w of staying, the recursion of Veness et al. 2012 is
    p' = w e + (1 - w) p, and at switching rate a
    stay' = (1 - a) w e + a (1 - w) p, split' = (1 - a) (1 - w) p + a w e, w' = stay' / their sum.
    The published code has stay' in place of w in the last term of split'; so has this function.
    """
    depth = len(weight)
    for k in range(p.size):
        p[k] = (count[depth, k] + prior) / (total[depth, k] + 1.0)
        q[k] = (count[depth, k] + prior + 1.0) / (total[depth, k] + 2.0)
    for d in range(depth - 1, -1, -1):
        c, n, w = count[d], total[d], weight[d]
        for k in range(p.size):
            estimate = (c[k] + prior) / (n[k] + 1.0)
            stay, split = w[k] * estimate, (1 - w[k]) * p[k]
            p[k] = stay + split
            next_stay = (1 - rate) * stay + rate * split
            next_split = (1 - rate) * split + rate * estimate * next_stay
            w[k] = next_stay / (next_stay + next_split)
            q[k] += w[k] * ((c[k] + prior + 1.0) / (n[k] + 2.0) - q[k])


@compiled()
@no_type_check
def _log_product(p):
    """Return the sum of logarithms, taken only when the product nears the smallest float."""
    product, result = 1.0, 0.0
    for factor in p:
        product *= factor
        if product < 1e-250:
            result += np.log(product)
            product = 1.0
    return result + np.log(product)


@compiled(error_model="numpy")
@no_type_check
def conditional(trees, frame, past, i, j, probs):
    """Write the probabilities of pixel (i, j) given the pixels of its context; others are not read.

    From the root to the leaf, each node has the share of the mixture that those above leave to it.
    """
    nodes, weights, leaves, _, context = trees
    levels, (height, width) = len(probs), frame.shape
    prior = 1 / levels
    probs[:] = 0.0
    node, share = np.uint32(1 + i * width + j), 1.0
    for d in range(len(context)):
        own = share * weights[node] / (nodes[node, levels] + 1.0)
        for symbol in range(levels):
            probs[symbol] += own * (nodes[node, symbol] + prior)
        share *= 1 - weights[node]
        back, down, right = context[d]
        row, column = i + down, j + right
        link = levels + 1
        if 0 <= row < height and 0 <= column < width:
            link += past[len(past) - back, row, column] if back else frame[row, column]
        node = np.uint32(nodes[node, link])
    own = share / (leaves[node, levels] + 1.0)
    for symbol in range(levels):
        probs[symbol] += own * (leaves[node, symbol] + prior)


@compiled(error_model="numpy")
@no_type_check
def conditionals(trees: ContextTrees, frames: np.ndarray, past: np.ndarray, i: int, j: int):
    """Return the probabilities [B levels] of pixel (i, j) of every frame."""
    probs = np.empty((len(frames), trees.leaves.shape[1] - 1))
    for b in range(len(frames)):
        conditional(trees, frames[b], past, i, j, probs[b])
    return probs


@compiled(error_model="numpy")
@no_type_check
def sample(trees: ContextTrees, uniform: np.ndarray, past: np.ndarray):
    """Sample frames in raster order; each pixel inverts its distribution at a uniform number."""
    batch, height, width = uniform.shape
    probs = np.empty(trees.leaves.shape[1] - 1)
    frames = np.empty(uniform.shape, np.uint8)
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                conditional(trees, frames[b], past, i, j, probs)
                symbol, cumulative = 0, probs[0]
                while cumulative <= uniform[b, i, j] and symbol < len(probs) - 1:
                    symbol += 1
                    cumulative += probs[symbol]
                frames[b, i, j] = symbol
    return frames


@compiled()
@no_type_check
def write_intervals(
    trees: ContextTrees, frames: np.ndarray, past: np.ndarray, intervals: np.ndarray
):
    """Write the coder's interval of every pixel of the frames, pixel after pixel."""
    batch, height, width = frames.shape
    probs = np.empty(trees.leaves.shape[1] - 1)
    table = np.empty(len(probs) + 1, np.uint64)
    k = 0
    for i in range(height):
        for j in range(width):
            for b in range(batch):
                conditional(trees, frames[b], past, i, j, probs)
                tabulate(probs, table)
                write_interval(table, frames[b, i, j], intervals[k])
                k += 1


@compiled()
@no_type_check
def pop_frames(
    trees: ContextTrees, frames: np.ndarray, past: np.ndarray, words: np.ndarray, head: np.ndarray
):
    """Pop every pixel of the frames from the coder's message, pixel after pixel."""
    batch, height, width = frames.shape
    probs = np.empty(trees.leaves.shape[1] - 1)
    table = np.empty(len(probs) + 1, np.uint64)
    for i in range(height):
        for j in range(width):
            for b in range(batch):
                conditional(trees, frames[b], past, i, j, probs)
                tabulate(probs, table)
                frames[b, i, j] = pop(words, head, table)
