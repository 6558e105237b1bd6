"""Episodes of others are compared with the manifest that their file declares."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reverie.experiments.interchange.foreign_manifest import foreign_manifest
from reverie.experiments.interchange.recorded_episodes import Episode, mismatch

MANIFEST = foreign_manifest("x", 3, (1, 4, 4), "a test")
EPISODE = Episode(
    np.zeros((5, 1, 4, 4), np.uint8), np.zeros(5, np.int64), np.zeros(4), np.ones(4, np.float32)
)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, ""),
        ({"frames": np.zeros((5, 1, 4, 3), np.uint8)}, "its frames"),
        ({"action": np.zeros(4, np.int64)}, "its actions are no array"),
        ({"action": np.full(5, 3)}, "its actions are not from 0 to 2"),
        ({"action": np.full(5, -1)}, "its actions are not from 0 to 2"),
        ({"reward": np.zeros(5)}, "its rewards"),
        ({"discount": np.ones(3, np.float32)}, "its discounts are no array"),
        ({"discount": np.full(4, np.nan, np.float32)}, "its discounts are not from 0 to 1"),
        ({"privileged": np.zeros((5, 2), np.uint8)}, "its true states"),
    ],
)
def test_an_episode_that_does_not_fit_is_named(changes: dict[str, Any], wrong: str) -> None:
    episode = replace(EPISODE)
    for name, array in changes.items():
        object.__setattr__(episode, name, array)  # tests check shapes where it is made
    found = mismatch(episode, MANIFEST)
    assert found.startswith(wrong)
    assert bool(found) == bool(wrong)
