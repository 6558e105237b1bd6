"""The amortization gap on the game that a VAE was fitted to and on another one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reverie.experiments.recipes import amortization_benchmark
from reverie.experiments.recipes.amortization_benchmark import AmortizationBenchmark
from reverie.experiments.reporting import committed
from reverie.experiments.reproduce.latent_tables import amortization_table
from reverie.experiments.training.pretrain import ModelTraining


def test_gaps_are_of_every_game_and_of_one_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amortization_benchmark, "FEW", 2)
    monkeypatch.setattr(amortization_benchmark, "MANY", 20)
    monkeypatch.setattr(amortization_benchmark, "RATES", (0.1, 1.0))
    tiny = AmortizationBenchmark(("pong", "ms_pacman"), frames=400, measured=4)
    tiny = replace(tiny, pretraining=replace(tiny.pretraining, num_updates=60, resolution=12))
    (result,) = tiny.measure(tmp_path)
    assert result["fitted_to"] == "pong"
    own, new = result["rows"]
    assert (own["env_name"], new["env_name"]) == ("pong", "ms_pacman")
    for row in (own, new):
        assert row["frames"] == 4
        assert [svi["learning_rate"] for svi in row["svi"]] == [0.1, 1.0] * 2
        assert [svi["start"] for svi in row["svi"]] == ["amortized"] * 2 + ["prior"] * 2
        for svi in row["svi"]:
            assert svi["nats"] <= row["gap"]
            assert svi["share"] == pytest.approx(svi["nats"] / row["gap"], rel=1e-4)
    assert new["gap"] > own["gap"], "the encoder has not seen such frames"
    assert new["svi"][-1]["nats"] > 0

    def fail(*args: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(ModelTraining, "iterate", fail)
    assert [*tiny.measure(tmp_path)] == [result]
    monkeypatch.setattr(committed, "RESULTS", tmp_path)
    assert "`reverie reproduce amortization`" in amortization_table()
    about = {"kind": "amortization", "command": "reverie reproduce amortization"}
    (tmp_path / "amortization.json").write_text(json.dumps(about | result))
    lines = amortization_table().splitlines()
    assert "added by 2 steps" in lines[0]
    assert [line.split(" | ")[0] for line in lines[2:10:4]] == ["| pong", "| ms_pacman"]
