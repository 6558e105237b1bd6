"""Probes of every representation: split by episodes, measured once, perfect for the reference."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.evaluation.linear_probe import entropy
from reverie.experiments.recipes import probe_benchmark
from reverie.experiments.recipes.probe_benchmark import ProbeBenchmark, split_rows
from reverie.experiments.recipes.recipes import RECIPES
from reverie.experiments.reporting import committed
from reverie.experiments.reproduce.latent_tables import probes_table
from reverie.world_models.representation import REPRESENTATIONS
from reverie.world_models.representation.variational import VariationalRepresentation

TINY = ProbeBenchmark(
    ("pong",), {}, minutes=1e-6, frames=1600, names=("projection", "vae", "true-state")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def results(folder: Path) -> list[dict[str, Any]]:
    return [*TINY.measure(folder)]


def test_the_true_state_predicts_every_place_and_a_model_is_updated(results: Any) -> None:
    rows = {row["representation"]: row for row in results[-1]["rows"]}
    assert [*rows] == [*TINY.names]
    places = rows["true-state"]["r2"]
    assert {"player_y", "enemy_y", "ball_y"} <= places.keys()
    assert min(places.values()) > 0.999
    assert set(places) | set(rows["vae"]["left_out"]) == {
        *("player_x", "player_y", "enemy_x", "enemy_y", "ball_x", "ball_y")
    }
    assert rows["vae"]["num_updates"] == 1
    assert "num_updates" not in rows["projection"]
    assert all(r2 < 0.999 for r2 in rows["projection"]["r2"].values())


def test_finished_rows_are_kept_and_a_missing_one_is_measured_again(
    results: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(VariationalRepresentation, "update", fail)
    assert [*TINY.measure(folder)] == results
    (folder / "probes" / "pong-projection.json").unlink()
    rows = [*TINY.measure(folder)][-1]["rows"]
    assert rows[0]["r2"] == results[-1]["rows"][0]["r2"]


def test_probes_are_tested_on_episodes_of_no_other_use(results: Any, folder: Path) -> None:
    recording = Recording(folder / "probes" / "pong-random")
    parts = split_rows(recording)
    episodes = [set(recording.columns["episode"][rows].tolist()) for rows in parts]
    assert sum(map(len, episodes)) == len(set.union(*episodes)) == recording.num_episodes
    assert sum(map(len, parts)) == len(recording)
    assert [len(rows) for rows in parts] == results[-1]["rows"][0]["frames"]


def test_the_recipe_has_every_representation_and_the_beta_vae() -> None:
    recipe = RECIPES["probes"]
    assert isinstance(recipe, ProbeBenchmark)
    assert [*recipe.representations] == [*REPRESENTATIONS, "beta-vae"]
    beta_vae, vae = (recipe.representations[name] for name in ("beta-vae", "vae"))
    assert (beta_vae.beta, vae.beta) == (4, 1)  # type: ignore[attr-defined]


def test_entropy_is_that_of_equal_frequencies() -> None:
    assert entropy(torch.zeros(5)) == 0
    assert entropy(torch.arange(8.0).repeat(3)) == pytest.approx(3 * 0.6931472)
    assert 0 < entropy(torch.arange(10) // 9 + 0.0) < probe_benchmark.LEAST_ENTROPY


def test_the_table_ranks_representations_within_a_game(
    results: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committed, "RESULTS", tmp_path)
    assert "`reverie reproduce probes`" in probes_table()
    about = {"name": "probes", "kind": "probes", "command": "reverie reproduce probes"}
    (tmp_path / "probes.json").write_text(json.dumps(about | results[-1]))
    lines = probes_table().splitlines()
    assert lines[2].startswith("| pong | true-state |  | 6 | 1.00 | 1.00 | 1.00 | player_y 1.00")
    assert "| vae | 1 | 64 |" in lines[3] + lines[4]
    assert any("pong player_x" in line for line in lines)
