"""Limits of time in recipes, and the parts of results that they keep."""

import time
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from reverie.envs.catch import CatchConfig
from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.recipes.recipe import for_minutes, kept, record_random_play
from reverie.experiments.recipes.sprite_counting import SpriteCounting


@pytest.mark.parametrize(("minutes", "expected"), [(0, 1), (1e-6, 1), (1, 3), (1.01, 4)])
def test_items_are_handed_out_until_the_time_is_over_and_at_least_one(
    minutes: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 200, 20))
    monkeypatch.setattr(time, "process_time", lambda: next(now))
    assert [*for_minutes(count(), minutes)] == [*range(expected)]


@dataclass(frozen=True)
class Settings:
    size: int
    rate: float = 0.1


def test_a_part_is_measured_once_for_the_same_settings(tmp_path: Path) -> None:
    path, calls = tmp_path / "kind" / "part.json", count()

    def measure() -> dict[str, Any]:
        return {"call": next(calls), "pair": (1, 2)}

    for settings, expected in (
        (Settings(1), 0), (Settings(1), 0), (Settings(2), 1), (Settings(2, rate=0.2), 2),
        ((Settings(2), "a"), 3), ((Settings(2), "a"), 3), (Settings(1), 4),
    ):  # fmt: skip
        assert kept(path, settings, measure) == {"call": expected, "pair": [1, 2]}


def test_an_interrupted_part_is_measured_again(tmp_path: Path) -> None:
    def interrupted() -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "part.json", 1, interrupted)
    assert kept(tmp_path / "part.json", 1, lambda: {"a": 1}) == {"a": 1}


def test_a_recording_of_other_settings_is_made_anew(tmp_path: Path) -> None:
    data = tmp_path / "catch-random"
    for frames, seed in ((80, 0), (160, 0), (160, 1)):
        record_random_play(CatchConfig(), data, frames=frames, seed=seed, num_envs=4)
        made = (data / "manifest.json").stat().st_mtime_ns
        assert len(Recording(data)) == frames
        record_random_play(CatchConfig(), data, frames=frames, seed=seed, num_envs=4)
        assert (data / "manifest.json").stat().st_mtime_ns == made


def test_a_recipe_with_another_setting_repeats_its_parts(tmp_path: Path) -> None:
    """Those of one seed in two recipes are one part."""
    recipe = SpriteCounting(num_updates=1, batch_size=2, frames=8, held_out=4, seeds=(0,))

    def rows(recipe: SpriteCounting) -> list[dict[str, Any]]:
        *_, result = recipe.measure(tmp_path)
        return list(result["rows"])

    first = rows(recipe)
    assert rows(recipe) == first
    assert rows(replace(recipe, seeds=(0, 1)))[0] == first[0]
    assert rows(replace(recipe, num_updates=2)) != first, "it has the time that was measured"
