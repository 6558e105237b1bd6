"""The tables of episodic control against a plain reference, one visit at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agents import lookup
from agents.neighbours import NeighbourTables


class Reference:
    """One action's table as a dictionary: eq. 1 and 2 of the paper, one visit at a time."""

    def __init__(self, capacity: int, neighbours: int) -> None:
        self.capacity, self.neighbours, self.clock = capacity, neighbours, 0
        self.entries: dict[int, tuple[Tensor, float]] = {}
        self.visited: dict[int, int] = {}

    def store(self, keys: Tensor, digests: list[int], returns: list[float]) -> None:
        old = set(self.entries)
        for key, digest, value in zip(keys, digests, returns, strict=True):
            best = self.entries.get(digest, (key, value))[1]
            self.entries[digest] = (key, max(best, value))
            self.visited[digest] = self.clock = self.clock + 1
        fresh = sorted(set(self.entries) - old, key=self.visited.__getitem__)
        oldest = sorted(old, key=self.visited.__getitem__)
        surplus = max(len(fresh) - self.capacity, 0)
        overflow = max(len(old) + len(fresh) - surplus - self.capacity, 0)
        for digest in fresh[:surplus] + oldest[:overflow]:
            del self.entries[digest]

    def estimate(self, key: Tensor, digest: int) -> float:
        if len(self.entries) < self.neighbours:
            return float("inf")
        if digest in self.entries:
            return self.entries[digest][1]
        distance = [float((key - stored).square().sum()) for stored, _ in self.entries.values()]
        nearest = sorted(range(len(distance)), key=distance.__getitem__)[: self.neighbours]
        values = [value for _, value in self.entries.values()]
        return sum(values[i] for i in nearest) / self.neighbours


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    capacity=st.integers(5, 60),
    k=st.integers(1, 5),
    chunk=st.sampled_from([32, 8192]),
)
def test_tables_agree_with_the_reference(seed: int, capacity: int, k: int, chunk: int) -> None:
    """Ties of a key, exact hits, eviction order, fewer than k keys, several chunks."""
    generator = torch.Generator().manual_seed(seed)
    world = torch.randn(100, 6, generator=generator)  # 100 states there are; visits repeat them
    tables = NeighbourTables(2, 6, capacity=capacity, neighbours=k)
    references = [Reference(capacity, k) for _ in range(2)]
    default, lookup.CHUNK = lookup.CHUNK, chunk
    try:
        for _ in range(8):
            action = int(torch.randint(2, (), generator=generator))
            count = int(torch.randint(1, 40, (), generator=generator))
            visits = torch.randint(100, (count,), generator=generator)
            returns = torch.randint(50, (count,), generator=generator).float()
            tables.store(action, world[visits], visits + 7, returns)
            references[action].store(world[visits], (visits + 7).tolist(), returns.tolist())
            value, exact = tables.estimate(world, torch.arange(100) + 7)
            for a, reference in enumerate(references):
                expected = [reference.estimate(key, i + 7) for i, key in enumerate(world)]
                torch.testing.assert_close(value[a], torch.tensor(expected))
                full = len(reference.entries) >= k
                hits = [full and i + 7 in reference.entries for i in range(100)]
                assert exact[a].bool().tolist() == hits
    finally:
        lookup.CHUNK = default


def test_a_stored_state_is_found_even_where_all_keys_collapse() -> None:
    tables = NeighbourTables(1, 3, capacity=100, neighbours=4)
    key = torch.ones(50, 3)
    tables.store(0, key, torch.arange(50), torch.arange(50.0))
    value, exact = tables.estimate(key, torch.arange(50))
    assert exact.all()
    assert torch.equal(value[0], torch.arange(50.0))


def test_a_stored_state_is_found_where_its_key_is_far_from_the_others() -> None:
    """Products are about an origin among the keys, and err with its distance."""
    generator = torch.Generator().manual_seed(0)
    far = 1000 + torch.randn(100, 64, generator=generator)
    for near in (torch.zeros(64), 10 * torch.randn(64, generator=generator)):
        tables = NeighbourTables(1, 64, capacity=1000, neighbours=5)
        tables.store(0, far, torch.arange(100), torch.zeros(100))
        shared = near.expand(40, -1)
        tables.store(0, shared, torch.arange(100, 140), torch.arange(40.0))
        value, exact = tables.estimate(shared, torch.arange(100, 140))
        assert exact.all()
        assert torch.equal(value[0], torch.arange(40.0))


def test_keys_are_made_anew_where_an_action_has_none() -> None:
    tables = NeighbourTables(2, 3, capacity=10, neighbours=1, look_shape=(1, 2, 2))
    looks = torch.arange(12, dtype=torch.uint8).view(3, 1, 2, 2)
    tables.store(1, torch.zeros(3, 3), torch.arange(3), torch.zeros(3), look=looks)
    tables.encode_again(lambda look: look.flatten(1)[:, :3].float())
    assert torch.equal(tables.keys[1, :3], looks.flatten(1)[:, :3].float())


