"""Replay buffer that stores each frame once, for n-step transitions and for segments.

The buffer is a ring of rows, one per timestep of all envs: the newest frames, the actions taken
there and their outcome. Stacks of frames are rebuilt when transitions are sampled, with the padding
of the environment before an episode's first frame; observations whose padding is ``stored`` are
kept whole. In the buffer, an episode ends where the discount is 0 (death, lost life) or at a
time-out.
"""

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ..envs import prng
from ..envs.errors import UsageError
from ..envs.interface import EnvSpec, Segment, TimeStep, Transition
from ..envs.transfer import columns_to_host
from .returns import returns_to_go

BLOCK = 128
"""Cells per block; the number of sampleable cells is kept per block. A draw passes over all blocks,
and over the cells of its own."""

COLUMNS = (
    "frames", "action", "reward", "discount", "episode_end", "num_frames", "returns", "complete",
    "privileged",
)  # fmt: skip
"""Tensors of the buffer [rows, envs, ...], in the order of a checkpoint; snapshots follow."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Transitions over n steps, or over fewer where the episode ended before."""

    obs: UInt8[Tensor, "B K H W"]
    action: Int64[Tensor, " B"]
    reward: Float[Tensor, " B"]
    """Discounted sum over the n steps."""
    discount: Float[Tensor, " B"]
    """Of the value of ``next_obs``: 0 where the episode ended by death."""
    next_obs: UInt8[Tensor, "B K H W"]
    returns: Float[Tensor, " B"]
    """Discounted sum of all rewards to the end of the episode (Monte-Carlo return)."""
    complete: Bool[Tensor, " B"]
    """Whether ``returns`` is known: False after a time-out and without Monte-Carlo returns."""
    privileged: UInt8[Tensor, "B P"]
    """The true state of ``obs``; without bytes where the env has none."""
    next_privileged: UInt8[Tensor, "B P"]
    index: Int64[Tensor, " B"]
    """The transition's number among all that were ever stored: timestep times envs, plus env."""

    def to(self, device: torch.device) -> "Batch":
        """Copy to a device; to a GPU asynchronously, from pinned memory."""
        columns = [getattr(self, field.name) for field in fields(self)]
        if device.type != "cpu":
            columns = [x.pin_memory() if x.device.type == "cpu" else x for x in columns]
        return Batch(*(x.to(device, non_blocking=True) for x in columns))


