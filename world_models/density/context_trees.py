"""The trees of context-tree switching, and the two loops over them that are worth compiling.

Nodes are made when first visited, in one pool for all pixels, so a frame like those before reads
memory in order; see ``cts.py`` for the model.
"""

from typing import NamedTuple, no_type_check

import numpy as np
from numba import njit

DEPTH = 4
"""Neighbours in a context: left, up, up-left and up-right, in order of importance."""


class Trees(NamedTuple):
    """The trees of all pixels in two pools, in the order of first visits.

    Row 0 of each pool stays empty: it stands for every context not seen yet.
    """

    nodes: np.ndarray
    """Int32[nodes, 2 levels + 1]: count of each symbol, all counts, index of each child."""
    weights: np.ndarray
    """Float64[nodes]: posterior probability of predicting by the node's own counts."""
    leaves: np.ndarray
    """Int32[leaves, levels + 1]: count of each symbol, all counts."""
    used: np.ndarray
    """Int64[2]: rows in use, of nodes and of leaves."""


def reserve(trees: Trees, shape: tuple[int, int], frames: int) -> None:
    """Make room for all that so many frames can add, and never for more than whole trees."""
    pixels, levels = shape[0] * shape[1], trees.leaves.shape[1] - 1
    nodes, leaves = trees.used.tolist()
    whole = sum(levels**depth for depth in range(DEPTH))
    for pool, rows, growth, limit in (
        (trees.nodes, nodes, DEPTH - 1, whole),
        (trees.weights, nodes, DEPTH - 1, whole),
        (trees.leaves, leaves, 1, levels**DEPTH),
    ):
        most = 1 + pixels * limit
        needed = min(rows + pixels * growth * frames, most)
        if len(pool) < needed:
            # In place, so that the system remaps a large pool instead of copying it.
            pool.resize((min(2 * needed, most), *pool.shape[1:]), refcheck=False)


@njit(cache=True, error_model="numpy")
@no_type_check
def sweep(trees: Trees, frames: np.ndarray, seen: int, learn: bool, each: np.ndarray):
    """Log-probabilities of the frames before and after learning each; unlearned unless ``learn``.

    Where ``each`` has a row for every frame, its pixels' probabilities before are written there.

    Gather, mix and scatter are apart because memory is the bottleneck: the gathers of many pixels
    then overlap, and mixing is arithmetic on contiguous arrays.
    """
    nodes, weights, leaves, used = trees
    batch, height, width = frames.shape
    levels, pixels = leaves.shape[1] - 1, height * width
    before, after = np.zeros(batch), np.zeros(batch)
    padded = np.zeros((height + 1, width + 2), np.uint8)
    path = np.empty((DEPTH, pixels), np.uint32)
    weight = np.empty((DEPTH, pixels))
    # Arrays unpacked from a larger one would be strided, and numba's loops over those are slow.
    count = np.empty((DEPTH + 1, pixels), np.int32)
    total = np.empty((DEPTH + 1, pixels), np.int32)
    p, q = np.empty(pixels), np.empty(pixels)
    for b in range(batch):
        padded[1:, 1:-1] = frames[b]
        for i in range(height):
            for j in range(width):
                symbol = padded[i + 1, j + 1]
                context = (padded[i + 1, j], padded[i, j + 1], padded[i, j], padded[i, j + 2])
                pixel = i * width + j
                node = np.uint32(1 + pixel)
                for depth in range(DEPTH):
                    path[depth, pixel] = node
                    weight[depth, pixel] = weights[node]
                    count[depth, pixel] = nodes[node, symbol]
                    total[depth, pixel] = nodes[node, levels]
                    link = levels + 1 + context[depth]
                    child = np.uint32(nodes[node, link])
                    if learn:
                        nodes[node, symbol] += 1
                        nodes[node, levels] += 1
                        if child == 0:
                            kind = 1 if depth == DEPTH - 1 else 0
                            child = np.uint32(used[kind])
                            used[kind] += 1
                            nodes[node, link] = child
                            if kind == 0:
                                weights[child] = 0.5
                    node = child
                count[DEPTH, pixel] = leaves[node, symbol]
                total[DEPTH, pixel] = leaves[node, levels]
                if learn:
                    leaves[node, symbol] += 1
                    leaves[node, levels] += 1
        _mix(count, total, weight, p, q, 1 / levels, 1 / (seen + b + 2))
        if learn:
            for pixel in range(pixels):
                for depth in range(DEPTH):
                    weights[path[depth, pixel]] = weight[depth, pixel]
        if len(each):
            each[b] = p
        before[b], after[b] = _log_product(p), _log_product(q)
    return before, after


@njit(cache=True, error_model="numpy")
@no_type_check
def _mix(count, total, weight, p, q, prior, rate):
    """Probabilities p before and q after one update at ``rate``, from the leaves to the roots."""
    for k in range(p.size):
        p[k] = (count[DEPTH, k] + prior) / (total[DEPTH, k] + 1.0)
        q[k] = (count[DEPTH, k] + prior + 1.0) / (total[DEPTH, k] + 2.0)
    for d in range(DEPTH - 1, -1, -1):
        c, n, w = count[d], total[d], weight[d]
        for k in range(p.size):
            own = (c[k] + prior) / (n[k] + 1.0)
            stay, split = w[k] * own, (1 - w[k]) * p[k]
            p[k] = stay + split
            stayed = (1 - rate) * stay + rate * split
            # The published code switches back from the stay weight it has just updated.
            left = (1 - rate) * split + rate * own * stayed
            w[k] = stayed / (stayed + left)
            q[k] += w[k] * ((c[k] + prior + 1.0) / (n[k] + 2.0) - q[k])


@njit(cache=True)
@no_type_check
def _log_product(p):
    """Sum of logarithms, taken only when the product is about to leave a float's range."""
    product, result = 1.0, 0.0
    for factor in p:
        product *= factor
        if product < 1e-250:
            result += np.log(product)
            product = 1.0
    return result + np.log(product)


@njit(cache=True, error_model="numpy")
@no_type_check
def sample(trees: Trees, uniform: np.ndarray):
    """Frames drawn pixel by pixel in raster order, each by inverting its distribution at a draw."""
    nodes, weights, leaves, _ = trees
    batch, height, width = uniform.shape
    levels = leaves.shape[1] - 1
    frames = np.empty(uniform.shape, np.uint8)
    path = np.empty(DEPTH, np.uint32)
    for b in range(batch):
        padded = np.zeros((height + 1, width + 2), np.uint8)
        for i in range(height):
            for j in range(width):
                context = (padded[i + 1, j], padded[i, j + 1], padded[i, j], padded[i, j + 2])
                node = np.uint32(1 + i * width + j)
                for depth in range(DEPTH):
                    path[depth] = node
                    node = np.uint32(nodes[node, levels + 1 + context[depth]])
                mass = 0.0
                symbol = -1
                while mass <= uniform[b, i, j] and symbol < levels - 1:
                    symbol += 1
                    p = (leaves[node, symbol] + 1 / levels) / (leaves[node, levels] + 1.0)
                    for k in path[::-1]:
                        own = (nodes[k, symbol] + 1 / levels) / (nodes[k, levels] + 1.0)
                        p += weights[k] * (own - p)
                    mass += p
                padded[i + 1, j + 1] = symbol
        frames[b] = padded[1:, 1:-1]
    return frames
