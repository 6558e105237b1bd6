"""Limits of time in recipes."""

import time
from itertools import count

import pytest

from reverie.experiments.recipes.recipe import for_minutes


@pytest.mark.parametrize(("minutes", "expected"), [(0, 1), (1e-6, 1), (1, 3), (1.01, 4)])
def test_items_are_handed_out_until_the_time_is_over_and_at_least_one(
    minutes: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 200, 20))
    monkeypatch.setattr(time, "process_time", lambda: next(now))
    assert [*for_minutes(count(), minutes)] == [*range(expected)]
