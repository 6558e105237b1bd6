"""Run folders of finished runs that were never trained, for the logic of grids."""

import json
from collections.abc import Callable, Iterator, Sequence

from reverie.experiments.ablation.grid_tasks import AnyTask, tasks_of
from reverie.experiments.config.serialization import encode_job
from reverie.experiments.evaluation.evaluate import longest_episode
from reverie.experiments.runs.files import FORMAT
from reverie.experiments.runs.run import Run
from reverie.experiments.runs.scores import Scores, scores_file
from reverie.experiments.sessions.executor import TaskResult
from reverie.experiments.training.task import Task


def finish(task: Task, score: float) -> None:
    """Write a run folder as the task would leave it, with a score."""
    env, steps = task.experiment.env, task.experiment.total_timesteps
    episodes = task.evaluation.episodes
    scores = Scores(
        env.env_name, env.protocol_label, env.eval_epsilon, 0, episodes,
        (score,) * episodes, (1,) * episodes, steps=steps, suite=env.suite,
        stochastic=task.evaluation.stochastic,
        max_steps=task.evaluation.max_steps or longest_episode(env),
    )  # fmt: skip
    checkpoint = Run(task.folder).checkpoints.path(steps)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.touch()
    config = {"format": FORMAT} | encode_job(task.experiment, task.folder, task.options.imports)
    (task.folder / "config.json").write_text(json.dumps(config))
    name = scores_file(stochastic=task.evaluation.stochastic)
    (task.folder / name).write_text(json.dumps(scores.to_json()))


class FakeExecutor:
    """Finishes each task at once with the score that a function gives it; None is a failure."""

    def __init__(self, score: Callable[[Task], float | None]) -> None:
        self.score = score
        self.work: list[AnyTask] = []

    def execute(self, tasks: Sequence[AnyTask]) -> Iterator[TaskResult[AnyTask]]:
        for work in tasks:
            self.work.append(work)
            error = ""
            for task in tasks_of(work):
                score = self.score(task)
                if score is None:
                    error = "it failed"
                else:
                    finish(task, score)
            yield TaskResult(work, 0.0, error)

    def stop(self) -> None:
        pass