def test_nearest_are_the_nearest_over_blocks_and_chunks() -> None:
    generator = torch.Generator().manual_seed(1)
    keys = torch.randn(20_001, 8, generator=generator)
    tables = NeighbourTables(1, 8, capacity=30_000, neighbours=11)
    tables.store(0, keys, torch.arange(20_001), torch.zeros(20_001))
    stored = tables.keys[0, :20_001]
    query = torch.randn(5, 8, generator=generator)
    distance, slot = tables.nearest(query)
    expected = torch.cdist(query.double(), stored.double()).square().topk(11, largest=False)
    assert torch.equal(slot[0].T, expected.indices)
    torch.testing.assert_close(distance[0].T, expected.values.float(), rtol=1e-4, atol=1e-4)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    spread=st.sampled_from([1e-4, 1e-2, 1.0, 100.0]),
    clusters=st.sampled_from([1, 3, 50]),
    sizes=st.tuples(*[st.sampled_from([0, 3, 40, 500, 2_000])] * 3),
    crowd=st.sampled_from([8, 256]),
    room=st.sampled_from([5_000, 1 << 28]),
)
def test_rounding_first_loses_no_near_key(
    seed: int, spread: float, clusters: int, sizes: tuple[int, ...], crowd: int, room: int
) -> None:
    """Keys far from 0, in clusters, repeated, with one far off; and queries of each kind."""
    generator = torch.Generator().manual_seed(seed)
    centres = 40 + torch.randn(clusters, 16, generator=generator)
    which = torch.randint(clusters, (max(*sizes, 1) + 10,), generator=generator)
    keys = centres[which] + spread * torch.randn(len(which), 16, generator=generator)
    keys[::7], keys[5] = keys[0].clone(), 1000.0
    near = centres[:1] + 0.05 * spread * torch.randn(4, 16, generator=generator)
    query = torch.cat([keys[-10:], keys[:6], centres[:1], near, torch.zeros(1, 16)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookup, "native_bfloat16", lambda: True)
        for name, value in {"MANY": 1, "CHUNK": 256, "CROWD": crowd, "ROOM": room}.items():
            patch.setattr(lookup, name, value)
        table = lookup.Keys(3, 16)
        table.origin = centres[0]
        table.grow(2_000)
        for action, size in enumerate(sizes):
            table[action, :size] = keys[:size]
        table.settle(sizes)
        found, slots = table.nearest(query, sizes, 11)
    for action, size in enumerate(sizes):
        count = min(size, 11)
        stored = table[action, :size].double()
        apart = (query[:, None].double() - stored).square().sum(2)
        expected = apart.sort(1).values[:, :count]
        # As near as numbers of the size of those compared are told apart in float32.
        scale = (query - table.origin).double().square().sum(1, keepdim=True) + expected
        assert bool(((found[action].T[:, :count] - expected).abs() <= 1e-5 * scale).all())
        assert bool(
            ((apart.gather(1, slots[action].T[:, :count]) - expected) <= 1e-5 * scale).all()
        )
        assert bool(found[action, count:].isinf().all())
        for row in slots[action].T[:, :count]:
            assert len(set(row.tolist())) == count


@pytest.mark.parametrize("many", [1, 10**9])
@pytest.mark.parametrize("capacity", [64, 200])
def test_a_state_survives_a_round_trip_and_goes_on_alike(
    capacity: int, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "native_bfloat16", lambda: True)
    monkeypatch.setattr(lookup, "MANY", many)
    generator = torch.Generator().manual_seed(0)
    a = NeighbourTables(2, 4, capacity=capacity, neighbours=3)
    b = NeighbourTables(2, 4, capacity=capacity, neighbours=3)
    for round_ in range(4):
        keys = torch.randn(50, 4, generator=generator)
        digests = torch.arange(50) + 30 * round_
        a.store(round_ % 2, keys, digests, keys[:, 0])
        b.load_state_dict(a.state_dict())
        for tables in (a, b):
            tables.store(0, keys + 1, digests + 1000, keys[:, 1])
        for x, y in zip(a.estimate(keys, digests), b.estimate(keys, digests), strict=True):
            assert torch.equal(x, y)
    assert bool(a.keys.halves) == (many == 1)


@pytest.mark.parametrize("native", [True, False])
def test_halves_hold_keys_bit_for_bit_and_load_wherever(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of every size, saved where bfloat16 is native and loaded where it is or is not."""
    monkeypatch.setattr(lookup, "native_bfloat16", lambda: True)
    monkeypatch.setattr(lookup, "MANY", 1)
    generator = torch.Generator().manual_seed(0)
    size = torch.pow(10.0, torch.randint(-30, 18, (300, 5), generator=generator))
    about = size * torch.randn(300, 5, generator=generator)
    keys = lookup.Keys(2, 5)
    keys.grow(300)
    keys[1, :200] = about[:200]
    keys.settle([0, 200])
    assert keys.halves
    assert not keys.full.numel()
    keys[1, torch.arange(200, 300)] = about[200:]
    assert torch.equal(keys[1, :300], about)
    monkeypatch.setattr(lookup, "native_bfloat16", lambda: native)
    loaded = lookup.Keys(2, 5)
    loaded.grow(300)
    loaded.load_state_dict(keys.state_dict([0, 300]))
    assert torch.equal(loaded[1, :300], about)
    loaded.settle([0, 300])
    assert bool(loaded.halves) == native
