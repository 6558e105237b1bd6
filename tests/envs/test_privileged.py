"""Which bytes of the true state a privileged reference reads, and when it is refused."""

import pytest

from reverie.envs.errors import UsageError
from reverie.envs.privileged import true_state_columns

MAZE = ("walker_row", "walker_column", "wall_0_0", "wall_0_1", "wall_1_0")


def columns(*wanted: str, offered: tuple[str, ...] = MAZE) -> list[int]:
    return true_state_columns(offered, wanted, part="bonus:own", envs="env:maze")


def test_bytes_are_chosen_by_name_or_pattern_in_the_wanted_order() -> None:
    assert columns() == [0, 1, 2, 3, 4]
    assert columns("wall_*", "walker_column", "w*_row") == [2, 3, 4, 1, 0]
    assert columns("walker_*", "*") == [0, 1, 2, 3, 4], "each byte once"


def test_what_is_missing_is_named_with_what_is_offered() -> None:
    with pytest.raises(UsageError, match="bonus:own needs the true state, which this env does not"):
        columns(offered=())
    message = (
        r"^bonus:own needs goal_row, door_\* of the true state, which consists of walker_row, "
        r"walker_column, wall_\* in this env; choose another bonus, or an env .* env:maze\.$"
    )
    with pytest.raises(UsageError, match=message):
        columns("walker_row", "goal_row", "door_*")
    message = r"^bonus\.names has door, and the bytes .* are .*, wall_\* in this env; choose among"
    with pytest.raises(UsageError, match=message):
        true_state_columns(MAZE, ("wall_*", "door"), part="bonus:own", setting="bonus.names")
