"""Seeds of a task that train together end as the tasks of each alone, also if one of them fails."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reverie.agents.dqn import DQNConfig
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import NumericalError, RunError
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.evaluation.run_evaluation import Evaluation
from reverie.experiments.runs.run import Run
from reverie.experiments.runs.scores import read_scores
from reverie.experiments.sessions.options import TrainOptions
from reverie.experiments.training import logs
from reverie.experiments.training import task as task_module
from reverie.experiments.training import train as train_module
from reverie.experiments.training.task import SeedsTask, Task

AGENT = DQNConfig(learning_starts=40, buffer_size=150, batch_size=8, exploration_steps=100)
EXPERIMENT = Experiment(AGENT, CatchConfig(6, 5), num_envs=3, total_timesteps=120)
OPTIONS = TrainOptions(device="cpu", threads=1, quiet=True, random_play_seconds=0.0)


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "learning_curve", lambda run: None)


def tasks(folder: Path) -> tuple[Task, Task]:
    first, second = (
        Task(replace(EXPERIMENT, seed=s), folder / f"s{s}", OPTIONS, Evaluation(episodes=5))
        for s in range(2)
    )
    return first, second


def scores(tasks: Sequence[Task]) -> list[Any]:
    return [read_scores(task.folder / "scores.json").scores for task in tasks]


def test_seeds_have_the_folders_and_scores_that_they_have_alone(tmp_path: Path) -> None:
    alone, together = tasks(tmp_path / "alone"), tasks(tmp_path / "together")
    for task in alone:
        task.execute()
    work = SeedsTask(together)
    assert (work.name, work.folder) == ("s0 with seed 1", tmp_path / "together" / "s0")
    work.execute()
    assert scores(together) == scores(alone)
    assert all(task.scores for task in together)
    before = [(task.folder / "scores.json").stat().st_mtime_ns for task in together]
    work.execute()
    assert [(x.folder / "scores.json").stat().st_mtime_ns for x in together] == before


def test_a_seed_that_fails_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tasks(tmp_path)
    train = train_module.train

    def fail_together(*args: Any, **settings: Any) -> list[Run]:
        raise NumericalError("a loss is nan.")

    def fail(experiment: Experiment, *args: Any) -> Run:
        if experiment.seed == 0:
            raise NumericalError("the loss of seed 0 is nan")
        return train(experiment, *args)

    monkeypatch.setattr(task_module, "train_together", fail_together)
    monkeypatch.setattr(task_module, "train", fail)
    with pytest.raises(RunError, match=r"^s0: the loss of seed 0 is nan$"):
        SeedsTask((first, second)).execute()
    assert not first.scores
    assert second.scores


def test_interrupted_seeds_are_not_evaluated(tmp_path: Path) -> None:
    both = tuple(replace(x, options=replace(OPTIONS, max_minutes=1e-6)) for x in tasks(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        SeedsTask(both).execute()
    assert not [*tmp_path.rglob("scores.json")]
