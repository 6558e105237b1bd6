"""One-shot generalization: the glyphs, and models that are measured once."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.experiments.datasets.glyphs import glyphs, pairs
from reverie.experiments.recipes.one_shot_benchmark import OneShotBenchmark
from reverie.experiments.reporting import committed
from reverie.experiments.reproduce.latent_tables import one_shot_table
from reverie.world_models.representation.variational import VariationalRepresentation


def test_copies_of_a_glyph_are_nearer_than_other_glyphs() -> None:
    drawn = glyphs(40, 6)
    assert drawn.shape == (40, 6, 20, 20)
    assert drawn.unique().tolist() == [0, 255]
    assert 0.02 < float(drawn.float().mean()) / 255 < 0.2
    blurred = torch.nn.functional.avg_pool2d(drawn.float(), 5).flatten(2)
    within = (blurred[:, 0] - blurred[:, 1]).norm(dim=1).mean()
    between = (blurred[:, 0] - blurred[:, 0].roll(1, 0)).norm(dim=1).mean()
    assert within < 0.7 * between
    assert not torch.equal(drawn[:, 0], drawn[:, 1])


def test_a_glyph_is_a_function_of_the_seed_and_its_class() -> None:
    assert torch.equal(glyphs(3, 2, seed=1), glyphs(5, 2, seed=1)[:3])
    assert not torch.equal(glyphs(3, 2, seed=1), glyphs(3, 2, seed=2))


def test_pairs_are_segments_of_a_frame_and_another() -> None:
    frames = glyphs(3, 2)[:, :, None]
    segment = pairs(frames)
    assert torch.equal(segment.obs, frames)
    assert segment.valid.all()


def test_a_model_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = OneShotBenchmark(minutes=1e-6, classes=4, held_out=3, copies=3, batch_size=4, samples=2)
    results = [*tiny.measure(tmp_path)]
    rows = {row["model"]: row for row in results[-1]["rows"]}
    assert [*rows["draw"]["bounds"]] == ["nothing"]
    assert [*rows["one-shot-draw"]["bounds"]] == [
        *("nothing", "another of its class", "one of another class")
    ]
    for row in rows.values():
        assert row["num_updates"] == 1
        assert all(len(x["nats"]) == 3 for x in row["bounds"].values())

    def fail(*args: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(VariationalRepresentation, "update", fail)
    assert [*tiny.measure(tmp_path)] == results
    monkeypatch.setattr(committed, "RESULTS", tmp_path)
    assert "`reverie reproduce one-shot`" in one_shot_table()
    about = {"name": "one-shot", "kind": "one-shot", "command": "reverie reproduce one-shot"}
    (tmp_path / "one-shot.json").write_text(json.dumps(about | results[-1]))
    lines = one_shot_table().splitlines()
    assert [line.split(" | ")[2] for line in lines[2:6]] == [
        *("nothing", "nothing", "another of its class", "one of another class")
    ]
