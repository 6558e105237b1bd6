"""Exact k-nearest-neighbor search by brute force, over all actions and queries at once.

Small tables are searched in float32. Where the CPU multiplies bfloat16 in hardware, large ones are
first searched on the upper halves of their keys' bits: the error of these distances has a bound,
few keys are within it of the k-th nearest, and only those are compared in float32.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import BFloat16, Float, Int64
from torch import Tensor

from .key_storage import KeyStorage

BLOCK_SIZE = 16
"""Keys of a block, which is represented by its smallest distance."""
CHUNK_SIZE = 1 << 14
"""Keys of an action that are compared at a time, so that their distances fit in the cache."""
MAX_CANDIDATE_BLOCKS = 256
"""Candidate blocks of a query, above which a search in float32 is faster."""
MAX_DISTANCES = 1 << 28
"""Distances that are in memory at once, over all actions and queries."""

SearchResult = tuple[Float[Tensor, "A k B"], Int64[Tensor, "A k B"]]
"""Squared distances and indices."""


class KNNIndex(KeyStorage):
    """Keys of each action, with a search for the nearest ones to queries.

    Example::

        import torch
        from reverie.agents.episodic.knn import KNNIndex

        index = KNNIndex(num_actions=2, dim=64)
        index.grow(1000)
        index[0, :1000] = torch.randn(1000, 64)
        distances, indices = index.search(torch.randn(8, 64), sizes=[1000, 0], k=11)  # [2, 11, 8]
    """

    def __init__(self, num_actions: int, dim: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_actions, dim, device)
        self._buffers: dict[torch.dtype, Tensor] = {}  # distances, overwritten by every search

    @property
    def nbytes(self) -> int:
        """Size of the tables and of the search's buffers in bytes."""
        return super().nbytes + sum(buffer.nbytes for buffer in self._buffers.values())

    def search(self, queries: Float[Tensor, "B D"], sizes: Sequence[int], k: int) -> SearchResult:
        """Return squared distances and indices of the k nearest keys, nearest first.

        The first ``sizes[action]`` rows of an action hold keys. If it has fewer than k, the
        remaining distances are +inf and their indices are undefined.
        """
        query = queries - self.origin
        if not self.halves:
            return self._search_float32(query, range(len(sizes)), sizes, k)
        max_queries = max(1, MAX_DISTANCES // (len(sizes) * max(sizes)))
        if len(queries) > max_queries:
            parts = [self.search(part, sizes, k) for part in torch.split(queries, max_queries)]
            distances, indices = zip(*parts, strict=True)
            return torch.cat(distances, 2), torch.cat(indices, 2)
        return self._search_halves(self.halves[0], query, sizes, k)

    def tolerance(self, queries: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """Return the largest squared distance of a query to an equal key, by rounding errors."""
        relative = queries - self.origin
        return 1e-5 * torch.maximum(queries.square().sum(1), relative.square().sum(1))

    def _search_float32(
        self, query: Float[Tensor, "B D"], actions: Sequence[int], sizes: Sequence[int], k: int
    ) -> SearchResult:
        """Search some of the actions with float32 products; queries are relative to the origin."""
        right = torch.cat([-2 * query, torch.ones_like(query[:, :1])], 1).T.contiguous()
        search = self._search_in_order if query.device.type == "cpu" else self._search_in_blocks
        distance, index = search(right, actions, sizes, k)
        distance = (distance + query.square().sum(1)).clamp_(min=0)
        return distance, index.clamp_(max=self.num_rows - 1)

    def _search_in_order(
        self, right: Float[Tensor, "C B"], actions: Sequence[int], sizes: Sequence[int], k: int
    ) -> SearchResult:
        """Pass once over the products, in compiled code that keeps the k smallest of each query."""
        from .selection import keep_smallest  # imports numba, which other parts do without

        num_queries = right.shape[1]
        shape = len(actions), num_queries, k
        smallest, index = right.new_full(shape, torch.inf), torch.zeros(shape, dtype=torch.int64)
        largest = max(sizes[action] for action in actions)
        buffer = self._buffer(right.dtype, min(CHUNK_SIZE, largest), num_queries)
        products = buffer.numpy()
        for action, *kept in zip(actions, smallest.numpy(), index.numpy(), strict=True):
            for start in range(0, sizes[action], CHUNK_SIZE):
                keys = self._with_squares(
                    action, slice(start, min(start + CHUNK_SIZE, sizes[action]))
                )
                torch.mm(keys, right, out=buffer[: len(keys)])
                keep_smallest(products[: len(keys)], start, *kept)
        return smallest.transpose(1, 2), index.transpose(1, 2)

    def _search_in_blocks(
        self, right: Float[Tensor, "C B"], actions: Sequence[int], sizes: Sequence[int], k: int
    ) -> SearchResult:
        """Select from the products with tensor operations, which run on every device."""
        num_rows = _round_up(max(k, *(sizes[action] for action in actions)), BLOCK_SIZE)
        distances, indices = [], []
        for start in range(0, num_rows, CHUNK_SIZE):
            shape = len(actions), min(CHUNK_SIZE, num_rows - start), right.shape[1]
            chunk = self._buffer(right.dtype, *shape)
            for out, action in zip(chunk, actions, strict=True):
                stop = min(start + shape[1], sizes[action])
                keys = self._with_squares(action, slice(start, max(start, stop)))
                _matmul_into(keys, right, out)
            distance, index = _top_k(chunk, _block_minima(chunk), min(k, shape[1]))
            distances.append(distance)
            indices.append(index + start)
        distance, order = torch.cat(distances, 1).topk(k, dim=1, largest=False)
        return distance, torch.cat(indices, 1).gather(1, order)

    def _search_halves(
        self,
        upper: BFloat16[Tensor, "A n E"],
        query: Float[Tensor, "B D"],
        sizes: Sequence[int],
        k: int,
    ) -> SearchResult:
        """Search on the upper halves, then compare the candidates with float32 products."""
        rounded, minima = self._bfloat16_distances(upper, query, sizes)
        # The float32 distances of any k keys bound that of the k-th nearest.
        _, likely = _top_k(rounded, minima, k)
        actions = torch.arange(len(sizes), device=query.device)[:, None, None]
        distance = self._distances(query.expand(*likely.shape, -1), actions, likely, sizes)
        limit = _bfloat16_limit(query, distance.amax(1))  # [A, B]

        candidate = minima <= limit[:, None]
        crowded = candidate.sum(1) > MAX_CANDIDATE_BLOCKS
        action, block, i = (candidate & ~crowded[:, None]).nonzero().unbind(1)
        row = _block_rows(block, len(rounded[0]))  # [P, BLOCK_SIZE]
        within = rounded[action[:, None], row, i[:, None]] <= limit[action, i][:, None]
        pair = within.nonzero()[:, 0]
        action, i, index = action[pair], i[pair], row[within]
        distance = self._distances(query[i], action, index, sizes)
        group = action * len(query) + i
        distances, indices = (
            x.view(len(sizes), len(query), k).transpose(1, 2)
            for x in _grouped_top_k(distance, index, group, crowded.numel(), k)
        )
        for one in crowded.any(1).nonzero()[:, 0].tolist():
            some = crowded[one]
            distance, index = self._search_float32(query[some], [one], sizes, k)
            distances[one, :, some], indices[one, :, some] = distance[0], index[0]
        return distances, indices

    def _bfloat16_distances(
        self, upper: BFloat16[Tensor, "A n E"], query: Float[Tensor, "B D"], sizes: Sequence[int]
    ) -> tuple[BFloat16[Tensor, "A r B"], BFloat16[Tensor, "A m B"]]:
        """Return squared distances minus the query's squared norm, and the minima of blocks."""
        right = torch.cat([-2 * query, query.new_ones(len(query), 2)], 1)
        right = right.T.to(upper.dtype).contiguous()
        rows = _round_up(max(sizes), CHUNK_SIZE)
        buffer = self._buffer(upper.dtype, len(sizes), rows + rows // BLOCK_SIZE, len(query))
        distance, minima = buffer[:, :rows], buffer[:, rows:]
        for action, size in enumerate(sizes):
            chunks = zip(
                torch.split(distance[action], CHUNK_SIZE),
                torch.split(minima[action], CHUNK_SIZE // BLOCK_SIZE),
                strict=True,
            )
            for i, (chunk, chunk_minima) in enumerate(chunks):
                _matmul_into(upper[action, i * CHUNK_SIZE : size], right, chunk)
                chunk_minima.copy_(_block_minima(chunk[None])[0])
        return distance, minima

    def _distances(
        self,
        query: Float[Tensor, "*p D"],
        action: Int64[Tensor, "*#p"],
        index: Int64[Tensor, "*p"],
        sizes: Sequence[int],
    ) -> Float[Tensor, "*p"]:
        """Return squared distances to the keys at these indices, +inf where there is none."""
        exists = index < torch.tensor(sizes, device=index.device)[action]
        keys = self._relative(action, index.clamp(max=self.num_rows - 1))
        return torch.where(exists, (keys - query).square().sum(-1), torch.inf)

    def _buffer(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """Return uninitialized memory, shared with the last search of this dtype."""
        count = math.prod(shape)
        if dtype not in self._buffers or len(self._buffers[dtype]) < count:
            self._buffers.pop(dtype, None)  # freed before the larger one is allocated
            self._buffers[dtype] = torch.empty(count, dtype=dtype, device=self.full.device)
        return self._buffers[dtype][:count].view(shape)


def _matmul_into(keys: Float[Tensor, "s C"], right: Float[Tensor, "C B"], out: Tensor) -> None:
    """Write products of the first ``len(out)`` keys; +inf to the rows without a key."""
    rows = min(len(keys), len(out))
    torch.mm(keys[:rows], right, out=out[:rows])
    out[rows:] = torch.inf


def _block_minima(distance: Float[Tensor, "A n B"]) -> Float[Tensor, "A m B"]:
    """Return the minimum of each block, which is every (n / BLOCK_SIZE)-th row.

    With such strides, minima are taken of whole vectors.
    """
    return distance.view(len(distance), BLOCK_SIZE, -1, distance.shape[2]).amin(1)


def _block_rows(block: Int64[Tensor, "*p"], num_rows: int) -> Int64[Tensor, "*p c"]:
    """Return the rows of blocks, for ``num_rows`` rows that were compared in chunks."""
    chunk = min(num_rows, CHUNK_SIZE)
    blocks = chunk // BLOCK_SIZE
    within = torch.arange(0, chunk, blocks, device=block.device)
    return (block // blocks * chunk + block % blocks)[..., None] + within


def _top_k(
    distance: Float[Tensor, "A n B"], minima: Float[Tensor, "A m B"], k: int
) -> SearchResult:
    """Return each query's k smallest distances and their rows.

    They lie in the k blocks with the smallest minima.
    """
    count = min(k, minima.shape[1])
    blocks = minima.topk(count, dim=1, largest=False, sorted=False).indices
    rows = _block_rows(blocks.transpose(1, 2), distance.shape[1])
    rows = rows.flatten(2).transpose(1, 2)  # [A, c, B]
    smallest, order = distance.gather(1, rows).topk(k, dim=1, largest=False)
    return smallest, rows.gather(1, order)


def _grouped_top_k(
    value: Float[Tensor, " P"],
    index: Int64[Tensor, " P"],
    group: Int64[Tensor, " P"],
    n: int,
    k: int,
) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """Return the k smallest values of each of n groups and their indices, padded with +inf."""
    order = value.argsort(stable=True)
    order = order[group[order].argsort(stable=True)]
    counts = torch.bincount(group, minlength=n)
    rank = torch.arange(k, device=value.device)
    position = (counts.cumsum(0) - counts)[:, None] + rank
    position = torch.where(rank < counts[:, None], position, len(value))
    value = torch.cat([value[order], value.new_tensor([torch.inf])])
    return value[position], torch.cat([index[order], index.new_zeros(1)])[position]


def _bfloat16_limit(
    query: Float[Tensor, "B D"], bound: Float[Tensor, "A B"]
) -> BFloat16[Tensor, "A B"]:
    """Return an upper limit of the bfloat16 distance where the true distance is within the bound.

    Truncation changes a key's number by at most a factor eps, rounding a query's by half of it. So
    products with a key have an error of at most 1.5 eps |q| |k|, and |k| <= |q| + |k - q|. Rounding
    is monotone: the limit may be rounded as the distances are.
    """
    half, full = torch.finfo(torch.bfloat16), torch.finfo(torch.float32)
    norm = query.square().sum(1).sqrt()
    key_norm = norm + bound.sqrt()
    rest = half.eps**2 + query.shape[1] * full.eps  # of the square's second part, and of sums
    error = 2 * key_norm * (1.5 * half.eps * norm + rest * key_norm)
    limit = bound - norm.square() + error
    return limit.bfloat16().clamp(max=half.max)  # below the +inf of rows without a key


def _round_up(x: int, multiple: int) -> int:
    return -(-x // multiple) * multiple
