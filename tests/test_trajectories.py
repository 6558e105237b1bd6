"""Every preset reproduces its recorded trajectory bit for bit.

After a change that is meant to change behavior, record again with ``make renew-trajectories``.
"""

import json

import pytest

from reverie.experiments.config.presets import PRESETS

from trajectories import GOLDEN, PORTABLE, of_this_machine, random_draws, record

RECORDED = json.loads(GOLDEN.read_text())


def test_every_preset_is_recorded() -> None:
    assert set(RECORDED["presets"]) == set(PRESETS)


def test_random_draws_are_as_recorded() -> None:
    assert random_draws() == RECORDED["prng"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_acts_and_learns_as_recorded(name: str) -> None:
    actual = record(name)
    portable = {kind: actual.pop(kind) for kind in PORTABLE}
    assert portable == RECORDED["presets"][name]
    if (expected := of_this_machine(RECORDED).get(name)) is None:
        pytest.skip("metrics and parameters are not recorded on this kind of machine")
    assert actual == expected
