"""Runs of Weights & Biases and of MLflow, each an optional package (extras wandb and mlflow).

Both write to the local disk unless their own environment variables name a server.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from time import time_ns
from typing import Any, Literal, Protocol, runtime_checkable
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from ...envs.errors import UsageError

TrackerName = Literal["wandb", "mlflow"]

Values = Mapping[str, float | NDArray[np.float64]]
"""Metrics by name; an array holds the counts of the values 0, 1, 2, ..."""
BATCH_SIZE = {"metrics": 1000, "params": 100}
"""Greatest numbers of metrics and of parameters in one request to MLflow."""
USUAL_ENVIRONMENT = {
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # training waits for them
}
"""Environment variables of the tools that are set unless the user has."""
MEDIA = {".mp4": "Video", ".png": "Image"}
"""Weights & Biases' class for files of each suffix."""


@dataclass(frozen=True)
class RunDescription:
    """What a tracker shows of a run beside its metrics."""

    folder: Path
    settings: dict[str, Any]
    """The command, and every setting by dotted path."""
    tags: tuple[str, ...]
    """Names of the parts, the env and the protocol."""

    @property
    def name(self) -> str:
        """The run folder's path below the working folder, or else its name."""
        path = os.path.relpath(self.folder)
        return self.folder.name if path.startswith("..") else Path(path).as_posix()


@runtime_checkable
class Tracker(Protocol):
    """One run in another tool."""

    id: str
    """What continues the same run in a later session."""
    place: str
    """Where the run is, as a clause for the user."""

    def log(self, points: Sequence[tuple[int, Values]]) -> None:
        """Log values by name at their steps, which need not ascend."""

    def log_file(self, path: Path, name: str, step: int) -> None:
        """Log a video or a figure, a copy of which is kept."""

    def close(self, *, finished: bool) -> None:
        """End the session; the run is complete if it is finished."""


class WandbTracker:
    """A run of Weights & Biases in the run folder, offline unless WANDB_MODE is set.

    Metrics have the x-axis ``global_step``, as in CleanRL. Nothing is patched, and neither the
    console, the code nor the machine's load are recorded.
    """

    def __init__(self, about: RunDescription, id: str | None) -> None:
        import wandb

        mode: Any = os.environ.get("WANDB_MODE", "offline")
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "reverie"),
            id=id or uuid4().hex[:8],
            resume="allow",
            reinit="create_new",  # runs of several seeds are in one process
            name=about.name,
            tags=[tag[:64] for tag in about.tags],
            config=about.settings,
            dir=about.folder,
            mode=mode,
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True
            ),
        )
        self.id, self.place = self.run.id, f"in {about.folder / 'wandb'}"
        if mode == "offline":
            self.place += f"; `wandb sync {about.folder}/wandb/offline-run-*` uploads it"
        self.run.define_metric("global_step")
        self.run.define_metric("*", step_metric="global_step")

    def log(self, points: Sequence[tuple[int, Values]]) -> None:
        import wandb

        for step, values in points:
            row = {
                name: wandb.Histogram(np_histogram=(x, np.arange(len(x) + 1) - 0.5))
                if isinstance(x, np.ndarray)
                else x
                for name, x in values.items()
            }
            self.run.log({"global_step": step} | row)

    def log_file(self, path: Path, name: str, step: int) -> None:
        import wandb

        media = getattr(wandb, MEDIA[path.suffix])(str(path))
        self.run.log({"global_step": step, name: media})

    def close(self, *, finished: bool) -> None:
        self.run.finish(exit_code=0)


class MlflowTracker:
    """A run of MLflow, below ``mlruns`` in the working folder unless MLFLOW_TRACKING_URI is set.

    ``id`` is that of the store too, a text "ID at URI". MLflow has no histograms.
    """

    def __init__(self, about: RunDescription, id: str | None) -> None:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        run_id, _, known_uri = (id or "").partition(" at ")
        default = known_uri or (Path.cwd() / "mlruns").as_uri()
        uri = os.environ.get("MLFLOW_TRACKING_URI", default)
        if uri.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self.client = MlflowClient(uri)
        try:
            self.client.update_run(run_id, status="RUNNING")
        except MlflowException:  # there is none of this id
            run_id = self._create(about)
        self.run_id, self.id, self.place = run_id, f"{run_id} at {uri}", f"in {uri}"

    def _create(self, about: RunDescription) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "reverie")
        experiment = self.client.get_experiment_by_name(name)
        place = experiment.experiment_id if experiment else self.client.create_experiment(name)
        tags = dict.fromkeys(about.tags, "")
        run_id: str = self.client.create_run(place, tags=tags, run_name=about.name).info.run_id
        params = iter([Param(name, str(x)[:6000]) for name, x in about.settings.items()])
        while batch := list(islice(params, BATCH_SIZE["params"])):
            self.client.log_batch(run_id, params=batch)
        return run_id

    def log(self, points: Sequence[tuple[int, Values]]) -> None:
        from mlflow.entities import Metric

        now = time_ns() // 10**6
        metrics = iter(
            [
                Metric(name, float(x), now, step)
                for step, values in points
                for name, x in values.items()
                if not isinstance(x, np.ndarray)
            ]
        )
        while batch := list(islice(metrics, BATCH_SIZE["metrics"])):
            self.client.log_batch(self.run_id, metrics=batch)

    def log_file(self, path: Path, name: str, step: int) -> None:
        self.client.log_artifact(self.run_id, str(path), str(Path(name).parent))

    def close(self, *, finished: bool) -> None:
        self.client.set_terminated(self.run_id, "FINISHED" if finished else "KILLED")


def connect(tracker: TrackerName, about: RunDescription, id: str | None) -> Tracker:
    """Return a run of a tool: that of ``id``, or a new one if there is none of it any more."""
    return WandbTracker(about, id) if tracker == "wandb" else MlflowTracker(about, id)


def import_tool(tracker: TrackerName) -> None:
    """Import a tool's package, which takes seconds and reads its environment variables.

    Raises UsageError, which names the extra, if the package is not installed.
    """
    for name, value in USUAL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import_module(tracker)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--track is {tracker}, and {error.name} is not installed; run "
            f"`pip install 'reverie[{tracker}]'`, or leave out --track."
        ) from error