class Replay:
    """A ring buffer of up to ``capacity`` frames of all envs.

    An observation that is stored whole counts as all its frames. With ``monte_carlo``, a transition
    can be sampled after its episode has ended and its return is known (Bellemare et al. 2016);
    otherwise after n steps. Frames are on ``device``, the other columns in host memory. Raises
    UsageError, which names the ``setting``, if the capacity is too small for a transition or too
    large for the memory.

    Example::

        from itertools import islice
        from reverie.agents.loop import interact
        from reverie.agents.policies import RandomPolicy
        from reverie.agents.replay import Replay
        from reverie.envs.batched_env import BatchedEnv
        from reverie.envs.catch import CatchConfig

        envs = BatchedEnv(CatchConfig().build(8), seed=0)
        replay = Replay(envs.spec, capacity=10_000, gamma=0.99)
        for t in islice(interact(envs, RandomPolicy(envs.spec.num_actions)), 100):
            replay.append(t, t.next_step.reward)
        batch = replay.sample(32)
        segment = replay.sample_segments(32, timesteps=5)
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
        setting: str = "agent.buffer_size",
    ) -> None:
        self.gamma, self.n_step, self.monte_carlo = gamma, n_step, monte_carlo
        channels = spec.stored_channels
        frames_per_row = spec.num_envs * channels // spec.channels
        self.num_envs, self.num_rows = spec.num_envs, capacity // frames_per_row
        self.stack = spec.obs_shape[0] // channels  # frames per observation
        self.padding = spec.padding if self.stack > 1 else "zero"  # which has no effect on one
        if self.num_rows < self.stack + n_step:
            raise UsageError(
                f"{setting} is {capacity}, too few frames for {self.num_envs} envs; "
                f"it must be {frames_per_row * (self.stack + n_step)} or more."
            )
        shape = self.num_rows, self.num_envs
        try:  # the system commits host memory when it is first written
            self.frames = torch.empty(
                *shape, channels, *spec.obs_shape[1:], dtype=torch.uint8, device=device
            )
        except RuntimeError as error:
            raise UsageError(
                f"{setting} is {capacity}, and {device} has too little memory for as many frames; "
                "choose a smaller buffer."
            ) from error
        self.action = torch.zeros(shape, dtype=torch.int64)
        self.reward, self.discount, self.returns = (torch.zeros(shape) for _ in range(3))
        self.episode_end, self.complete = (torch.zeros(shape, dtype=torch.bool) for _ in range(2))
        self.num_frames = torch.zeros(shape, dtype=torch.int64)  # of the stack, of this episode
        self.privileged = torch.zeros(*shape, len(spec.privileged), dtype=torch.uint8)
        snapshot_size = spec.dynamics.snapshot_size if spec.dynamics else 0
        self.snapshot = torch.zeros(*shape, snapshot_size, dtype=torch.uint8)
        self.columns = (*COLUMNS, "snapshot") if spec.dynamics else COLUMNS
        self.head = 0  # timesteps written; timestep t is in row t % num_rows
        self.pending = torch.full((self.num_envs,), self.stack - 1)  # first one not yet sampleable
        blocks = -(-self.num_rows * self.num_envs // BLOCK)
        self.sampleable = torch.zeros(blocks, BLOCK, dtype=torch.bool)
        self.block_counts = torch.zeros(blocks, dtype=torch.int64)
        self.rng = prng.initial_rng(seed, prng.Purpose.REPLAY, 1)

    def __len__(self) -> int:
        """Return the number of transitions that can be sampled."""
        return int(self.block_counts.sum())

    def append(self, t: Transition, reward: Float[Tensor, " N"]) -> None:
        """Add a timestep of all envs, with the reward to learn from."""
        if self.head == 0:  # the first observation's older frames take the rows before it
            stack = t.step.obs.view(self.num_envs, self.stack, *self.frames.shape[2:])
            self.head = self.stack - 1
            self.frames[: self.stack] = stack.transpose(0, 1)
            self.num_frames[self.head] = torch.where(t.step.first.cpu(), 1, self.stack)
            self._store_state(self.head, t.step)
        row, next_row = self.head % self.num_rows, (self.head + 1) % self.num_rows
        step = t.next_step
        valid, action, reward, discount, first, last = columns_to_host(
            t.valid, t.action, reward, step.discount, step.first, step.last
        )
        episode_end = valid & (last | (discount == 0))
        # The frame about to be overwritten is the oldest in the stack of this row.
        overwritten = (self.head + self.stack) % self.num_rows
        self._mark(torch.arange(self.num_envs) + overwritten * self.num_envs, 0)

        channels = self.frames.shape[2]
        self.frames[next_row] = step.frame if step.frame.shape[1] == channels else step.obs
        self._store_state(next_row, step)
        num_frames = (self.num_frames[row] + 1).clamp_(max=self.stack)
        self.num_frames[next_row] = torch.where(first, 1, num_frames)
        self.action[row] = action
        self.reward[row] = torch.where(valid, reward, 0.0)
        self.discount[row] = torch.where(valid, self.gamma * discount, 0.0)
        self.episode_end[row] = episode_end

        if episode_end.any():
            self._end_episodes(episode_end.nonzero()[:, 0])
        self.pending[~valid] = self.head + 1
        if not self.monte_carlo:
            ready = (self.head + 1 - self.pending >= self.n_step).nonzero()[:, 0]
            self._mark(self._cells(self.pending[ready], ready), 1)
            self.pending[ready] += 1
        self.head += 1

    def sample(self, batch_size: int) -> Batch:
        """Sample transitions uniformly, with replacement.

            reward = r_{t+1} + gamma_{t+1} r_{t+2} + gamma_{t+1} gamma_{t+2} r_{t+3} + ...
            discount = gamma_{t+1} gamma_{t+2} ... gamma_{t+n}

        The sum has n terms, or fewer where the episode ended before.
        """
        return self.gather(self._sample_ranks(batch_size))

    def gather(self, ranks: Int64[Tensor, " B"]) -> Batch:
        """Return the transitions at these ranks among the sampleable ones, in the ring's order."""
        cell = self._find(ranks)
        row, env = cell // self.num_envs, cell % self.num_envs
        window = self._cells(row[:, None] + torch.arange(self.n_step), env[:, None])  # [B n]
        in_episode = torch.ones_like(window, dtype=torch.bool)
        in_episode[:, 1:] = self.episode_end.view(-1)[window[:, :-1]].cumsum(1) == 0
        discount = self.discount.view(-1)[window]
        next_row = row + in_episode.sum(1)
        obs, next_obs = self._stacks(torch.cat([row, next_row]), env.repeat(2)).chunk(2)
        return Batch(
            obs=obs,
            action=self.action.view(-1)[cell],
            reward=returns_to_go(self.reward.view(-1)[window], discount, in_episode)[:, 0],
            discount=torch.where(in_episode, discount, 1.0).prod(1),
            next_obs=next_obs,
            returns=self.returns.view(-1)[cell],
            complete=self.complete.view(-1)[cell],
            privileged=self.privileged.flatten(0, 1)[cell],
            next_privileged=self.privileged.flatten(0, 1)[self._cells(next_row, env)],
            index=self._index(row, env),
        )

    def sample_segments(
        self, batch_size: int, timesteps: int, event_fraction: float = 0.0
    ) -> Segment:
        """Sample segments of one episode each, from four times as many candidates.

        If fewer candidates lie within one episode, the others are included too, with ``last`` set
        from their episode's end or from the newest observation on. Rewards and discounts are the
        stored ones.

        The first ``event_fraction`` of the segments contain a reward other than 0 or a
        termination, if the buffer has one. It is at a random timestep of the candidates; since
        those within one episode come first, an event that ends its episode is mostly at the last
        timestep of a segment. What is learned from them overestimates how often rewards and
        terminations occur where the observation and the action leave that open.
        """
        cell = self._find(self._sample_ranks(4 * batch_size))
        events = self._cells_before_events(4 * round(event_fraction * batch_size), timesteps)
        num_events = len(events) // 4
        cell[: len(events)] = events
        row, env = cell // self.num_envs, cell % self.num_envs
        window = self._cells(row[:, None] + torch.arange(timesteps), env[:, None])  # [4B T]
        available = (self.head - row - 1) % self.num_rows + 1  # timesteps up to the newest
        last = torch.zeros(4 * batch_size, timesteps + 1, dtype=torch.bool)
        last[:, 1:] = self.episode_end.view(-1)[window].cumsum(1) > 0
        last[:, :-1] |= torch.arange(timesteps) >= available[:, None]
        truncated = last[:, :-1].any(1)
        last[:, -1] |= truncated
        order = truncated.int().sort(stable=True).indices  # segments within an episode first
        of_event = order < 4 * num_events
        chosen = torch.cat(
            [order[of_event][:num_events], order[~of_event][: batch_size - num_events]]
        )
        row, env, window, last = row[chosen], env[chosen], window[chosen], last[chosen]
        rows = row[:, None] + torch.arange(timesteps + 1)
        obs = self._stacks(rows.flatten(), env.repeat_interleave(timesteps + 1))
        reward = self.reward.view(-1)[window]
        cells = self._cells(rows, env[:, None])
        privileged, snapshot = (
            x.flatten(0, 1)[cells] if x.shape[2] else None for x in (self.privileged, self.snapshot)
        )
        return Segment(
            action=self.action.view(-1)[window],
            obs=obs.view(batch_size, timesteps + 1, *obs.shape[1:]),
            reward=reward,
            bonus=torch.zeros_like(reward),
            discount=self.discount.view(-1)[window],
            first=torch.zeros_like(last),
            last=last,
            privileged=privileged,
            snapshot=snapshot,
        )

    def _cells_before_events(self, count: int, timesteps: int) -> Int64[Tensor, " B"]:
        """Sample cells of which segments contain an event, each from a random event; or none.

        A segment that would begin where none can be sampled begins at its event.
        """
        if not count:
            return torch.zeros(0, dtype=torch.int64)
        died = self.episode_end & (self.discount == 0)
        flat = self.sampleable.view(-1)
        happened = ((self.reward != 0) | died).view(-1) & flat[: died.numel()]
        cells = happened.nonzero()[:, 0]
        if not len(cells):
            return cells
        bits = prng.bits(self.rng, 2 * count, prng.Purpose.SAMPLE)[0]
        self.rng = prng.next_rng(self.rng)
        event = cells[prng.to_randint(bits[:count], len(cells))]
        before = prng.to_randint(bits[count:], timesteps)
        begin = (event - before * self.num_envs) % died.numel()
        return torch.where(flat[begin], begin, event)

    def _store_state(self, row: int, step: TimeStep) -> None:
        """Store the true state and the snapshot of a time step, where both sides have them."""
        for store, x in ((self.privileged, step.privileged), (self.snapshot, step.snapshot)):
            if store.shape[2] and x is not None:
                store[row] = x.cpu()

    def _sample_ranks(self, count: int) -> Int64[Tensor, " B"]:
        ranks = prng.randint(prng.bits(self.rng, count, prng.Purpose.SAMPLE)[0], len(self))
        self.rng = prng.next_rng(self.rng)
        return ranks

    def _end_episodes(self, envs: Int64[Tensor, " E"]) -> None:
        """Compute the returns of the envs' episodes, which end now, and make them sampleable."""
        oldest = self.head + 1 - self.num_rows + self.stack  # the oldest whose stack is whole
        begin = self.pending[envs].clamp(min=oldest)[:, None]
        timestep = torch.arange(int(begin.min()), self.head + 1)
        cells, own = self._cells(timestep, envs[:, None]), timestep >= begin  # [E T]
        if self.monte_carlo:
            reward, discount = self.reward.view(-1)[cells], self.discount.view(-1)[cells]
            returns = returns_to_go(reward, discount, own)
            self.returns.view(-1)[cells[own]] = returns[own]
            self.complete.view(-1)[cells[own]] = (discount[:, -1:] == 0).expand_as(own)[own]
        self._mark(cells[own], 1)
        self.pending[envs] = self.head + 1

    def _stacks(
        self, row: Int64[Tensor, " B"], env: Int64[Tensor, " B"]
    ) -> UInt8[Tensor, "B K H W"]:
        """Rebuild observations; frames before the episode's first are zero, or equal to it."""
        device = self.frames.device
        if self.stack == 1:
            return self.frames.flatten(0, 1).index_select(0, self._cells(row, env).to(device))
        age = torch.arange(self.stack - 1, -1, -1)
        oldest = self.num_frames.view(-1)[self._cells(row, env)][:, None] - 1
        cells = self._cells(row[:, None] - torch.minimum(age, oldest), env[:, None])  # [B stack]
        frames = self.frames.flatten(0, 1).index_select(0, cells.flatten().to(device))
        if self.padding == "zero":
            frames *= (age <= oldest).flatten().to(device)[:, None, None, None]
        return frames.view(len(row), -1, *frames.shape[2:])

    def _index(self, row: Int64[Tensor, " B"], env: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        timestep = self.head - (self.head - row) % self.num_rows
        return timestep * self.num_envs + env

    def _cells(
        self, timestep: Int64[Tensor, "*t"], env: Int64[Tensor, "*n"]
    ) -> Int64[Tensor, "*c"]:
        """Return indices into columns flattened over rows and envs."""
        return timestep % self.num_rows * self.num_envs + env

    def _mark(self, cells: Int64[Tensor, " M"], sampleable: int) -> None:
        flat = self.sampleable.view(-1)
        self.block_counts.index_add_(0, cells // BLOCK, sampleable - flat[cells].long())
        flat[cells] = bool(sampleable)

    def _find(self, ranks: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """Return the cells at these ranks: the block by cumulative counts, then the cell in it."""
        cumulative = self.block_counts.cumsum(0)
        block = torch.searchsorted(cumulative, ranks, right=True)
        rank = ranks - cumulative[block] + self.block_counts[block]
        rank_in_block = self.sampleable[block].cumsum(1)
        return block * BLOCK + torch.searchsorted(rank_in_block, rank[:, None], right=True)[:, 0]

    def state_dict(self) -> dict[str, Any]:
        """Return the state with the written rows only."""
        filled = min(self.head + 1, self.num_rows) if self.head else 0
        return {
            "head": self.head,
            "pending": self.pending,
            "rng": self.rng,
            "padding": self.padding,
            "sampleable": self.sampleable.view(-1)[: filled * self.num_envs],
            **{name: getattr(self, name)[:filled] for name in self.columns},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the written rows; raises ValueError for stacks of another padding."""
        if state["padding"] != self.padding:
            raise ValueError(f"its replay has stacks of padding {state['padding']}")
        self.head, self.pending, self.rng = state["head"], state["pending"].clone(), state["rng"]
        self.sampleable.zero_().view(-1)[: len(state["sampleable"])] = state["sampleable"]
        self.block_counts = self.sampleable.sum(1)
        for name in self.columns:
            getattr(self, name)[: len(state[name])] = state[name]
