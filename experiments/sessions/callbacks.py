"""Callbacks: consumers of what a run does, which never enter its loop."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...envs.interface import Metrics, Transition
from ...world_models.state import HasState


@dataclass(frozen=True, slots=True)
class Row:
    """One row of metrics, at an agent step (or update) and its number of frames."""

    step: int
    frames: int
    metrics: dict[str, float]
    histograms: dict[str, NDArray[np.float64]]
    """Counts of the values 0, 1, 2, ..."""


class Callback(HasState):
    """Base of all callbacks; each method is called at its event and does nothing by default.

    The attributes named in ``STATE`` belong to the checkpoints of the run, under ``name``. A
    callback that a resumed run did not have before starts with the resumed run.

    Example::

        class MeanAction(Callback):
            STATE = ("total", "count")

            def __init__(self) -> None:
                self.total = self.count = 0

            def on_transition(self, t: Transition, step: int) -> None:
                self.total += int(t.action.sum())
                self.count += len(t.action)

            def metrics(self) -> Metrics:
                return {"charts/mean_action": self.total / self.count}

        train(PRESETS["dqn"], "runs/dqn", callbacks=[MeanAction()])
    """

    @property
    def name(self) -> str:
        """Name of its state in a checkpoint, unique among the callbacks of a run."""
        return type(self).__name__

    def on_message(self, text: str) -> None:
        """Consume a sentence for the user, also before ``on_start``."""

    def on_start(self, step: int) -> None:
        """Begin at ``step``, after the checkpoint has been restored."""

    def on_transition(self, t: Transition, step: int) -> None:
        """Consume a timestep of all envs that ends at ``step``, from which the agent has learned.

        It is not called in the pretraining of a model.
        """

    def on_metrics(self, metrics: Metrics) -> None:
        """Consume what the learner returned for one timestep or update."""

    def metrics(self) -> Metrics:
        """Return the metrics of the next row; a tensor of one axis is a histogram (see ``Row``)."""
        return {}

    def on_row(self, row: Row) -> None:
        """Consume the row of all callbacks' metrics."""

    def on_checkpoint(self) -> None:
        """Write what is pending, because a checkpoint at the present step follows."""

    def on_end(self, step: int) -> None:
        """End the session, whose last checkpoint was written at ``step``."""

    def close(self) -> None:
        """Free resources, also after an error."""
