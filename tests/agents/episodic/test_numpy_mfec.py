"""The agent beside a plain version of its algorithm, which shares no code with it."""

import pytest
from numpy_mfec import in_lockstep


@pytest.mark.parametrize("steps", [1000, pytest.param(25_000, marks=pytest.mark.results)])
def test_the_agent_acts_as_the_numpy_algorithm_does(steps: int) -> None:
    """With equal draws, in one env of Q*bert, whose tables answer after the first game."""
    differing, scores = in_lockstep(seed=0, steps=steps)
    assert differing == 0
    assert len(scores) >= steps // 1000
