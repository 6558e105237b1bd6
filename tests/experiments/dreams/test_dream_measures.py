"""All measures together: of dreams that are the truth or lose an object; the table, the bars."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.experiments.dreams.dream_measures import Dreams, measure_dreams, prediction_errors
from reverie.experiments.dreams.dream_table import bar_lines, format_table, sections
from reverie.experiments.dreams.moving_objects import ANY
from reverie.experiments.evaluation.frame_quality import psnr, ssim
from reverie.experiments.reporting import committed
from reverie.experiments.reproduce.prediction_tables import dreams_table
from reverie.world_models.inference import hypothesis

MEDIAN = torch.full((1, 24, 20), 80, dtype=torch.uint8)
HORIZONS = (1, 10)


def frames(n: int) -> Tensor:
    """Frames of a square that moves, with another one that stays."""
    x = MEDIAN.repeat(n, 1, 1, 1)
    for i, frame in enumerate(x):
        frame[0, 2 + i % 8 : 5 + i % 8, 3:6] = 200
        frame[0, 18:21, 14:17] = 160
    return x


@cache
def measured() -> str:
    """A comparison, as JSON, of three predictors: exact, without a square, and blank."""
    reward = torch.arange(40 * 10).view(40, 10).remainder(7).float()
    real = frames(40)
    truth = Dreams(dict.fromkeys(HORIZONS, real), reward)
    without = real.clone()
    without[..., 18:21, 14:17] = 80
    dreams = {
        "copy-last": Dreams(dict.fromkeys(HORIZONS, real.roll(1, 0))),
        "exact": Dreams(truth.frames, reward),
        "without": Dreams(dict.fromkeys(HORIZONS, without), -reward),
        "blank": Dreams(dict.fromkeys(HORIZONS, MEDIAN.repeat(40, 1, 1, 1)), 0 * reward),
    }
    quality = {"psnr": psnr, "ssim": ssim}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hypothesis, "UPDATES", 60)
        table = measure_dreams(truth, dreams, MEDIAN, game="pong", quality=quality)
    counts = {"events": 0, "steps": 7, "mean_true": 0.0, "mean_predicted": 0.25}
    undefined = counts | {"auc": None, "low": None, "high": None}
    ranked = counts | {"auc": 0.75, "low": 0.5, "high": 1.0, "events": 2}
    models = ("exact", "without", "blank")
    steps = {x: {"positive reward": undefined, "termination": ranked} for x in models}
    result = {
        "env_name": "pong",
        "num_segments": 40,
        "policy": "random",
        "errors": prediction_errors(truth, dreams, MEDIAN).table(),
        "predictors": {"exact": "other", "without": "small", "blank": "mlp"},
        "dreams": table | {"single_steps": steps},
        "action_sensitivity": {},
    }
    return json.dumps(result, allow_nan=False)


@pytest.fixture
def result() -> Any:
    return json.loads(measured())


def test_the_truth_is_perfect_by_every_measure(result: Any) -> None:
    table = result["dreams"]
    for h in map(str, HORIZONS):
        assert table["quality"]["psnr"]["exact"][h] == 100, "decibels, in place of infinitely many"
        assert table["quality"]["ssim"]["exact"][h] == pytest.approx(1)
        assert table["two_sample"]["exact"][h]["accuracy"] == 0.5, "of equal pairs exactly half"
        assert table["objects"][ANY]["exact"][h]["lost"] == 0
        assert table["frechet"]["exact"][h] == pytest.approx(0, abs=1e-6)
        assert table["returns"]["exact"][h]["correlation"] == pytest.approx(1)
        assert table["returns"]["exact"][h]["bias"] == 0


def test_what_dreams_lack_is_measured(result: Any) -> None:
    table = result["dreams"]
    for name, lost in (("without", 0.5), ("blank", 1)):
        assert table["objects"][ANY][name]["10"]["lost"] == lost
        assert table["objects"][ANY][name]["10"]["displaced"] == 0
        assert table["two_sample"][name]["10"]["accuracy"] > 0.9
        assert table["two_sample"][name]["10"]["log_bayes_factor"] > 5
        assert table["quality"]["psnr"][name]["10"] < 40
    blank, without = (table["frechet"][x]["10"] for x in ("blank", "without"))
    assert blank > without > 0.1
    assert table["returns"]["without"]["10"]["correlation"] == pytest.approx(-1)
    assert table["returns"]["blank"]["10"]["correlation"] is None
    assert "copy-last" not in table["returns"]


def test_the_table_fits_the_terminal_and_says_what_is_undefined(
    result: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = "runs/a-folder-with-a-name-that-is-longer-than-its-column/of-an-even-longer-path"
    for rows in (*result["errors"].values(), result["dreams"]["single_steps"]):
        rows[long] = rows["exact"]
    text = format_table(result)
    assert max(map(len, text.splitlines())) <= 80
    assert "undefined, as no step is one" in text
    assert "0.750 (0.500 to 1.000), predicted mean +0.2500" in text
    titles = [section.title for section in sections(result)]
    assert len(titles) == len(set(titles)) == 12
    assert all(title in text for title in titles)
    assert max(map(len, titles)) <= 80


def test_the_bars_of_pong_after_ten_steps(result: Any) -> None:
    for name, lost in (("exact", 0.19), ("without", 0.2), ("blank", None)):
        result["dreams"]["objects"]["ball"][name]["10"]["lost"] = lost
        result["dreams"]["objects"]["paddle"][name]["10"]["lost"] = lost
    accuracy = result["dreams"]["two_sample"]["without"]["10"]["accuracy"]
    assert [line.strip() for line in bar_lines(result)] == [
        "bars of pong after 10 steps",
        f"two-sample accuracy below {accuracy:.2f} of without: best exact 0.50, met",
        "ball lost below 20%: exact 19%, met; without 20%, not met",
        "paddle lost below 10%: exact 19%, not met; without 20%, not met",
    ]
    assert bar_lines(result | {"env_name": "freeway"}) == []
    alone = result | {"predictors": {"without": "small"}}
    assert "no other predictor is compared" in bar_lines(alone)[1]


def test_the_documents_have_a_row_of_every_model_or_the_command_that_measures(
    result: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committed, "RESULTS", tmp_path)
    data = result | {"kind": "predictors", "name": "pong-predictors"}
    (tmp_path / "pong.json").write_text(json.dumps(data))
    header, _, *rows = [x for x in dreams_table().splitlines() if x.startswith("|")]
    assert [row.split(" | ")[1] for row in rows] == ["copy-last", "exact", "without", "blank"]
    assert " | 100.0 | 1.000 | 50% | moving object 0% | 0.00 | +1.00 | " in rows[1]
    assert rows[3].endswith(" |  | termination 0.75 (2 of 7) |"), "no correlation with a constant"
    del data["dreams"]
    (tmp_path / "pong.json").write_text(json.dumps(data))
    _, _, row, *_ = dreams_table().splitlines()
    assert row.startswith("| pong | not measured yet | `reverie reproduce pong-predictors` |")
    assert row.count("|") == header.count("|")


def test_a_single_segment_has_no_distribution() -> None:
    truth = Dreams({1: frames(1)}, torch.ones(1, 1))
    quality = {"psnr": psnr, "ssim": ssim}
    table = measure_dreams(truth, {"model": truth}, MEDIAN, game="", quality=quality)
    assert table["two_sample"]["model"] == table["frechet"]["model"] == {"1": None}
    assert table["returns"]["model"]["1"]["correlation"] is None
    json.dumps(table, allow_nan=False)
