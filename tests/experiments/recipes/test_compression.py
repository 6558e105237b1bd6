"""The comparison of codecs: each is lossless in every form, and is measured once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reverie.envs.errors import RunError
from reverie.experiments.datasets import archive
from reverie.experiments.datasets.image_codecs import CODECS, Form
from reverie.experiments.recipes import compression_benchmark
from reverie.experiments.recipes.compression_benchmark import CompressionBenchmark, smallest


@pytest.mark.parametrize(
    "form", [pytest.param(x, id=f"{name}: {x.name}") for name in CODECS for x in CODECS[name]]
)
@pytest.mark.parametrize("shape", [(1, 5, 4), (7, 5, 4)])
def test_every_form_is_lossless(form: Form, shape: tuple[int, ...]) -> None:
    symbols = np.random.default_rng(0).integers(form.max_levels, size=shape).astype(np.uint8)
    np.testing.assert_array_equal(form.decode(form.encode(symbols), shape), symbols)


def test_a_form_without_room_for_all_levels_is_left_out() -> None:
    symbols = np.full((2, 3, 3), 9, np.uint8)
    forms = {x.name for x in CODECS["xz"] if x.max_levels > 9}
    assert smallest(CODECS["xz"], symbols)["form"] in forms
    assert len(forms) == 2


def test_a_codec_that_loses_something_is_refused() -> None:
    lossy = Form("halves", lambda x: [x.tobytes()], lambda data, shape: np.zeros(shape, np.uint8))
    with pytest.raises(RunError, match="'halves' does not decode"):
        smallest((lossy,), np.ones((1, 2, 2), np.uint8))


def test_a_game_and_codec_are_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression_benchmark, "CODECS", {"xz": CODECS["xz"]})
    benchmark = CompressionBenchmark(("pong",), frames=20)
    results = [*benchmark.measure(tmp_path)]
    rows = results[-1]["rows"]
    codecs = ["cts", "cts of single frames", "xz"]
    assert [(row["env_name"], row["codec"]) for row in rows] == [("pong", x) for x in codecs]
    assert [rows[k]["form"] for k in (0, 1)] == ["each frame given those before", "single frames"]
    assert rows[0]["bytes"] == (tmp_path / "compression" / "pong-cts.reverie").stat().st_size

    def fail(*args: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(compression_benchmark, "smallest", fail)
    monkeypatch.setattr(archive, "write_archive", fail)
    assert [*benchmark.measure(tmp_path)] == results
