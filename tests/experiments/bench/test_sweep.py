"""The rows for a GPU, tried on a CPU."""

import pickle

import pytest
import torch

from reverie.experiments.bench.session import BenchOptions, BenchSession
from reverie.experiments.bench.sweep import LEARNERS, MODES, sweep
from reverie.experiments.config.presets import PRESETS
from reverie.world_models.prediction import PREDICTORS

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("device", [CPU, GPU], ids=str)
def test_every_measurement_can_be_sent_to_another_process(device: torch.device) -> None:
    for name, measurement in sweep(device).items():
        assert pickle.loads(pickle.dumps(measurement)).seconds > 0, name


def test_a_gpu_shows_every_agent_at_every_size_and_mode() -> None:
    table = list(sweep(GPU))
    assert table[0] == "CUDA tests"
    for num_envs in (64, 256, 1024):
        for name in set(LEARNERS) & set(PRESETS):
            for kind in ("rollout", "training"):
                rows = [x for x in table if x.startswith(f"{kind} {name}, ")]
                assert sum(x.endswith(f", {num_envs} envs") for x in rows) == len(MODES)
        assert f"training mfec, {num_envs} envs" in table
    for name, entry in PREDICTORS.items():
        published = entry.trainable and not name.startswith(("small", "ensemble"))
        assert (f"predictor {name}, published, bf16" in table) == published


def test_one_row_of_each_kind_and_the_training_fit_into_eight_minutes() -> None:
    seconds = 0.0
    for measurement in sweep(GPU).values():
        seconds += measurement.seconds
        if measurement.fills:
            break
    assert seconds < 8 * 60


def test_a_row_on_a_cpu() -> None:
    session = BenchSession(BenchOptions(rounds=1), CPU, threads=1, peers={})
    emulators, played = sweep(CPU)["rollout ppo, fp32, eager, 2 envs"].run(session)
    assert emulators["name"] == "emulators only, breakout, 2 envs"
    assert played["name"] == "rollout ppo, fp32, eager, breakout, 2 envs"
    assert 0 < played["ratios"]["emulators only"] < 1.5
    assert "gpu_idle" not in played
