"""Self-tests of the doctor that fail on a broken machine."""

import pytest

from reverie.envs.atari.replica import ReplicaEmulator
from reverie.experiments import doctor


def test_an_emulator_that_deviates_from_a_protocol_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ReplicaEmulator, "step", lambda self, action: 7.0)
    with pytest.raises(doctor.Problem, match=r"deviates from protocol mfec: The replica of env 0"):
        doctor._protocols()
