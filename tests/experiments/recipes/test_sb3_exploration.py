"""The recipe with Stable-Baselines3: what it counts, and what its committed result shows."""

import json
from pathlib import Path

import pytest

from reverie.experiments.recipes.sb3_exploration import SB3Exploration
from reverie.experiments.reporting.committed import RESULTS


def test_every_bonus_and_seed_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = SB3Exploration(size=2, num_envs=2, total_timesteps=160, seeds=(0, 3))
    *_, result = recipe.measure(tmp_path)
    assert [(row["bonus"], row["seed"]) for row in result["rows"]] == [
        ("none", 0), ("none", 3), ("pseudo-count (CTS)", 0), ("pseudo-count (CTS)", 3)
    ]  # fmt: skip
    for row in result["rows"]:
        assert row["episodes"] == 80
        assert 0 < row["found"] < 80, "two moves reach the treasure of size 2"
        assert 1 <= row["first"] <= 80
    scores = iter([[0.0, 0.99, 0.99], [-0.01]])
    monkeypatch.setattr(SB3Exploration, "_returns", lambda *_: next(scores))
    one, none = list(SB3Exploration(seeds=(0,)).measure(tmp_path))[-1]["rows"]
    assert (one["first"], one["found"], one["episodes"]) == (2, 2, 3)
    assert (none["first"], none["found"], none["episodes"]) == (None, 0, 1)


def test_the_committed_result_is_of_the_recipe() -> None:
    result = json.loads((RESULTS / "deep-sea-sb3.json").read_text())
    recipe = SB3Exploration()
    assert len(result["rows"]) == len(recipe.bonuses) * len(recipe.seeds)
    assert all(row["episodes"] == recipe.total_timesteps // recipe.size for row in result["rows"])
