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


def test_missed_updates_are_made_up_a_few_at_a_time() -> None:
    schedule = Ratio(0.5, at_most=3)
    assert [len(list(schedule(20))) for _ in range(5)] == [3, 3, 3, 1, 0]


def test_a_restored_schedule_continues() -> None:
    schedule, other = Ratio(0.5), Ratio(0.5)
    assert list(schedule(10)) == [1, 2, 3, 4, 5]
    other.load_state_dict(schedule.state_dict())
    assert list(other(12)) == [6]
