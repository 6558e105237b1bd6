"""The nearest of many keys: brute force over all actions and queries at once, with no index.

Small tables are compared as near as products in float32 come. Where the processor multiplies
bfloat16 itself, the upper halves of the bits of large ones are compared first, which are bfloat16:
what the lower halves can change has a bound, and the keys that may be among the nearest within it
are few, and are compared in full.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import BFloat16, Float, Int16, Int64
from torch import Tensor

from world_models.arithmetic import native_bfloat16

BLOCK = 16  # keys whose smallest distance stands for them all
CHUNK = 1 << 14  # keys of an action compared at a time, so that their distances stay in cache
MANY = 1 << 15  # keys of an action from which comparing halves first pays
CROWD = 256  # blocks within the bound of a query's nearest, beyond which it does not
ROOM = 1 << 28  # distances of all slots that are held at once

Found = tuple[Float[Tensor, "A k B"], Int64[Tensor, "A k B"]]


class Keys:
    """The keys of each action, in slots, about an origin among them, where numbers are small."""

    def __init__(self, num_actions: int, dim: int, device: torch.device | str = "cpu") -> None:
        self.origin = torch.zeros(dim, device=device)
        # The last column holds |key|^2, so that one matrix product gives distances.
        self.full = torch.empty(num_actions, 0, dim + 1, device=device)
        # Instead of it, for large tables: upper halves and |key|^2 in two parts; lower halves.
        self.halves: tuple[BFloat16[Tensor, "A n E"], Int16[Tensor, "A n D"]] | None = None
        self.halving = torch.device(device).type == "cpu" and native_bfloat16()
        self._scratch: dict[torch.dtype, Tensor] = {}  # distances, written again at every lookup

    @property
    def room(self) -> int:
        """How many slots an action has."""
        return self.halves[0].shape[1] if self.halves else self.full.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes held, what the last lookup wrote among them."""
        return sum(x.nbytes for x in (self.full, *(self.halves or ()), *self._scratch.values()))

    def __getitem__(self, place: tuple[int, Int64[Tensor, " M"] | slice]) -> Float[Tensor, "M D"]:
        """The keys in these slots of an action."""
        return self._about(*place) + self.origin

    def __setitem__(
        self, place: tuple[int, Int64[Tensor, " M"] | slice], key: Float[Tensor, "M D"]
    ) -> None:
        self._write(place, key - self.origin)

    def grow(self, room: int) -> None:
        """Have so many slots an action."""
        if self.halves:
            upper, lower = self.halves
            self.halves = grown(upper, room), grown(lower, room)
        else:
            self.full = grown(self.full, room)

    def settle(self, sizes: Sequence[int]) -> None:
        """Hold large tables in halves: whoever puts keys or loads them says so here."""
        if self.halves or not self.halving or max(sizes) < MANY:
            return
        full, dim = self.full, len(self.origin)
        upper = full.new_empty(*full.shape[:2], dim + 2, dtype=torch.bfloat16)
        self.halves = upper, full.new_empty(*full.shape[:2], dim, dtype=torch.int16)
        for action, size in enumerate(sizes):
            for start in range(0, size, CHUNK):
                part = slice(start, min(start + CHUNK, size))
                self._write((action, part), full[action, part, :-1])
        self.full = full[:, :0].clone()

    def nearest(self, key: Float[Tensor, "B D"], sizes: Sequence[int], k: int) -> Found:
        """Squared distances and slots of each query's nearest keys, nearest first.

        Each action's first ``sizes`` slots are full. Where an action has fewer than k keys, the
        distance is +inf and the slot means nothing.
        """
        query = key - self.origin
        if not self.halves:
            return self._nearest_in_full(query, range(len(sizes)), sizes, k)
        if len(key) > (most := max(1, ROOM // (len(sizes) * max(sizes)))):
            parts = [self.nearest(part, sizes, k) for part in torch.split(key, most)]
            distances, slots = zip(*parts, strict=True)
            return torch.cat(distances, 2), torch.cat(slots, 2)
        distance, minima = self._rounded_distances(self.halves[0], query, sizes)
        # Any k keys bound the distance of the k-th nearest; these are nearly the nearest.
        _, likely = _least(distance, minima, k)
        every = torch.arange(len(sizes), device=key.device)[:, None, None]
        apart = self._distances(query.expand(*likely.shape, -1), every, likely, sizes)
        limit = _rounded_limit(query, apart.amax(1))  # [A, B]

        close = minima <= limit[:, None]
        crowded = close.sum(1) > CROWD
        action, block, stream = (close & ~crowded[:, None]).nonzero().unbind(1)
        row = _rows(block, len(distance[0]))  # [P, BLOCK]
        within = distance[action[:, None], row, stream[:, None]] <= limit[action, stream][:, None]
        place = within.nonzero()[:, 0]
        action, stream, slot = action[place], stream[place], row[within]
        apart = self._distances(query[stream], action, slot, sizes)
        group = action * len(query) + stream
        found = [
            x.view(len(sizes), len(query), k).transpose(1, 2)
            for x in _least_of_groups(apart, slot, group, crowded.numel(), k)
        ]
        for one in crowded.any(1).nonzero()[:, 0].tolist():
            some = crowded[one]
            of_one = self._nearest_in_full(query[some], [one], sizes, k)
            for all_found, some_found in zip(found, of_one, strict=True):
                all_found[one, :, some] = some_found[0]
        return found[0], found[1]

    def rounding(self, key: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
        """How far from a key its own self may seem to be, by products in float32."""
        return 1e-5 * torch.maximum(key.square().sum(1), (key - self.origin).square().sum(1))

    def _nearest_in_full(
        self, query: Float[Tensor, "B D"], actions: Sequence[int], sizes: Sequence[int], k: int
    ) -> Found:
        """``nearest`` for some of the actions, as near as products in float32 come."""
        right = torch.cat([-2 * query, torch.ones_like(query[:, :1])], 1).T.contiguous()
        most = _up(max(k, *(sizes[action] for action in actions)), BLOCK)
        distances, slots = [], []
        for start in range(0, most, CHUNK):
            shape = len(actions), min(CHUNK, most - start), len(query)
            part = self._space(torch.float32, *shape)
            for out, action in zip(part, actions, strict=True):
                stop = min(start + shape[1], sizes[action])
                _compare(self._table(action, slice(start, max(start, stop))), right, out)
            distance, slot = _least(part, _minima(part), min(k, len(part[0])))
            distances.append(distance)
            slots.append(slot + start)
        distance, slot = distances[0], slots[0]
        if len(distances) > 1:
            distance, order = torch.cat(distances, 1).topk(k, dim=1, largest=False)
            slot = torch.cat(slots, 1).gather(1, order)
        distance = (distance + query.square().sum(1)).clamp_(min=0)
        return distance, slot.clamp_(max=self.room - 1)

    def _rounded_distances(
        self, table: BFloat16[Tensor, "A n C"], query: Float[Tensor, "B D"], sizes: Sequence[int]
    ) -> tuple[BFloat16[Tensor, "A r B"], BFloat16[Tensor, "A m B"]]:
        """Squared distances, less the query's own square, to every slot; and minima of blocks."""
        right = torch.cat([-2 * query, query.new_ones(len(query), 2)], 1)
        right = right.T.to(table.dtype).contiguous()
        rows = _up(max(sizes), CHUNK)
        both = self._space(table.dtype, len(sizes), rows + rows // BLOCK, len(query))
        distance, minima = both[:, :rows], both[:, rows:]
        for action, size in enumerate(sizes):
            parts = (
                torch.split(distance[action], CHUNK),
                torch.split(minima[action], CHUNK // BLOCK),
            )
            for i, (part, least) in enumerate(zip(*parts, strict=True)):
                _compare(table[action, i * CHUNK : size], right, part)
                least.copy_(_minima(part[None])[0])
        return distance, minima

    def _distances(
        self,
        query: Float[Tensor, "*p D"],
        action: Int64[Tensor, "*#p"],
        slot: Int64[Tensor, "*p"],
        sizes: Sequence[int],
    ) -> Float[Tensor, "*p"]:
        """Squared distances to the keys in these slots, +inf to an empty one."""
        kept = slot < torch.tensor(sizes, device=slot.device)[action]
        stored = self._about(action, slot.clamp(max=self.room - 1))
        return torch.where(kept, (stored - query).square().sum(-1), torch.inf)

    def _space(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """Numbers to write over; those of the last lookup are lost."""
        count = math.prod(shape)
        if dtype not in self._scratch or len(self._scratch[dtype]) < count:
            self._scratch.pop(dtype, None)  # before there is another
            self._scratch[dtype] = torch.empty(count, dtype=dtype, device=self.full.device)
        return self._scratch[dtype][:count].view(shape)

    def state_dict(self, sizes: Sequence[int]) -> dict[str, Any]:
        held = {"full": self.full}
        if self.halves:
            held = {"upper": self.halves[0], "lower": self.halves[1]}
        rows = {
            name: [keys[:size] for keys, size in zip(table, sizes, strict=True)]
            for name, table in held.items()
        }
        return {"origin": self.origin} | rows

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what was saved; there must be room for it."""
        self.origin = state["origin"].to(self.origin)
        dim = len(self.origin)
        if "full" in state:
            saved = [full[:, :dim] for full in state["full"]]
        else:
            halves = zip(state["upper"], state["lower"], strict=True)
            saved = [_join(upper[:, :dim], lower) for upper, lower in halves]
        for action, about in enumerate(saved):
            self._write((action, slice(len(about))), about.to(self.origin))

    def _about(
        self, action: int | Int64[Tensor, "*#p"], slot: Int64[Tensor, "*p"] | slice
    ) -> Float[Tensor, "*p D"]:
        """Keys about the origin."""
        if not self.halves:
            return self.full[action, slot][..., :-1]
        upper, lower = self.halves
        return _join(upper[action, slot][..., : lower.shape[2]], lower[action, slot])

    def _table(self, action: int, slots: slice) -> Float[Tensor, "s C"]:
        """Keys about the origin, and their squares."""
        if not self.halves:
            return self.full[action, slots]
        return _with_square(self._about(action, slots))

    def _write(
        self, place: tuple[int, Int64[Tensor, " M"] | slice], about: Float[Tensor, "M D"]
    ) -> None:
        if self.halves:
            upper, self.halves[1][place] = _split(about)
            square = about.square().sum(1, keepdim=True)
            high = square.bfloat16()
            self.halves[0][place] = torch.cat([upper, high, (square - high).bfloat16()], 1)
        else:
            self.full[place] = _with_square(about)


def _split(
    number: Float[Tensor, "M D"],
) -> tuple[BFloat16[Tensor, "M D"], Int16[Tensor, "M D"]]:
    """The upper and the lower halves of each number's bits; the upper is it, cut to bfloat16."""
    halves = number.contiguous().view(torch.int16).view(*number.shape, 2)  # little-endian
    return halves[..., 1].contiguous().view(torch.bfloat16), halves[..., 0]


def _join(upper: BFloat16[Tensor, "*p D"], lower: Int16[Tensor, "*p D"]) -> Float[Tensor, "*p D"]:
    """The numbers that were split, bit for bit."""
    halves = torch.stack([lower, upper.contiguous().view(torch.int16)], -1)
    return halves.view(torch.float32).squeeze(-1)


def _with_square(about: Float[Tensor, "M D"]) -> Float[Tensor, "M C"]:
    return torch.cat([about, about.square().sum(1, keepdim=True)], 1)


def _compare(table: Float[Tensor, "s C"], right: Float[Tensor, "C B"], out: Tensor) -> None:
    """Products with the table's first rows, as many as there is room for; +inf beyond them."""
    rows = min(len(table), len(out))
    torch.mm(table[:rows], right, out=out[:rows])
    out[rows:] = torch.inf


def _minima(distance: Float[Tensor, "A n B"]) -> Float[Tensor, "A m B"]:
    """The least of each block: of every (n / BLOCK)-th row, so that minima are of whole vectors."""
    return distance.view(len(distance), BLOCK, -1, distance.shape[2]).amin(1)


def _rows(block: Int64[Tensor, "*p"], rows: int) -> Int64[Tensor, "*p c"]:
    """The rows of blocks, where so many rows were compared in chunks."""
    chunk = min(rows, CHUNK)
    blocks = chunk // BLOCK
    within = torch.arange(0, chunk, blocks, device=block.device)
    return (block // blocks * chunk + block % blocks)[..., None] + within


def _least(distance: Float[Tensor, "A n B"], minima: Float[Tensor, "A m B"], k: int) -> Found:
    """Each query's k smallest distances and their rows: they lie in the k blocks of least."""
    count = min(k, minima.shape[1])
    blocks = minima.topk(count, dim=1, largest=False, sorted=False).indices
    rows = _rows(blocks.transpose(1, 2), distance.shape[1]).flatten(2).transpose(1, 2)  # [A, c, B]
    found, order = distance.gather(1, rows).topk(k, dim=1, largest=False)
    return found, rows.gather(1, order)


def _least_of_groups(
    value: Float[Tensor, " P"],
    slot: Int64[Tensor, " P"],
    group: Int64[Tensor, " P"],
    n: int,
    k: int,
) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """The k smallest values of each of n groups, and their slots; +inf where there are no more."""
    order = value.argsort(stable=True)
    order = order[group[order].argsort(stable=True)]
    counts = torch.bincount(group, minlength=n)
    rank = torch.arange(k, device=value.device)
    place = (counts.cumsum(0) - counts)[:, None] + rank
    place = torch.where(rank < counts[:, None], place, len(value))
    value = torch.cat([value[order], value.new_tensor([torch.inf])])
    return value[place], torch.cat([slot[order], slot.new_zeros(1)])[place]


def _rounded_limit(
    query: Float[Tensor, "B D"], bound: Float[Tensor, "A B"]
) -> BFloat16[Tensor, "A B"]:
    """What no rounded distance exceeds where the true one is within the bound.

    A key's number was cut by eps of it at most, a query's rounded by half as much. So products
    with a key are off by 1.5 eps |q| |k| in all, and |k| <= |q| + |k - q|. Rounding is monotone:
    the limit may be rounded as what it limits.
    """
    half, full = torch.finfo(torch.bfloat16), torch.finfo(torch.float32)
    length = query.square().sum(1).sqrt()
    reach = length + bound.sqrt()
    rest = half.eps**2 + query.shape[1] * full.eps  # of the square's second part, and of sums
    slack = 2 * reach * (1.5 * half.eps * length + rest * reach)
    limit = bound - length.square() + slack
    return limit.bfloat16().clamp(max=half.max)  # below an empty slot's


def _up(x: int, to: int) -> int:
    return -(-x // to) * to


def grown(table: Tensor, room: int) -> Tensor:
    """The table, with room for so many slots an action."""
    larger = table.new_empty(len(table), room, *table.shape[2:])
    larger[:, : table.shape[1]] = table
    return larger
