"""The visits of true states by hand, of all bytes or of some."""

from itertools import islice

import pytest
import torch

from reverie.agents.bonuses.true_counts import TrueCountsConfig
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvSpec
from reverie.envs.maze import MazeConfig

ROOM_AND_X = EnvSpec(4, 2, (1, 5, 6), privileged=("room", "x"))


def states(*rows: tuple[int, int]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.uint8)


def test_the_nth_visit_of_a_state_has_a_bonus_of_its_inverse_root() -> None:
    bonus = TrueCountsConfig(scale=0.6).build(ROOM_AND_X)
    first = bonus.observe(states((1, 2), (1, 3), (1, 2), (2, 2)))
    torch.testing.assert_close(first, 0.6 * torch.tensor([1, 1, 2, 1]).rsqrt())
    torch.testing.assert_close(bonus.observe(states((1, 2))), torch.tensor([0.6 * 3**-0.5]))
    rooms = TrueCountsConfig(scale=1.0, names=("room",)).build(ROOM_AND_X)
    of_rooms = rooms.observe(states((1, 2), (1, 3), (1, 2), (2, 2)))
    torch.testing.assert_close(of_rooms, torch.tensor([1, 2, 3, 1]).rsqrt())


def test_cells_of_a_maze_are_counted_whatever_its_walls() -> None:
    """With all bytes a cell of another maze is another state."""
    envs = BatchedEnv(MazeConfig(rooms=3, max_episode_steps=5).build(4), seed=0)
    cells, everything = (
        TrueCountsConfig(names=names).build(envs.spec) for names in (("walker_*",), ())
    )
    seen = {cells: set[bytes](), everything: set[bytes]()}
    for t in islice(interact(envs, RandomPolicy(4)), 60):
        for bonus, known in seen.items():
            bonus(t)
            assert t.next_step.privileged is not None
            visited = t.next_step.privileged[t.valid][:, bonus.columns]
            known |= {row.numpy().tobytes() for row in visited}
            assert len(bonus.counts) == len(known)
    assert len(cells.counts) < len(everything.counts)


def test_an_env_without_the_true_state_or_a_byte_of_it_is_refused() -> None:
    with pytest.raises(UsageError, match="bonus:true-counts needs the true state, which this env"):
        TrueCountsConfig().build(EnvSpec(4, 2, (1, 5, 6)))
    with pytest.raises(UsageError, match=r"bonus\.names has rom, .* are room, x in this env"):
        TrueCountsConfig(names=("rom",)).build(ROOM_AND_X)
    with pytest.raises(UsageError, match=r"bonus\.scale is -1\.0; it must be 0 or more"):
        TrueCountsConfig(scale=-1.0)


def test_counts_know_no_batches() -> None:
    rows = torch.randint(3, (40, 2), dtype=torch.uint8)
    together, apart = (TrueCountsConfig().build(ROOM_AND_X) for _ in range(2))
    bonuses = together.observe(rows)
    assert torch.equal(bonuses, torch.cat([apart.observe(row[None]) for row in rows]))
    assert together.counts == apart.counts
