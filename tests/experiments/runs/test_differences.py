"""Differences of encoded configs, as errors list them."""

from reverie.experiments.runs.config_differences import config_differences


def test_settings_are_compared_within_parts_of_one_class_alone() -> None:
    a = {"class": "A", "seed": 1, "part": {"class": "X", "size": 3}, "role": {"class": "P", "k": 1}}
    b = {"class": "A", "seed": 2, "part": {"class": "X", "size": 4}, "role": {"class": "Q", "m": 1}}
    assert config_differences(a, b) == ["seed: 1, not 2", "part.size: 3, not 4", "role: P, not Q"]
    assert config_differences(a, b | {"class": "B"}) == ["class: A, not B"]
    assert config_differences(a, {k: v for k, v in a.items() if k != "seed"}) == [
        "seed: 1, not absent"
    ]
    assert config_differences(a, a) == []
