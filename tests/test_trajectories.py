"""Every preset reproduces its recorded trajectory bit for bit.

After a change that is meant to change behavior, record again with ``make renew-trajectories``.
"""

import json

import pytest

from reverie.experiments.config.presets import PRESETS

from trajectories import GOLDEN, PORTABLE, machine, random_draws, record

RECORDED = json.loads(GOLDEN.read_text())


def test_every_preset_is_recorded() -> None:
    assert set(RECORDED) - {"machine", "prng"} == set(PRESETS)


def test_random_draws_are_as_recorded() -> None:
    assert random_draws() == RECORDED["prng"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_acts_and_learns_as_recorded(name: str) -> None:
    actual, expected = record(name), RECORDED[name]
    assert {kind: actual[kind] for kind in PORTABLE} == {kind: expected[kind] for kind in PORTABLE}
    if machine() != RECORDED["machine"]:
        pytest.skip(f"metrics and parameters were recorded on {RECORDED['machine']}")
    assert {kind: actual[kind] for kind in expected} == expected
    if actual.keys() != expected.keys():
        pytest.skip("metrics and parameters are not recorded, since another machine recorded it")
