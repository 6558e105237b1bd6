"""The gallery: columns by capability, continued after a kill, and failures in their row."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reverie.agents.policies import RandomPolicy
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.errors import RunError, UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.config.registry import TABLES
from reverie.experiments.datasets.collect import collect
from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.datasets.image_codecs import CODECS
from reverie.experiments.gallery import columns, gallery_report, gallery_task
from reverie.experiments.gallery import gallery as gallery_module
from reverie.experiments.gallery.columns import COLUMNS, Column
from reverie.experiments.gallery.gallery import all_models
from reverie.experiments.gallery.gallery_options import GalleryOptions, Sizes
from reverie.experiments.gallery.gallery_task import GalleryTask, time_limit
from reverie.experiments.gallery.game_frames import compressed_sizes
from reverie.experiments.gallery.subject import SAMPLED, SCORED, Subject, TimeIsUp
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.executor import TaskResult
from reverie.experiments.sessions.options import PretrainOptions
from reverie.experiments.training.densities import DensityPretraining
from reverie.experiments.training.pretrain import pretrain
from reverie.world_models.density.bound import BoundConfig
from reverie.world_models.density.histogram import Histogram, HistogramConfig
from reverie.world_models.density.pixelcnn import PixelCNNConfig
from reverie.world_models.interface import Density, DensityConfig
from reverie.world_models.latents.interface import LatentConfig

TINY = Sizes(held_out=20, samples=8, completed=2, posterior=2, coded=4, visits=60)
ARGV = ("gallery", "--data", "data", "--updates", "6", "--workers", "1", "--folder", "shown")


@dataclass(frozen=True)
class BrokenConfig(HistogramConfig):
    """A density that cannot be scored."""

    def build(self, **settings: Any) -> Any:
        return Broken(settings["shape"], settings["levels"])


class Broken(Histogram):
    def observe(self, x: Any) -> Any:
        raise ZeroDivisionError("its counts are lost")


class InProcess:
    """Executes tasks one after another in this process, with the sentences of a pool."""

    def execute(self, tasks: Sequence[GalleryTask]) -> Iterator[TaskResult[GalleryTask]]:
        for task in tasks:
            try:
                task.execute()
                yield TaskResult(task, 0.0)
            except (RunError, ZeroDivisionError) as error:
                yield TaskResult(task, 0.0, f"{type(error).__name__}: {error}")

    def stop(self) -> None:
        pass


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, num_envs=4)
    monkeypatch.setattr(gallery_module, "_executor", lambda options: InProcess())
    monkeypatch.setattr(GalleryOptions, "sizes", TINY)
    small = PixelCNNConfig(maps=4, blocks=1, head=8)
    monkeypatch.setitem(TABLES[DensityConfig], "pixel-cnn", small)


def cells_of(model: str) -> dict[str, Any]:
    measured = json.loads(Path(f"shown/catch/{model}/measurements.json").read_text())
    cells: dict[str, Any] = measured["cells"]
    return cells


def test_two_densities_are_trained_measured_and_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gallery_module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(gallery_module, "require_checkout", lambda command: None)
    assert cli.main([*ARGV, "--models", "histogram,pixel-cnn", "--save", "two"]) == 0
    page = Path("shown/report.html").read_text()
    for text in ("histogram", "pixel-cnn", "bits/pixel", "catch", "data:image/png"):
        assert text in page
    saved = json.loads((tmp_path / "results" / "gallery" / "two.json").read_text())
    repeated = "reverie gallery --data data --updates 6 --models histogram,pixel-cnn"
    assert saved["command"] == repeated
    models = saved["games"]["catch"]["models"]
    assert models.keys() == {"histogram", "pixel-cnn"}
    for name, model in models.items():
        assert not model["error"]
        assert "log_probs" not in model["cells"]["bits/pixel"]
        errors = [cell["error"] for cell in model["cells"].values() if "error" in cell]
        assert not errors
        assert 0 < model["cells"]["bits/pixel"]["bits_per_pixel"] < 4
        assert -1 <= model["cells"]["count fidelity"]["rank_correlation"] <= 1
        with np.load(f"shown/catch/{name}/pictures.npz") as drawn:
            assert {"held-out", "samples", "surprise"} <= {*drawn}
    (frame,) = {tuple(saved["games"]["catch"]["frame"])}
    assert frame == (10, 5)


def test_bits_in_the_first_pass_are_those_of_batches_before_they_are_learned() -> None:
    assert cli.main([*ARGV, "--models", "histogram"]) == 0
    job = DensityPretraining(data=(Path("data"),), density=HistogramConfig(), num_updates=6)
    recording = Recording("data")
    density = job.build(recording.manifest, torch.device("cpu"))
    batches = job.batches(recording, density)
    nats = [-density.observe(next(batches))[0].mean() / 50 for _ in range(6)]
    bits = float(torch.stack(nats).mean()) / np.log(2)
    cell = cells_of("histogram")["prequential bits"]
    assert cell["bits_per_pixel"] == pytest.approx(bits)
    assert (cell["frames"], cell["of"]) == (192, len(job.rows(recording, "train")) // 32 * 32)


def test_a_density_fills_the_columns_of_its_protocols_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @dataclass(frozen=True)
    class FrameConfig(HistogramConfig):
        def build(self, **settings: Any) -> Any:
            return Frame(settings["shape"], settings["levels"])

    class Frame(Histogram):
        pixel_log_probs = conditional = None  # type: ignore[assignment]

        def log_prob(self, x: Any) -> Any:
            return Histogram.pixel_log_probs(self, x).sum((1, 2))

    monkeypatch.setitem(TABLES[DensityConfig], "frame", FrameConfig)
    assert cli.main([*ARGV, "--models", "frame"]) == 0
    cells = cells_of("frame")
    assert cells.keys() == {column.name for column in COLUMNS}
    for column in COLUMNS:
        cell = cells[column.name]
        if column.needs is Density:
            assert cell.get("shown")
        else:
            assert cell is None
    assert "| - |" in Path("shown/report.md").read_text()


@pytest.mark.parametrize("where", ["training", "measuring"])
def test_a_gallery_that_was_killed_continues(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = [*ARGV, "--models", "histogram,pixel-cnn"]
    few = (*COLUMNS[:2], COLUMNS[-1])
    for module in (gallery_task, gallery_report):
        monkeypatch.setattr(module, "COLUMNS", few)
    calls: list[Any] = []

    def interrupted(original: Any, at: int) -> Any:
        def call(*args: Any) -> Any:
            calls.append(args)
            if len(calls) == at:
                raise KeyboardInterrupt
            return original(*args)

        return call

    with monkeypatch.context() as patched:
        if where == "training":  # in the second density
            update = interrupted(DensityPretraining.update, 9)
            patched.setattr(DensityPretraining, "update", update)
        else:
            measure = interrupted(GalleryTask._measured, len(few) + 2)
            patched.setattr(GalleryTask, "_measured", measure)
        assert cli.main(argv) == 130
    first, trained = cells_of("histogram"), Run("shown/catch/histogram").checkpoints.steps()
    partly = cells_of("pixel-cnn") if where == "measuring" else {}
    assert not Path("shown/report.html").exists()
    assert cli.main(argv) == 0
    settled = {name: cell for name, cell in first.items() if cell and "error" not in cell}
    assert settled.items() <= cells_of("histogram").items(), "what was measured is kept"
    assert partly.keys() <= cells_of("pixel-cnn").keys()
    assert Run("shown/catch/histogram").checkpoints.steps() == trained
    assert Run("shown/catch/pixel-cnn").checkpoints.steps() == [6]
    assert cells_of("pixel-cnn").keys() == {column.name for column in few}


def test_failures_stand_in_their_row_and_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def slow(subject: Any) -> Any:
        calls.append(subject)
        raise TimeIsUp

    def wrong(subject: Any) -> Any:
        raise UsageError("no frame is here.")

    failing = (Column("slow", Density, slow, ""), Column("wrong", Density, wrong, ""))
    for module in (gallery_task, gallery_report):
        monkeypatch.setattr(module, "COLUMNS", (*COLUMNS[:1], *failing))
    monkeypatch.setitem(TABLES[DensityConfig], "broken", BrokenConfig)
    argv = [*ARGV, "--models", "broken,histogram"]
    assert cli.main(argv) == 1
    text = Path("shown/report.md").read_text()
    assert "ZeroDivisionError: its counts are lost" in text
    assert "300 s |" in text
    assert "no frame is here." in text
    assert cells_of("histogram")["bits/pixel"]["shown"] in text
    assert cli.main(argv) == 1
    assert len(calls) == 1, "what took too long is not tried again in the same time"
    assert cli.main([*argv, "--measure-minutes", "20"]) == 1
    assert len(calls) == 2


def test_a_call_that_takes_too_long_is_stopped_and_the_alarm_is_off_afterwards() -> None:
    begin = time.monotonic()
    with pytest.raises(TimeIsUp), time_limit(0.05):
        time.sleep(5)
    assert time.monotonic() - begin < 2
    with time_limit(0.05):
        pass
    time.sleep(0.1)
    with pytest.raises(TimeIsUp), time_limit(0.0):
        pass


def test_the_plan_is_printed_and_nothing_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gallery", "--dry-run", "--models", "cts,vae", "--folder", "new"]) == 0
    text = capsys.readouterr().out
    assert "2 densities: cts, vae" in text
    assert "pong: 20,000 frames to collect" in text
    assert "At most 80 min of one thread in all" in text
    assert not Path("new").exists()


def test_quick_galleries_fit_into_half_an_hour_of_two_cores() -> None:
    for count in (1, 8, 24, 100):
        training, measuring = GalleryOptions(quick=True).limits(count)
        assert count * (training + measuring) / 2 <= 26 + 1e-9
        assert 0 < training <= 1.5


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--models", "ctx"], "There is no density 'ctx'. Did you mean"),
        (["--models", ","], "names no density"),
        (["--data", "data", "--games", "pong"], "--games is pong and --data names recordings"),
        (["--data", "nowhere"], "There is no recording nowhere"),
        (["--minutes", "0"], "minutes is 0.0; it must be above 0"),
    ],
)
def test_bad_input_is_refused(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = cli.main(["gallery", *argv])
    except SystemExit as error:
        status = int(error.code or 0)
    assert status == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()


def test_general_compressors_are_measured_on_the_symbols() -> None:
    generator = torch.Generator().manual_seed(0)
    random = torch.randint(8, (10, 42, 42), generator=generator, dtype=torch.uint8)
    constant = torch.zeros(10, 42, 42, dtype=torch.uint8)
    sizes, entropy = compressed_sizes(random), 42 * 42 * 3 / 8
    assert sizes.keys() == CODECS.keys()
    assert all(entropy < size < 1.5 * entropy for size in sizes.values())
    assert compressed_sizes(constant)["xz"] < 10


def test_every_density_and_every_latent_variable_model_is_a_row_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @dataclass(frozen=True)
    class OtherConfig(LatentConfig):
        pass

    monkeypatch.setitem(TABLES[LatentConfig], "other", OtherConfig(min_std=0.1))
    models = all_models()
    assert {*TABLES[LatentConfig]} <= {*models}
    assert {*TABLES[DensityConfig]} - {*models} == {"bound"}
    latents = [x.latent for x in models.values() if isinstance(x, BoundConfig)]
    assert len(latents) == len(TABLES[LatentConfig])
    assert models["other"] == BoundConfig(latent=OtherConfig(min_std=0.1))
    assert models["vae"] == TABLES[DensityConfig]["bound"]()


def test_a_column_that_is_slow_measures_fewer_frames() -> None:
    job = DensityPretraining(data=(Path("data"),), density=HistogramConfig(), num_updates=2)
    pretrain(job, "run", PretrainOptions(device="cpu", quiet=True))
    whole, hurried = (Subject(job, Path("run"), Sizes(held_out=40)) for _ in range(2))
    hurried.deadline = 0.0
    all_bits, few_bits = (columns.held_out(subject) for subject in (whole, hurried))
    assert few_bits.numbers["frames"] == SCORED < all_bits.numbers["frames"] == 40
    assert few_bits.numbers["log_probs"] == all_bits.numbers["log_probs"][:SCORED]
    assert few_bits.shown.endswith(f"(of {SCORED} frames)")
    assert "frames" not in all_bits.shown
    assert len(hurried.samples[0]) == SAMPLED < len(whole.samples[0]) == Sizes().samples
    cell = columns.denoising(hurried)
    assert cell.numbers["frames"] == columns.COMPLETED
    assert cell.shown.endswith(f"(of {columns.COMPLETED} frames)")


def test_densities_are_compared_on_the_frames_that_both_have_scored() -> None:
    scores = {"fast": [-2.0, -1.0, -4.0, -9.0], "slow": [-1.0, -0.5], "slower": [-3.0, -2.5]}
    models: dict[str, Any] = {
        name: {"cells": {"bits/pixel": {"log_probs": x}}} for name, x in scores.items()
    }
    models["slower"]["cells"]["bits/pixel"]["kind"] = "bound"
    gallery_report._add_bayes_factors(models)
    factors = {name: model["cells"][gallery_report.BEST] for name, model in models.items()}
    assert factors["slow"]["shown"] == "best"
    assert factors["fast"]["nats"] == -1.5
    assert factors["slower"]["nats"] == -4.0
    assert factors["slower"]["shown"].startswith("≥ -4")
    assert factors["fast"]["shown"].startswith("-2")


def test_a_game_is_saved_when_it_is_finished(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second game is interrupted; the first one is in the report and committed."""
    monkeypatch.setattr(gallery_module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(gallery_module, "require_checkout", lambda command: None)
    for module in (gallery_task, gallery_report):
        monkeypatch.setattr(module, "COLUMNS", COLUMNS[:1])
    collect(RandomPolicy(2), DeepSeaConfig(size=5), "sea", frames=400, num_envs=4)
    saved, argv = (
        tmp_path / "results" / "gallery" / "two.json",
        ["gallery", "--data", "data", "sea"],
    )
    argv += ["--updates", "3", "--models", "histogram", "--folder", "shown", "--save", "two"]
    execute = GalleryTask.execute

    def interrupted(task: GalleryTask) -> None:
        if task.game != "catch":
            raise KeyboardInterrupt
        execute(task)

    with monkeypatch.context() as patched:
        patched.setattr(GalleryTask, "execute", interrupted)
        assert cli.main(argv) == 130
    assert json.loads(saved.read_text())["games"].keys() == {"catch"}
    assert Path("shown/report.html").exists()
    assert cli.main(argv) == 0
    assert [*json.loads(saved.read_text())["games"]] == ["catch", "deep-sea"]
