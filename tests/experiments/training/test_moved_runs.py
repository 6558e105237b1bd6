"""A run and the recordings that it names work from any folder, and after both are moved."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reverie.agents.policies import RandomPolicy
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.datasets.collect import collect
from reverie.experiments.play.setup import load_setup
from reverie.experiments.sessions.options import PretrainOptions
from reverie.experiments.training.predictors import PredictorPretraining
from reverie.experiments.training.pretrain import load_model, pretrain

from sample_agents import TINY

OPTIONS = PretrainOptions(device="cpu", threads=1, quiet=True, log_every=1)


@pytest.mark.parametrize("kind", ["relative", "absolute", "link"])
def test_a_pretraining_and_its_recording_work_from_any_folder_and_after_a_move(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after, other = tmp_path / "before", tmp_path / "after", tmp_path / "other"
    before.mkdir()
    other.mkdir()
    monkeypatch.chdir(before)
    collect(RandomPolicy(3), CatchConfig(), "data", frames=120, num_envs=4)
    Path("link").symlink_to(before / "data")
    data = {"relative": Path("data"), "absolute": before / "data", "link": Path("link")}[kind]
    settings: dict[str, Any] = {"predictor": TINY, "stack": 1, "batch_size": 4}
    pretrain(PredictorPretraining(data=(data,), num_updates=1, **settings), "runs/m", OPTIONS)

    monkeypatch.chdir(other)
    for tree in (before, after):
        if tree is after:
            before.rename(after)
        job, _ = load_model(tree / "runs/m", device="cpu")
        assert job.data == (tree / "data",)
        setup = load_setup(tree / "runs/m", device="cpu")
        setup.game.close()
        assert setup.predictor is not None
        assert cli.main(["evaluate", str(tree / "runs/m"), "--device", "cpu"]) == 0
        num_updates = 2 + (tree is after)
        longer = PredictorPretraining(data=(tree / "data",), num_updates=num_updates, **settings)
        assert pretrain(longer, tree / "runs/m", OPTIONS).finished, "it is the same job"

    (after / "runs/m").rename(other / "alone")
    with pytest.raises(UsageError, match=r"no recording .*data; .* move them together"):
        load_model("alone", device="cpu")


def test_a_run_loads_in_a_program_of_another_folder(tmp_path: Path) -> None:
    quick = ["--total-timesteps", "80", "--num-envs", "4", "--device", "cpu", "--threads", "1"]
    quick += ["--quiet", "--random-play-seconds", "0", "--folder", str(tmp_path / "run")]
    assert cli.main(["train", "ppo", "env:catch", *quick]) == 0
    code = "import reverie; print(reverie.load('../run', device='cpu')[0].env.env_name)"
    (tmp_path / "notebooks").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "notebooks", capture_output=True, text=True
    )
    assert done.stdout == "catch\n", done.stderr
