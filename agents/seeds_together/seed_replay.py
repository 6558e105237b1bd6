"""The replay buffers of several seeds as one buffer of all their envs."""

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from ...envs import prng
from ...envs.errors import RunError
from ...envs.interface import EnvSpec
from ..replay import BLOCK, COLUMNS, Replay


class SeedReplay(Replay):
    """A replay of the envs of several seeds, from which each seed samples its own transitions.

    The buffers of the seeds become views of its columns. Which transitions can be sampled is kept
    seed after seed, each in the order of its own buffer. Raises RunError if the seeds' buffers hold
    different numbers of timesteps.
    """

    def __init__(self, replays: Sequence[Replay], spec: EnvSpec) -> None:
        first = replays[0]
        self.replays, self.envs_per_seed = list(replays), first.num_envs
        self.blocks_per_seed = len(first.sampleable)
        capacity = len(replays) * first.num_rows * first.num_envs * spec.stored_channels
        super().__init__(
            spec, capacity=capacity // spec.channels, gamma=first.gamma, n_step=first.n_step,
            monte_carlo=first.monte_carlo, device=first.frames.device,
        )  # fmt: skip
        if any(x.head != first.head for x in replays):
            raise RunError(
                "The seeds have replays of different lengths, as after --resume without-replay, "
                "and cannot train together."
            )
        self.head, self.rng = first.head, torch.cat([x.rng for x in replays])
        self.pending = torch.cat([x.pending for x in replays])
        self.sampleable = torch.cat([x.sampleable for x in replays])
        self.block_counts = torch.cat([x.block_counts for x in replays])
        filled = min(self.head + 1, self.num_rows) if self.head else 0
        for name in COLUMNS:
            column = getattr(self, name)
            for own, replay in zip(column.chunk(len(replays), 1), replays, strict=True):
                own[:filled] = getattr(replay, name)[:filled]
                setattr(replay, name, own)
        self.share()

    @property
    def sizes(self) -> Int64[Tensor, " S"]:
        """The number of transitions that each seed can sample."""
        return self.block_counts.view(len(self.replays), -1).sum(1)

    def share(self) -> None:
        """Store in the buffers of the seeds their part of what is no column."""
        count = len(self.replays)
        parts = zip(
            self.replays, self.pending.chunk(count), self.rng.chunk(count),
            self.sampleable.chunk(count), self.block_counts.chunk(count), strict=True,
        )  # fmt: skip
        for replay, pending, rng, sampleable, block_counts in parts:
            replay.head, replay.pending, replay.rng = self.head, pending.clone(), rng.clone()
            replay.sampleable, replay.block_counts = sampleable, block_counts

    def sample_ranks(
        self, batch_size: int, seeds: Sequence[int], sizes: Int64[Tensor, " S"]
    ) -> Int64[Tensor, " B"]:
        """Draw ranks for some of the seeds from their own keys, ``batch_size`` for each.

        A rank counts the transitions of the seeds before its own too.
        """
        chosen = torch.tensor(seeds)
        keys, own_sizes = self.rng[chosen], sizes[chosen].repeat_interleave(batch_size)
        bits = prng.bits(keys, batch_size, prng.Purpose.SAMPLE).flatten()
        self.rng[chosen] = prng.next_rng(keys)
        before = (sizes.cumsum(0) - sizes)[chosen].repeat_interleave(batch_size)
        return before + prng.randint(bits, own_sizes)

    def _mark(self, cells: Int64[Tensor, " M"], sampleable: int) -> None:
        row, env = cells // self.num_envs, cells % self.num_envs
        seed, own_env = env // self.envs_per_seed, env % self.envs_per_seed
        own_cell = row * self.envs_per_seed + own_env
        super()._mark(seed * self.blocks_per_seed * BLOCK + own_cell, sampleable)

    def _index(self, row: Int64[Tensor, " B"], env: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        timestep = super()._index(row, env) // self.num_envs
        return timestep * self.envs_per_seed + env % self.envs_per_seed

    def _find(self, ranks: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        found = super()._find(ranks)
        seed, own_cell = (
            found // (self.blocks_per_seed * BLOCK),
            found % (self.blocks_per_seed * BLOCK),
        )
        row, own_env = own_cell // self.envs_per_seed, own_cell % self.envs_per_seed
        return row * self.num_envs + seed * self.envs_per_seed + own_env
