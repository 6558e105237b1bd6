"""The curve of DeepSea's solved sizes: equal to bsuite's analysis, and continued where it ended."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reverie.agents.dqn import DQNConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.recipes import deep_sea_curve
from reverie.experiments.recipes.deep_sea_curve import DeepSeaCurve, solved_episode
from reverie.experiments.recipes.recipes import RECIPES

from bsuite_golden import CASES, GOLDEN, NUM_EPISODES, bad_episodes


@pytest.mark.parametrize("case", range(len(CASES)))
def test_a_size_is_solved_at_the_episode_of_bsuites_analysis(case: int) -> None:
    expected = json.loads(GOLDEN.read_text())["solved"][case]
    assert solved_episode(bad_episodes(*CASES[case])) == expected


def test_the_rule_by_hand() -> None:
    assert solved_episode([False]) == 1
    assert solved_episode([True] * 9 + [False] * 2) is None  # 9 of 11, after an unlogged episode
    assert solved_episode([True] * 9 + [False] * 3) == 12
    assert solved_episode([True] * NUM_EPISODES + [False] * 10**5) is None


def test_the_curve_stops_when_solved_and_continues_without_repeating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random player solves size 2 by luck, and never size 12 in a few episodes."""
    monkeypatch.setattr(deep_sea_curve, "NUM_EPISODES", 40)
    random = Experiment(DQNConfig(buffer_size=2000), DeepSeaConfig(), num_envs=2)
    curve = DeepSeaCurve({"random": random}, sizes=(2, 12))
    *_, last = curve.measure(tmp_path)
    small, large = last["rows"]
    assert (small["size"], large["size"]) == (2, 12)
    assert last["bsuite_scores"] == {"random": 0.5}, "the share of sizes that are solved"
    assert small["solved"] == small["episodes"] <= 40
    assert (large["solved"], large["episodes"], large["bad_episodes"]) == (None, 40, 40)
    monkeypatch.setattr(deep_sea_curve, "training_episodes", None)
    assert list(replace(curve).measure(tmp_path))[-1] == last


def test_the_recipe_has_bsuites_sizes_and_a_baseline() -> None:
    curve = RECIPES["deep-sea-curve"]
    assert isinstance(curve, DeepSeaCurve)
    assert [e["size"] for e in json.loads(GOLDEN.read_text())["episodes"]] == [*curve.sizes]
    assert "dqn" in curve.experiments
