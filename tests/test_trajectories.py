"""Every preset does what it did when its trajectory was recorded, number for number.

A change that means to change what agents do renews the record: ``make renew-trajectories``.
"""

import json

import pytest
from trajectories import GOLDEN, PRESETS, machine, prng, record

KNOWN = json.loads(GOLDEN.read_text())


def test_every_preset_is_recorded() -> None:
    assert set(KNOWN) - {"machine", "prng"} == set(PRESETS)


def test_random_draws_are_as_recorded() -> None:
    assert prng() == KNOWN["prng"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_acts_and_learns_as_recorded(name: str) -> None:
    found = record(name)
    anywhere = ("resets", "draws", "actions", "rewards")
    assert {kind: found[kind] for kind in anywhere} == {x: KNOWN[name][x] for x in anywhere}
    if machine() != KNOWN["machine"]:
        pytest.skip(f"metrics and parameters were recorded on {KNOWN['machine']}")
    assert found == KNOWN[name]
