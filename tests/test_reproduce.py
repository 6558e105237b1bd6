"""A recipe from its line to its row in the README: every seed, interrupted or not, once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import reproduce, tables
from experiments.pretraining import Pretraining
from experiments.recipes import RECIPES, Recipe
from experiments.recorder import Recorder
from experiments.recording import Recording
from experiments.run import Run

CATCH = (
    "actor-critic env:catch agent.network:mlp --streams 8 --agent.horizon 16 --steps 800 "
    "--log-every 200 --bare-seconds 0 --device cpu"
)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where recipes of this test leave their results, and the tables look for them."""
    for module in (reproduce, tables):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setitem(RECIPES, "catch-actor-critic", Recipe(CATCH, seeds=(0, 1), episodes=8))
    return tmp_path / "results"


def made(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "catch-actor-critic.json").read_text())
    return found


@pytest.mark.parametrize("explore", [False, True])
def test_a_recipe_is_a_row_of_raw_scores_and_is_made_once(
    explore: bool, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPES["catch-actor-critic"], explore=explore)
    monkeypatch.setitem(RECIPES, "catch-actor-critic", recipe)
    assert reproduce.reproduce("catch-actor-critic", tmp_path / "runs")
    data = made(results)
    assert [run["seed"] for run in data["runs"]] == [0, 1]
    assert [len(run["evaluation"]["scores"]) for run in data["runs"]] == [8, 8]
    assert [run["evaluation"]["explore"] for run in data["runs"]] == [explore] * 2
    assert len(data["random"]["scores"]) == 100
    means = [sum(run["evaluation"]["scores"]) / 8 for run in data["runs"]]
    cells = tables.scores_table().splitlines()[2].split(" | ")
    assert cells[:3] == ["| catch", "actor-critic", "own" + ", as in training" * explore]
    assert [float(mean) for mean in cells[4].split(", ")] == pytest.approx(means, abs=0.051)
    (results / "dreams").mkdir()
    (results / "dreams" / "catch.json").write_text(json.dumps(data))
    (dreamed,) = [row for row in tables.scores_table().splitlines() if "dream" in row]
    assert dreamed.startswith("| catch | actor-critic, in dreams alone | own")
    assert "| 0.8k (dreamed) |" in dreamed
    # Scores of a checkpoint before the end are no result.
    (run, *_) = (tmp_path / "runs").glob("*/scores*.json")
    early = json.loads(run.read_text()) | {"steps": 400, "mean": 9.0}
    run.write_text(json.dumps(early))
    assert reproduce.reproduce("catch-actor-critic", tmp_path / "runs")
    assert made(results) == data
    # Finished seeds are read, neither trained nor played again.
    for work in ("train", "evaluate"):
        monkeypatch.setattr(reproduce, work, None)
    (results / "catch-actor-critic.json").unlink()
    assert reproduce.reproduce("catch-actor-critic", tmp_path / "runs")
    assert made(results) == data


def test_a_recipe_learns_from_no_part_of_a_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt in the middle of collecting: the next call collects again."""

    def interrupted(self: Recorder, *last: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce, "COLLECT", "random env:{game} --frames 400")
    learned_from: list[int] = []

    def pretrain(job: Pretraining, folder: Path, how: object) -> Run:
        learned_from.append(len(Recording(*job.data)))
        return Run(folder)

    monkeypatch.setattr(reproduce, "pretrain", pretrain)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Recorder, "close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reproduce.fit_predictor("catch", "mlp", tmp_path)
    for _ in range(2):
        reproduce.fit_predictor("catch", "mlp", tmp_path)
    assert learned_from == [400, 400]


def test_an_interrupted_recipe_goes_on_to_the_result_of_one_left_alone(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reproduce.reproduce("catch-actor-critic", tmp_path / "alone")
    alone = made(results)
    stopped = replace(RECIPES["catch-actor-critic"], train=f"{CATCH} --minutes 0.005")
    monkeypatch.setitem(RECIPES, "catch-actor-critic", stopped)
    sittings = 1
    while not reproduce.reproduce("catch-actor-critic", tmp_path / "runs"):
        sittings += 1
    assert sittings > 2, "each of the two runs is interrupted at least once"
    for one, other in zip(made(results)["runs"], alone["runs"], strict=True):
        assert one["evaluation"]["scores"] == other["evaluation"]["scores"]
        assert one["train"] == other["train"]
