"""Tests of schedules."""

import pytest

from reverie.agents.schedules import Ratio


@pytest.mark.parametrize("ratio", [0.25, 1.0, 1.5, 1 / 49, 0.29])
def test_the_updates_due_are_the_ratio_times_the_steps(ratio: float) -> None:
    schedule, numbers = Ratio(ratio, start=30), []
    for steps in range(0, 3000, 7):
        numbers += list(schedule(steps))
    assert numbers == list(range(1, len(numbers) + 1))
    assert abs(len(numbers) - (2996 - 30) * ratio) <= 1
    assert [*Ratio(1 / 49)(49)] == [1]


@pytest.mark.parametrize(("num_envs", "per_timestep"), [(1, 2), (2, 2), (3, 4)])
def test_missed_updates_are_made_up_at_twice_the_usual_number(
    num_envs: int, per_timestep: int
) -> None:
    """Where less than one update per timestep is usual, two are made."""
    schedule = Ratio(0.5, num_envs=num_envs)
    made = [len(list(schedule(20))) for _ in range(6)]
    assert made[:2] == [per_timestep] * 2
    assert sum(made) == 10


def test_a_restored_schedule_continues() -> None:
    schedule, other = Ratio(0.5), Ratio(0.5)
    assert list(schedule(10)) == [1, 2, 3, 4, 5]
    other.load_state_dict(schedule.state_dict())
    assert list(other(12)) == [6]
