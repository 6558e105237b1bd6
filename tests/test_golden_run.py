"""Files of this format, recorded earlier: they load, continue exactly and are refused if newer."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reverie import evaluate, load, train
from reverie.envs.errors import UsageError
from reverie.experiments.config.serialization import read_experiment
from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.runs.files import FORMAT
from reverie.experiments.runs.scores import read_scores

from golden_run import EXPERIMENT, OPTIONS, RECORDING, RUN


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RUN, tmp_path / "run"))


def test_the_run_is_small_and_of_this_format() -> None:
    sizes = [path.stat().st_size for path in (*RUN.rglob("*"), *RECORDING.rglob("*"))]
    assert sum(sizes) < 300_000
    assert json.loads((RUN / "config.json").read_text())["format"] == FORMAT
    assert json.loads((RECORDING / "manifest.json").read_text())["format"] == FORMAT


def test_its_experiment_is_read_and_its_agent_plays(run: Path) -> None:
    assert read_experiment(run) == EXPERIMENT
    experiment, agent = load(run, device="cpu")
    scores = evaluate(agent, experiment.env, episodes=8)
    stored = read_scores(run / "scores.json")
    assert scores.lengths == stored.lengths
    assert stored.steps == 212


def test_it_continues_as_an_uninterrupted_run_ends(run: Path, tmp_path: Path) -> None:
    """Weights may differ by rounding on another kind of machine, but not the timesteps before."""
    longer = replace(EXPERIMENT, total_timesteps=300)
    for folder in (run, tmp_path / "straight"):
        train(longer, folder, OPTIONS)
    ends = [load(folder, device="cpu")[1].state_dict() for folder in (run, tmp_path / "straight")]
    for name, x in ends[0]["network"].items():
        torch.testing.assert_close(x, ends[1]["network"][name], atol=1e-3, rtol=1e-3)
    rows = [(folder / "episodes.jsonl").read_text() for folder in (run, tmp_path / "straight")]
    assert rows[0] == rows[1]


def test_another_format_is_refused_in_one_sentence(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    for other in (FORMAT + 1, None):
        (run / "config.json").write_text(json.dumps(config | {"format": other}))
        with pytest.raises(UsageError, match=rf"config.json has .*format.* reads format {FORMAT}"):
            train(replace(EXPERIMENT, total_timesteps=300), run, OPTIONS)


def test_the_recording_is_read() -> None:
    recording = Recording(RECORDING)
    assert len(recording) == 120
    rows = recording.start_indices("train", length=3)
    segment = recording.segments(rows[:4], 3)
    assert segment.obs.shape == (4, 4, 1, 6, 4)
    assert segment.privileged is not None
    row, column = segment.privileged[..., :2].long().unbind(-1)
    pixels = segment.obs[:, :, 0].flatten(2).gather(2, (4 * row + column)[..., None])
    assert (pixels == 255).all(), "the ball is where the true state says"
