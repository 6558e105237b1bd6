"""Runs that are killed between their checkpoints, and the events that TensorBoard reads of them."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reverie import Experiment, train
from reverie.envs.catch import CatchConfig
from reverie.envs.interface import Transition
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.callbacks import Callback
from reverie.experiments.sessions.options import TrainOptions
from reverie.experiments.sessions.throughput import MACHINE_DEPENDENT

from sample_agents import DQN, OPTIONS

CATCH = Experiment(DQN, CatchConfig(rows=5, columns=4), total_timesteps=480, num_envs=4)
LOGGED = replace(OPTIONS, log_every=40, eval_every=120, eval_episodes=2)
SETTINGS = {"scalars": 0, "histograms": 0, "tensors": 0}


class Killed(BaseException):
    pass


class Kill(Callback):
    """Ends the process, as it were, after a step: no checkpoint follows."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_transition(self, t: Transition, step: int) -> None:
        if step >= self.step:
            raise Killed


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return (step, value) of every event by name, without those of the machine."""
    board = EventAccumulator(str(folder), size_guidance=SETTINGS).Reload()
    return {
        name: [(event.step, event.value) for event in board.Scalars(name)]
        for name in board.Tags()["scalars"]
        if not name.startswith(MACHINE_DEPENDENT)
    }


def run_with_kills(
    folder: Path, experiment: Experiment, options: TrainOptions, kills: Iterable[tuple[int, int]]
) -> Run:
    """Train a run whose sessions end at a checkpoint and are then killed at a later step."""
    for checkpoint, step in kills:
        if checkpoint:
            train(replace(experiment, total_timesteps=checkpoint), folder, options)
        with pytest.raises(Killed):
            train(experiment, folder, options, [Kill(step)])
    return train(experiment, folder, options)
