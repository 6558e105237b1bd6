"""Baselines and metrics of representations: factor analysis, linear probes, pretraining."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.config.roles import part_name
from reverie.experiments.datasets.collect import collect
from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.evaluation.linear_probe import (
    ridge_predict,
)
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.options import PretrainOptions
from reverie.experiments.training.pretrain import load_model, pretrain
from reverie.experiments.training.representations import RepresentationPretraining
from reverie.world_models.latents.vae import VAEConfig
from reverie.world_models.representation.projection import ProjectionConfig
from reverie.world_models.representation.variational import VariationalConfig

PLAIN = replace(PROTOCOLS["mfec"], noops=0)
QUIET = PretrainOptions(device="cpu", threads=1, log_every=10, quiet=True)


def test_ridge_regression_predicts_linear_functions_and_no_noise() -> None:
    torch.manual_seed(0)
    x, x_test = torch.randn(2000, 5) * 7 + 3, torch.randn(100, 5) * 7 + 3
    weights = torch.randn(5, 2)
    torch.testing.assert_close(
        ridge_predict(x, x @ weights + 2, x_test), x_test @ weights + 2, rtol=2e-2, atol=0.1
    )
    noise = ridge_predict(x, torch.randn(2000, 2), x_test)
    assert float(noise.abs().mean()) < 0.1


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, num_envs=4)
    return "data"


def test_pretraining_writes_bounds_and_a_figure(recording: str) -> None:
    config = VariationalConfig(VAEConfig(size=4))
    job = RepresentationPretraining(
        data=(Path(recording),), representation=config, num_updates=20, batch_size=16
    )
    run = pretrain(job, "fit", QUIET)
    bounds = json.loads((run.folder / "held_out.json").read_text())
    assert bounds["iwae"] > bounds["elbo"]
    assert bounds["gap"] == pytest.approx(bounds["iwae"] - bounds["elbo"], rel=1e-3)
    assert 0 <= bounds["active_units"] <= bounds["latents"] == 4
    assert (run.folder / "figures" / "representation.png").stat().st_size > 5000
    rows = run.read_lines("metrics.jsonl")
    assert rows[-1]["eval/elbo"] > rows[0]["eval/elbo"]


def test_untrainable_representations_and_recordings_are_refused(
    recording: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="projection has no parameters to train"):
        pretrain(
            RepresentationPretraining(data=(Path(recording),), representation=ProjectionConfig()),
            "fit",
            QUIET,
        )
    with pytest.raises(UsageError, match="Name a recording"):
        pretrain(RepresentationPretraining(), "fit", QUIET)
    monkeypatch.setattr(
        Recording, "frames", lambda _, rows: torch.zeros(len(rows), 1, 10, 5, dtype=torch.uint8)
    )
    with pytest.raises(UsageError, match="all equal"):
        pretrain(RepresentationPretraining(data=(Path(recording),)), "constant", QUIET)


def test_presets_of_every_representation() -> None:
    parts = {n: PRESETS[n].agent.representation for n in PRESETS if "mfec" in n}  # type: ignore[attr-defined]
    names = {preset: part_name(part) for preset, part in parts.items()}
    assert names["mfec"] == "projection"
    assert names["mfec-vae"] == names["mfec-beta-vae"] == names["mfec-vae-published"] == "vae"
    assert names["mfec-binary-vae"] == "binary-vae"


def test_pretraining_a_representation_from_the_command_line(
    recording: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["pretrain", "representation:binary-vae", "--data", recording, "--num-updates", "2"]
    argv += ["--representation.samples", "2", "--batch-size", "8"]
    argv += ["--device", "cpu", "--threads", "1", "--folder", "fit"]
    assert cli.main(argv) == 0
    assert "2 updates" in capsys.readouterr().out
    assert cli.main(["train", "mfec-vae", "--agent.fit-updates", "0"]) == 2
    assert "agent.fit_updates is 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "metric"),
    [("contrastive", "mutual_information"), ("inverse", "accuracy"), ("bigan", "generator_loss")],
)
def test_pretraining_a_task_reports_its_metrics_on_held_out_segments(
    recording: str, name: str, metric: str
) -> None:
    argv = ["pretrain", f"representation:{name}", "--data", recording, "--num-updates", "12"]
    argv += ["--representation.dim", "4", "--device", "cpu", "--threads", "1", "--folder", "fit"]
    assert cli.main([*argv, "--quiet"]) == 0
    rows = Run("fit").read_lines("metrics.jsonl")
    assert {f"representation/{metric}", f"eval/{metric}"} <= rows[-1].keys()
    assert rows[-1][f"eval/{metric}"] > 0
    job, model = load_model("fit", device="cpu")
    assert job.model_name == name
    assert model.num_updates == 12
