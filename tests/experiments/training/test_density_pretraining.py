"""Pretraining of densities on recorded frames, and bonuses that start from it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie import Experiment, train
from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.policies import RandomPolicy
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.experiments.datasets.collect import collect
from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.options import PretrainOptions
from reverie.experiments.training.densities import DensityPretraining
from reverie.experiments.training.pretrain import load_model, pretrain
from reverie.world_models.density.cts import CTSConfig
from reverie.world_models.density.histogram import HistogramConfig
from reverie.world_models.density.pixelcnn import PixelCNNConfig

from sample_agents import DQN, OPTIONS
from sample_models import assert_same_state

QUIET = PretrainOptions(device="cpu", threads=1, log_every=10, quiet=True)
SMALL = PixelCNNConfig(maps=4, blocks=1, head=8)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DensityPretraining:
    monkeypatch.chdir(tmp_path)
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, num_envs=4)
    return DensityPretraining(
        data=(Path("data"),), density=SMALL, num_updates=20, batch_size=16, levels=2
    )


def final_state(folder: str) -> dict[str, Any]:
    state = Run(folder).checkpoints.load()
    assert state is not None
    return state


def test_a_network_learns_and_its_held_out_bits_are_those_of_its_log_probabilities(
    job: DensityPretraining,
) -> None:
    run = pretrain(job, "fit", QUIET)
    rows = run.read_lines("metrics.jsonl")
    assert rows[-1]["eval/bits_per_pixel"] < rows[0]["eval/bits_per_pixel"] < 1
    held_out = json.loads(Path("fit/held_out.json").read_text())
    _, model = load_model("fit", device="cpu")
    x = job.spaced_frames(Recording("data"), "held-out", 500)
    assert held_out["frames"] == len(x)
    bits = -model.log_prob(x).double() / (x[0].numel() * math.log(2))
    assert held_out["bits_per_pixel"] == pytest.approx(float(bits.mean()))
    assert Path("fit/figures/density.png").stat().st_size > 2000


@pytest.mark.parametrize("density", [HistogramConfig(), CTSConfig()])
def test_a_density_that_counts_observes_each_training_frame_once(
    job: DensityPretraining, density: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    counting = replace(job, density=density, num_updates=1000)
    run = pretrain(counting, "fit", QUIET)
    assert run.finished
    recording = Recording("data")
    rows = counting.rows(recording, "train")
    batches = len(rows) // 16
    assert final_state("fit")["step"] == batches
    _, model = load_model("fit", device="cpu")
    assert model.num_frames == 16 * batches
    again = counting.build(recording.manifest, torch.device("cpu"))
    shuffled = counting.batches(recording, again)
    for _ in range(batches):
        again.observe(next(shuffled))
    assert_same_state(model, again)
    assert pretrain(counting, "fit", replace(QUIET, quiet=False)).finished
    assert f"fit is finished at update {batches}." in capsys.readouterr().out


def test_a_run_that_is_continued_ends_as_an_uninterrupted_one(job: DensityPretraining) -> None:
    pretrain(job, "whole", QUIET)
    pretrain(replace(job, num_updates=7), "parts", QUIET)
    pretrain(job, "parts", QUIET)
    for density in ("model", "batches"):
        states = [final_state(folder)[density] for folder in ("whole", "parts")]
        assert str(states[0]) == str(states[1])


def test_it_ends_when_its_minutes_are_over_and_continues_with_more(
    job: DensityPretraining,
) -> None:
    limited = replace(job, num_updates=10**9, minutes=1e-6)
    assert pretrain(limited, "fit", QUIET).finished
    state = final_state("fit")
    assert (state["step"], state["frames"]) == (1, 16)
    assert state["seconds"] >= 60e-6
    written = Path("fit/held_out.json").stat().st_mtime_ns
    assert pretrain(limited, "fit", QUIET).finished
    assert Path("fit/held_out.json").stat().st_mtime_ns == written, "nothing is left to do"
    more = replace(limited, minutes=(2 * state["seconds"] + 1e-3) / 60)
    assert pretrain(more, "fit", QUIET).finished
    assert final_state("fit")["step"] > 1


def test_settings_out_of_their_range_are_refused(job: DensityPretraining) -> None:
    wrong: dict[str, Any] = {"levels": 1, "resolution": 0, "minutes": -1.0, "batch_size": 0}
    for setting, value in wrong.items():
        with pytest.raises(UsageError, match=f"{setting} is {value}"):
            replace(job, **{setting: value})


def test_a_bonus_starts_from_a_pretrained_density(job: DensityPretraining) -> None:
    counting = replace(job, density=HistogramConfig())
    pretrain(counting, "fit", QUIET)
    learned = final_state("fit")
    bonus = PseudoCountConfig(HistogramConfig(), levels=2)
    experiment = Experiment(
        DQN, CatchConfig(), bonus, total_timesteps=404, num_envs=4, init_from=Path("fit")
    )
    state = final_state(str(train(experiment, "run", OPTIONS).folder))
    assert state["initial_steps"] == 400
    density = state["bonus"]["density"]
    assert density["num_frames"] == learned["frames"] + 4
    assert density["density"]["num_frames"] == learned["model"]["num_frames"] + 4
    for wrong, message in (
        (replace(bonus, levels=3), r"bonus\.levels: 2, not 3"),
        (replace(bonus, density=CTSConfig()), r"bonus\.density"),
    ):
        with pytest.raises(UsageError, match=message):
            train(replace(experiment, bonus=wrong), "other", OPTIONS)
    with pytest.raises(UsageError, match="the bonus NoBonus has none to start from it"):
        train(Experiment(DQN, CatchConfig(), init_from=Path("fit")), "other", OPTIONS)
