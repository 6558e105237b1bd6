"""Replay: a ring of ticks in which every frame stands once, one lane a stream.

A tick holds the newest frame, what was done and what followed. Stacks are put together again when
transitions are drawn, with zero frames before a first look, as the emulator's are. An episode here
ends where the discount is 0 (death, lost life) or at a time-out.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from agents.returns import returns_to_go
from envs import dice
from envs.errors import UsageError
from envs.interface import EnvSpec, Segment, Transition

BLOCK = 1024  # ticks whose sampleable ones are counted together
TABLES = ("frames", "action", "reward", "discount", "ends", "seen", "returns", "complete")


@dataclass(frozen=True, slots=True)
class Batch:
    """Transitions of n steps, or of as many as were left of the episode."""

    obs: UInt8[Tensor, "B K H W"]
    action: Int64[Tensor, " B"]
    reward: Float[Tensor, " B"]
    """Discounted sum over the n steps."""
    discount: Float[Tensor, " B"]
    """Of the value of ``next_obs``: 0 where the episode ended by death."""
    next_obs: UInt8[Tensor, "B K H W"]
    returns: Float[Tensor, " B"]
    """Discounted sum of all rewards to the end of the episode."""
    complete: Bool[Tensor, " B"]
    """Whether ``returns`` is a whole return: false where a time-out cut it, and with no returns."""

    def to(self, device: torch.device) -> "Batch":
        """The same on a device; to a GPU from pinned memory, while the host goes on."""
        parts = [getattr(self, f.name) for f in fields(self)]
        if device.type == "cuda":
            parts = [x if x.is_cuda else x.pin_memory() for x in parts]
        return Batch(*(x.to(device, non_blocking=True) for x in parts))


class Replay:
    """Up to ``capacity`` frames of all streams; the oldest tick makes room for the newest.

    With ``monte_carlo``, a transition can be drawn once its episode has ended and its return is
    known (Bellemare et al. 2016); without, once its n steps have passed.
    """

    def __init__(
        self,
        spec: EnvSpec,
        *,
        capacity: int,
        gamma: float,
        n_step: int = 1,
        monte_carlo: bool = True,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.gamma, self.n_step, self.monte_carlo = gamma, n_step, monte_carlo
        self.lanes, self.ticks = spec.num_envs, capacity // spec.num_envs
        self.depth = spec.obs_shape[0] // spec.colours  # frames in a stack
        if self.ticks < self.depth + n_step:
            raise UsageError(
                f"agent.capacity is {capacity}, too few frames for {self.lanes} streams; "
                f"it must be {self.lanes * (self.depth + n_step)} or more."
            )
        shape = self.ticks, self.lanes
        try:  # untouched memory costs nothing: a ring in host memory grows as it fills
            self.frames = torch.empty(
                *shape, spec.colours, *spec.obs_shape[1:], dtype=torch.uint8, device=device
            )
        except RuntimeError as error:
            raise UsageError(
                f"agent.capacity is {capacity}, and {device} has no memory for so many frames; "
                "choose fewer."
            ) from error
        self.action = torch.zeros(shape, dtype=torch.int64)
        self.reward, self.discount, self.returns = (torch.zeros(shape) for _ in range(3))
        self.ends, self.complete = (torch.zeros(shape, dtype=torch.bool) for _ in range(2))
        self.seen = torch.zeros(shape, dtype=torch.int64)  # frames of the stack since the first
        self.head = 0  # ticks written since the beginning; tick t stands in row t % ticks
        self.start = torch.full((self.lanes,), self.depth - 1)  # first tick not yet sampleable
        blocks = -(-self.ticks * self.lanes // BLOCK)
        self.sampleable = torch.zeros(blocks, BLOCK, dtype=torch.bool)
        self.counts = torch.zeros(blocks, dtype=torch.int64)
        self.key = dice.keys(seed, "replay", 1)

    def __len__(self) -> int:
        """How many transitions can be drawn."""
        return int(self.counts.sum())

    def append(self, t: Transition, reward: Float[Tensor, " N"]) -> None:
        """Add a tick of all streams, with the reward that is to be learned from."""
        if self.head == 0:  # the first look's older frames take the rows before it
            older = t.step.obs.view(self.lanes, self.depth, *self.frames.shape[2:])
            self.head = self.depth - 1
            self.frames[: self.depth] = older.transpose(0, 1)
            self.seen[self.head] = torch.where(t.step.first.cpu(), 1, self.depth)
        now, following = self.head % self.ticks, (self.head + 1) % self.ticks
        valid, discount = t.valid.cpu(), t.next_step.discount.cpu()
        ends = valid & (t.next_step.last.cpu() | (discount == 0))
        # The frame about to be overwritten is the oldest in this tick's stack.
        self._mark(torch.arange(self.lanes) + (self.head + self.depth) % self.ticks * self.lanes, 0)

        self.frames[following] = t.next_step.frame
        seen = (self.seen[now] + 1).clamp_(max=self.depth)
        self.seen[following] = torch.where(t.next_step.first.cpu(), 1, seen)
        self.action[now] = t.action.cpu()
        self.reward[now] = torch.where(valid, reward.cpu(), 0.0)
        self.discount[now] = torch.where(valid, self.gamma * discount, 0.0)
        self.ends[now] = ends

        for lane in ends.nonzero()[:, 0].tolist():
            self._end_episode(lane)
        self.start[~valid] = self.head + 1
        if not self.monte_carlo:
            ready = (self.head + 1 - self.start >= self.n_step).nonzero()[:, 0]
            self._mark(self._cells(self.start[ready], ready), 1)
            self.start[ready] += 1
        self.head += 1

    def sample(self, count: int) -> Batch:
        """Draw uniformly, with replacement, among the transitions that can be drawn."""
        ranks = dice.integers(dice.bits(self.key, count)[0], len(self))
        self.key = dice.roll(self.key)
        return self.take(ranks)

    def take(self, ranks: Int64[Tensor, " B"]) -> Batch:
        """The transitions of these ranks among all that can be drawn, in the ring's order."""
        cell = self._find(ranks)
        row, lane = cell // self.lanes, cell % self.lanes
        window = self._cells(row[:, None] + torch.arange(self.n_step), lane[:, None])  # [B n]
        within = torch.ones_like(window, dtype=torch.bool)  # not past the episode's end
        within[:, 1:] = self.ends.view(-1)[window[:, :-1]].cumsum(1) == 0
        discount = self.discount.view(-1)[window]
        return Batch(
            obs=self._stacks(row, lane),
            action=self.action.view(-1)[cell],
            reward=returns_to_go(self.reward.view(-1)[window], discount, within)[:, 0],
            discount=torch.where(within, discount, 1.0).prod(1),
            next_obs=self._stacks(row + within.sum(1), lane),
            returns=self.returns.view(-1)[cell],
            complete=self.complete.view(-1)[cell],
        )

    def segments(self, count: int, ticks: int) -> Segment:
        """Pieces of ``ticks`` ticks, drawn among four times as many so as to be of one episode.

        Where there are too few such, a piece is over (``last``) from its episode's end on. The
        reward and discount are those that were stored.
        """
        ranks = dice.integers(dice.bits(self.key, 4 * count)[0], len(self))
        self.key = dice.roll(self.key)
        cell = self._find(ranks)
        row, lane = cell // self.lanes, cell % self.lanes
        window = self._cells(row[:, None] + torch.arange(ticks), lane[:, None])  # [B T]
        known = (self.head - row - 1) % self.ticks + 1  # ticks from here to the newest
        # Before which looks the episode has ended, or which are not there yet.
        last = torch.zeros(4 * count, ticks + 1, dtype=torch.bool)
        last[:, 1:] = self.ends.view(-1)[window].cumsum(1) > 0
        last |= torch.arange(ticks + 1) > known[:, None]
        broken = last[:, :-1].any(1) | (known < ticks)
        best = broken.int().sort(stable=True).indices[:count]
        row, lane, window, last = row[best], lane[best], window[best], last[best]
        offsets = torch.arange(ticks + 1)
        looks = self._stacks((row[:, None] + offsets).flatten(), lane.repeat_interleave(ticks + 1))
        reward = self.reward.view(-1)[window]
        return Segment(
            action=self.action.view(-1)[window],
            obs=looks.view(count, ticks + 1, *looks.shape[1:]),
            reward=reward,
            bonus=torch.zeros_like(reward),
            discount=self.discount.view(-1)[window],
            first=torch.zeros_like(last),
            last=last,
            memory={},
        )

    def _end_episode(self, lane: int) -> None:
        """Fill in the returns of a lane's episode, which ends now, and let it be drawn from."""
        oldest = self.head + 1 - self.ticks + self.depth  # whose stack is still whole
        episode = torch.arange(max(int(self.start[lane]), oldest), self.head + 1)
        cells = self._cells(episode, torch.tensor(lane))
        if self.monte_carlo:
            reward, discount = self.reward.view(-1)[cells], self.discount.view(-1)[cells]
            every = torch.ones_like(cells, dtype=torch.bool)
            self.returns.view(-1)[cells] = returns_to_go(reward[None], discount[None], every[None])[
                0
            ]
            self.complete.view(-1)[cells] = discount[-1] == 0
        self._mark(cells, 1)
        self.start[lane] = self.head + 1

    def _stacks(
        self, row: Int64[Tensor, " B"], lane: Int64[Tensor, " B"]
    ) -> UInt8[Tensor, "B K H W"]:
        """Looks as the emulator showed them: frames before the episode's first are zero."""
        back = torch.arange(self.depth - 1, -1, -1)
        cells = self._cells(row[:, None] - back, lane[:, None])
        real = back < self.seen.view(-1)[cells[:, -1:]]  # [B depth]
        device = self.frames.device
        frames = self.frames.flatten(0, 1).index_select(0, cells.flatten().to(device))
        frames *= real.flatten().to(device)[:, None, None, None]
        return frames.view(len(row), -1, *frames.shape[2:])

    def _cells(self, tick: Int64[Tensor, "*t"], lane: Int64[Tensor, "*l"]) -> Int64[Tensor, "*c"]:
        return tick % self.ticks * self.lanes + lane

    def _mark(self, cells: Int64[Tensor, " M"], sampleable: int) -> None:
        flat = self.sampleable.view(-1)
        self.counts.index_add_(0, cells // BLOCK, sampleable - flat[cells].long())
        flat[cells] = bool(sampleable)

    def _find(self, ranks: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """The cell of each rank: its block by the blocks' counts, then its place in there."""
        upto = self.counts.cumsum(0)
        block = torch.searchsorted(upto, ranks, right=True)
        rank = ranks - (upto - self.counts)[block]
        within = self.sampleable[block].cumsum(1)
        return block * BLOCK + torch.searchsorted(within, rank[:, None], right=True)[:, 0]

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors, of the filled rows alone."""
        filled = min(self.head + 1, self.ticks) if self.head else 0
        return {
            "head": self.head,
            "start": self.start,
            "key": self.key,
            "sampleable": self.sampleable.view(-1)[: filled * self.lanes],
            **{name: getattr(self, name)[:filled] for name in TABLES},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.head, self.start, self.key = state["head"], state["start"].clone(), state["key"]
        self.sampleable.zero_().view(-1)[: len(state["sampleable"])] = state["sampleable"]
        self.counts = self.sampleable.sum(1)
        for name in TABLES:
            getattr(self, name)[: len(state[name])] = state[name]
