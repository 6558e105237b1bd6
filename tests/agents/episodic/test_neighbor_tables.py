"""The tables of episodic control compared with a simple reference implementation."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reverie.agents.episodic import key_storage, knn
from reverie.agents.episodic.kernels import Kernel
from reverie.agents.episodic.neighbor_tables import NeighborTables


class Reference:
    """One action's table as a dictionary: eq. 1 and 2 of the paper, one visit at a time."""

    def __init__(
        self, capacity: int, num_neighbors: int, kernel: Kernel, update_rate: float | None
    ) -> None:
        self.capacity, self.num_neighbors, self.num_visits = capacity, num_neighbors, 0
        self.kernel, self.update_rate = kernel, update_rate
        self.entries: dict[int, tuple[Tensor, float]] = {}
        self.last_visit: dict[int, int] = {}

    def update(self, keys: Tensor, digests: list[int], returns: list[float]) -> None:
        old = set(self.entries)
        for key, digest, value in zip(keys, digests, returns, strict=True):
            before, rate = self.entries.get(digest, (key, value))[1], self.update_rate
            new_value = max(before, value) if rate is None else before + rate * (value - before)
            self.entries[digest] = (key, new_value)
            self.last_visit[digest] = self.num_visits = self.num_visits + 1
        new = sorted(set(self.entries) - old, key=self.last_visit.__getitem__)
        oldest = sorted(old, key=self.last_visit.__getitem__)
        surplus = max(len(new) - self.capacity, 0)
        overflow = max(len(old) + len(new) - surplus - self.capacity, 0)
        for digest in new[:surplus] + oldest[:overflow]:
            del self.entries[digest]

    def estimate(self, key: Tensor, digest: int) -> float:
        if len(self.entries) < self.num_neighbors:
            return float("inf")
        if digest in self.entries:
            return self.entries[digest][1]
        distance = [float((key - stored).square().sum()) for stored, _ in self.entries.values()]
        nearest = sorted(range(len(distance)), key=distance.__getitem__)[: self.num_neighbors]
        values = [value for _, value in self.entries.values()]
        width = (distance[nearest[0]] + 1e-3) ** 0.5
        weights = {
            "mean": [1.0 for _ in nearest],
            "inverse-distance": [1 / (distance[i] + 1e-3) for i in nearest],
            "laplace": [math.exp(1 - (distance[i] + 1e-3) ** 0.5 / width) for i in nearest],
        }[self.kernel]
        return sum(w * values[i] for w, i in zip(weights, nearest, strict=True)) / sum(weights)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    capacity=st.integers(5, 60),
    k=st.integers(1, 5),
    chunk=st.sampled_from([32, 8192]),
    kernel=st.sampled_from(get_args(Kernel)),
    update_rate=st.sampled_from([None, 0.0, 0.3, 1.0]),
)
def test_tables_agree_with_the_reference(
    seed: int, capacity: int, k: int, chunk: int, kernel: Kernel, update_rate: float | None
) -> None:
    """Equal keys, exact matches, order of eviction, fewer than k keys, several chunks."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(100, 6, generator=generator)  # keys of 100 states, visited repeatedly
    tables = NeighborTables(
        2, 6, capacity=capacity, num_neighbors=k, kernel=kernel, update_rate=update_rate
    )
    references = [Reference(capacity, k, kernel, update_rate) for _ in range(2)]
    default, knn.CHUNK_SIZE = knn.CHUNK_SIZE, chunk
    try:
        for _ in range(8):
            action = int(torch.randint(2, (), generator=generator))
            count = int(torch.randint(1, 40, (), generator=generator))
            visits = torch.randint(100, (count,), generator=generator)
            returns = torch.randint(50, (count,), generator=generator).float()
            tables.update(action, states[visits], visits + 7, returns)
            references[action].update(states[visits], (visits + 7).tolist(), returns.tolist())
            value, exact = tables.estimate(states, torch.arange(100) + 7)
            for a, reference in enumerate(references):
                expected = [reference.estimate(key, i + 7) for i, key in enumerate(states)]
                torch.testing.assert_close(value[a], torch.tensor(expected), rtol=1e-4, atol=1e-4)
                full = len(reference.entries) >= k
                hits = [full and i + 7 in reference.entries for i in range(100)]
                assert exact[a].bool().tolist() == hits
    finally:
        knn.CHUNK_SIZE = default


def test_remoteness_is_the_mean_distance_relative_to_other_actions_times_a_deviation() -> None:
    tables = NeighborTables(3, 1, capacity=10, num_neighbors=2)
    tables.update(0, torch.tensor([[1.0], [-3.0]]), torch.arange(2), torch.tensor([0.0, 2.0]))
    tables.update(1, torch.tensor([[5.0], [7.0]]), torch.arange(2), torch.tensor([4.0, 6.0]))
    tables.update(2, torch.tensor([[9.0]]), torch.arange(1), torch.tensor([100.0]))
    found = tables.search(torch.zeros(1, 1))
    # Mean distances 2 and 6, of mean 4; the returns 0, 2, 4, 6 have variance 5.
    expected = [0.5 * 5**0.5, 1.5 * 5**0.5, 0.0]
    assert tables.remoteness(*found)[:, 0].tolist() == pytest.approx(expected, rel=1e-3)


def test_a_stored_state_is_found_if_all_keys_are_equal() -> None:
    tables = NeighborTables(1, 3, capacity=100, num_neighbors=4)
    key = torch.ones(50, 3)
    tables.update(0, key, torch.arange(50), torch.arange(50.0))
    value, exact = tables.estimate(key, torch.arange(50))
    assert exact.all()
    assert torch.equal(value[0], torch.arange(50.0))


def test_a_stored_state_is_found_if_its_key_is_far_from_the_others() -> None:
    """Errors of float32 products grow with the distance from the origin of the keys."""
    generator = torch.Generator().manual_seed(0)
    far = 1000 + torch.randn(100, 64, generator=generator)
    for near in (torch.zeros(64), 10 * torch.randn(64, generator=generator)):
        tables = NeighborTables(1, 64, capacity=1000, num_neighbors=5)
        tables.update(0, far, torch.arange(100), torch.zeros(100))
        shared = near.expand(40, -1)
        tables.update(0, shared, torch.arange(100, 140), torch.arange(40.0))
        value, exact = tables.estimate(shared, torch.arange(100, 140))
        assert exact.all()
        assert torch.equal(value[0], torch.arange(40.0))


def test_keys_are_recomputed_if_an_action_has_none() -> None:
    tables = NeighborTables(2, 3, capacity=10, num_neighbors=1, obs_shape=(1, 2, 2))
    obs = torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2)
    tables.update(1, torch.zeros(3, 3), torch.arange(3), torch.zeros(3), obs)
    tables.reencode(lambda x: x.flatten(1)[:, :3].float())
    assert torch.equal(tables.keys[1, :3], obs.flatten(1)[:, :3].float())


def test_search_is_exact_over_blocks_and_chunks() -> None:
    generator = torch.Generator().manual_seed(1)
    keys = torch.randn(20_001, 8, generator=generator)
    tables = NeighborTables(1, 8, capacity=30_000, num_neighbors=11)
    tables.update(0, keys, torch.arange(20_001), torch.zeros(20_001))
    stored = tables.keys[0, :20_001]
    query = torch.randn(5, 8, generator=generator)
    distances, indices = tables.search(query)
    expected = torch.cdist(query.double(), stored.double()).square().topk(11, largest=False)
    assert torch.equal(indices[0].T, expected.indices)
    torch.testing.assert_close(distances[0].T, expected.values.float(), rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.tuples(*[st.sampled_from([0, 2, 16, 33, 130])] * 3),
    chunk=st.sampled_from([16, 64, 1 << 14]),
    num_queries=st.sampled_from([1, 5, 16]),
)
def test_of_equal_distances_the_lowest_row_is_kept(
    seed: int, sizes: tuple[int, ...], chunk: int, num_queries: int
) -> None:
    """Keys of small integers have exact distances and many ties, whatever the chunks."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randint(-2, 3, (3, 130, 4), generator=generator).float()
    query = torch.randint(-2, 3, (num_queries, 4), generator=generator).float()
    index = knn.KNNIndex(3, 4)
    index.grow(130)
    for action, size in enumerate(sizes):
        index[action, :size] = keys[action, :size]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, "CHUNK_SIZE", chunk)
        distances, indices = index.search(query, sizes, 5)
    for action, size in enumerate(sizes):
        exact = (keys[action, :size, None] - query).square().sum(2)
        expected = exact.sort(dim=0, stable=True)
        count = min(size, 5)
        assert torch.equal(distances[action, :count], expected.values[:count])
        assert torch.equal(indices[action, :count], expected.indices[:count])
        assert bool(distances[action, count:].isinf().all())


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.tuples(*[st.sampled_from([0, 3, 40, 500])] * 3),
    chunk=st.sampled_from([64, 1 << 14]),
)
def test_tensor_operations_find_the_neighbors_that_compiled_code_finds(
    seed: int, sizes: tuple[int, ...], chunk: int
) -> None:
    """A GPU selects in blocks, a CPU in one compiled pass."""
    generator = torch.Generator().manual_seed(seed)
    index = knn.KNNIndex(3, 8)
    index.grow(500)
    index[0, :500], index[1, :500], index[2, :500] = torch.randn(3, 500, 8, generator=generator)
    right = torch.cat([torch.randn(8, 5, generator=generator), torch.ones(1, 5)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, "CHUNK_SIZE", chunk)
        found = index._search_in_order(right, range(3), sizes, 4)
        expected = index._search_in_blocks(right, range(3), sizes, 4)
    torch.testing.assert_close(found[0], expected[0])
    exists = expected[0].isfinite()
    assert torch.equal(found[1][exists], expected[1][exists])


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    spread=st.sampled_from([1e-4, 1e-2, 1.0, 100.0]),
    clusters=st.sampled_from([1, 3, 50]),
    sizes=st.tuples(*[st.sampled_from([0, 3, 40, 500, 2_000])] * 3),
    max_blocks=st.sampled_from([8, 256]),
    max_distances=st.sampled_from([5_000, 1 << 28]),
)
def test_a_search_on_halves_is_exact(
    seed: int,
    spread: float,
    clusters: int,
    sizes: tuple[int, ...],
    max_blocks: int,
    max_distances: int,
) -> None:
    """Keys far from 0, clustered, repeated, and an outlier, with queries of each kind."""
    generator = torch.Generator().manual_seed(seed)
    centers = 40 + torch.randn(clusters, 16, generator=generator)
    cluster = torch.randint(clusters, (max(*sizes, 1) + 10,), generator=generator)
    keys = centers[cluster] + spread * torch.randn(len(cluster), 16, generator=generator)
    keys[::7], keys[5] = keys[0].clone(), 1000.0
    near = centers[:1] + 0.05 * spread * torch.randn(4, 16, generator=generator)
    query = torch.cat([keys[-10:], keys[:6], centers[:1], near, torch.zeros(1, 16)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_storage, "native_bfloat16", lambda: True)
        patch.setattr(key_storage, "MIN_SPLIT_KEYS", 1)
        patch.setattr(knn, "CHUNK_SIZE", 256)
        patch.setattr(knn, "MAX_CANDIDATE_BLOCKS", max_blocks)
        patch.setattr(knn, "MAX_DISTANCES", max_distances)
        index = knn.KNNIndex(3, 16)
        index.origin = centers[0]
        index.grow(2_000)
        for action, size in enumerate(sizes):
            index[action, :size] = keys[:size]
        index.split_if_large(sizes)
        distances, indices = index.search(query, sizes, 11)
    for action, size in enumerate(sizes):
        count = min(size, 11)
        stored = index[action, :size].double()
        exact = (query[:, None].double() - stored).square().sum(2)
        expected = exact.sort(1).values[:, :count]
        # The tolerance of float32 for numbers of this size.
        scale = (query - index.origin).double().square().sum(1, keepdim=True) + expected
        assert bool(((distances[action].T[:, :count] - expected).abs() <= 1e-5 * scale).all())
        neighbors = indices[action].T[:, :count]
        assert bool(((exact.gather(1, neighbors) - expected) <= 1e-5 * scale).all())
        assert bool(distances[action, count:].isinf().all())
        for row in neighbors:
            assert len(set(row.tolist())) == count


@pytest.mark.parametrize("min_split_keys", [1, 10**9])
@pytest.mark.parametrize("capacity", [64, 200])
def test_a_state_is_restored_exactly(
    capacity: int, min_split_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_storage, "native_bfloat16", lambda: True)
    monkeypatch.setattr(key_storage, "MIN_SPLIT_KEYS", min_split_keys)
    generator = torch.Generator().manual_seed(0)
    a = NeighborTables(2, 4, capacity=capacity, num_neighbors=3)
    b = NeighborTables(2, 4, capacity=capacity, num_neighbors=3)
    for round_ in range(4):
        keys = torch.randn(50, 4, generator=generator)
        digests = torch.arange(50) + 30 * round_
        a.update(round_ % 2, keys, digests, keys[:, 0])
        b.load_state_dict(a.state_dict())
        for tables in (a, b):
            tables.update(0, keys + 1, digests + 1000, keys[:, 1])
        for x, y in zip(a.estimate(keys, digests), b.estimate(keys, digests), strict=True):
            assert torch.equal(x, y)
    assert bool(a.keys.halves) == (min_split_keys == 1)


def test_a_restored_table_rounds_the_distances_of_one_query_as_before() -> None:
    """Products with a single query are rounded by where the keys lie in memory."""
    generator = torch.Generator().manual_seed(0)
    for count in (*range(40, 60), 5000):
        a, b = (NeighborTables(2, 16, capacity=9999, num_neighbors=3) for _ in range(2))
        for start in range(0, count, 37):
            keys = torch.randn(min(37, count - start), 16, generator=generator)
            a.update(1, keys, start + torch.arange(len(keys)), keys[:, 0])
        b.load_state_dict(a.state_dict())
        query = torch.randn(1, 16, generator=generator)
        (distances, _), (restored, _) = a.search(query), b.search(query)
        assert torch.equal(distances, restored)


@pytest.mark.parametrize("min_split_keys", [1, 10**9])
def test_the_keys_that_stay_are_those_visited_last(
    min_split_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in tables of that capacity, whichever way the numbers are stored."""
    monkeypatch.setattr(key_storage, "native_bfloat16", lambda: True)
    monkeypatch.setattr(key_storage, "MIN_SPLIT_KEYS", min_split_keys)
    generator = torch.Generator().manual_seed(0)
    small = NeighborTables(2, 4, capacity=8, num_neighbors=3)
    large = NeighborTables(2, 4, capacity=99, num_neighbors=3)
    for k in range(6):
        keys = torch.randn(7, 4, generator=generator)
        for tables in (small, large):
            tables.update(0, keys, torch.arange(7) + 7 * k, keys[:, 0])
            tables.update(1, keys[:1], torch.tensor([7 * k % 3]), keys[:1, 1])
    queries = torch.randn(5, 4, generator=generator)
    whole = large.estimate(queries, None)
    assert large.keep_most_recent(99) == 0
    assert all(map(torch.equal, large.estimate(queries, None), whole))
    assert large.keep_most_recent(8) == 42 - 8
    assert not large.keys.halves
    assert large.sizes == small.sizes
    assert set(large.digests[0, :8].tolist()) == set(small.digests[0, :8].tolist())
    for x, y in zip(large.search(queries)[:1], small.search(queries)[:1], strict=True):
        torch.testing.assert_close(x, y)


@pytest.mark.parametrize("native", [True, False])
def test_halves_store_keys_exactly_and_load_on_any_cpu(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of every magnitude, saved with native bfloat16 and loaded with and without it."""
    monkeypatch.setattr(key_storage, "native_bfloat16", lambda: True)
    monkeypatch.setattr(key_storage, "MIN_SPLIT_KEYS", 1)
    generator = torch.Generator().manual_seed(0)
    magnitude = torch.pow(10.0, torch.randint(-30, 18, (300, 5), generator=generator))
    keys = magnitude * torch.randn(300, 5, generator=generator)
    storage = key_storage.KeyStorage(2, 5)
    storage.grow(300)
    storage[1, :200] = keys[:200]
    storage.split_if_large([0, 200])
    assert storage.halves
    assert not storage.full.numel()
    storage[1, torch.arange(200, 300)] = keys[200:]
    assert torch.equal(storage[1, :300], keys)
    monkeypatch.setattr(key_storage, "native_bfloat16", lambda: native)
    loaded = key_storage.KeyStorage(2, 5)
    loaded.grow(300)
    loaded.load_state_dict(storage.state_dict([0, 300]))
    assert torch.equal(loaded[1, :300], keys)
    loaded.split_if_large([0, 300])
    assert bool(loaded.halves) == native
