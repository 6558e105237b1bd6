"""Tracking by other tools: they get what TensorBoard gets, once, offline, and never stop a run."""

import json
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from killed_runs import CATCH, LOGGED, run_with_kills, scalars

from reverie import train
from reverie.agents.policies import RandomPolicy
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.experiments.datasets.collect import collect
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions import trackers, tracking
from reverie.experiments.sessions.driver import Process
from reverie.experiments.sessions.options import PretrainOptions, RunOptions
from reverie.experiments.sessions.throughput import MACHINE_DEPENDENT, without_machine_metrics
from reverie.experiments.sessions.trackers import RunDescription, TrackerName, Values
from reverie.experiments.training.densities import DensityPretraining
from reverie.experiments.training.pretrain import pretrain
from reverie.world_models.density.histogram import HistogramConfig

from sample_agents import OPTIONS

Points = Counter[tuple[str, int, float]]


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps what the tools write in a temporary folder, and their servers out."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


def wandb_records(path: Path) -> Iterator[Any]:
    """Yield the records of a file of Weights & Biases, a log in LevelDB's format."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    data, position, whole = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if (left := 32768 - position % 32768) < 7:  # no header fits in the block
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + 7])
        whole, position = whole + data[position + 7 : position + 7 + size], position + 7 + size
        if kind in (1, 4):  # the whole of a record, or the end of one
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def wandb_points(folder: Path) -> tuple[set[str], Points]:
    """Return the ids of all sessions of a run, and their points."""
    ids, points = set(), Points()
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        deadline = time.monotonic() + 60  # its own process writes the file
        while not any(record.HasField("exit") for record in wandb_records(path)):
            assert time.monotonic() < deadline, f"{path} is incomplete"
            time.sleep(0.1)
        for record in wandb_records(path):
            ids |= {record.run.run_id} if record.HasField("run") else set()
            row = {x.nested_key[0]: x.value_json for x in record.history.item if x.nested_key}
            step = int(row.pop("global_step", -1))
            for name, value in row.items():
                if not name.startswith("_") and "." not in name:  # no file
                    points[name, step, float(value)] += 1
    return ids, points


def mlflow_points(folder: Path) -> tuple[set[str], Points]:
    from mlflow.tracking import MlflowClient

    client, points = MlflowClient(f"file:{Path.cwd() / 'mlruns'}"), Points()
    experiment = client.get_experiment_by_name("reverie")
    assert experiment
    runs = list(client.search_runs([experiment.experiment_id]))
    for name in runs[0].data.metrics:
        for x in client.get_metric_history(runs[0].info.run_id, name):
            points[name, x.step, x.value] += 1
    assert runs[0].data.params["total_timesteps"] == "200", "that of the first session"
    assert runs[0].info.status == "FINISHED"
    assert [x.path for x in client.list_artifacts(runs[0].info.run_id)] == ["figures"]
    return {run.info.run_id for run in runs}, points


def events(folder: Path) -> Points:
    """Return TensorBoard's points, as float32 as they are."""
    return Points((name, *x) for name, points in scalars(folder).items() for x in points)


def rounded(points: Points) -> Points:
    kept = Points()
    for (name, step, value), count in points.items():
        if not name.startswith(MACHINE_DEPENDENT):
            kept[name, step, struct.unpack("f", struct.pack("f", value))[0]] += count
    return kept


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(CATCH, tmp_path_factory.mktemp("runs") / "whole", LOGGED)


@pytest.mark.parametrize("tool", get_args(TrackerName))
def test_a_killed_run_is_tracked_once_and_learns_as_if_it_were_not(
    tool: TrackerName, whole: Run
) -> None:
    folder = Path("runs") / "killed"
    run = run_with_kills(folder, CATCH, replace(LOGGED, track=tool), [(200, 380)])
    ids, points = {"wandb": wandb_points, "mlflow": mlflow_points}[tool](folder)
    assert len(ids) == 1, "one run of the tool for three sessions"
    assert json.loads((folder / tracking.FILE).read_text())[tool]["id"].startswith(*ids)
    assert rounded(points) == events(whole.folder)
    assert {"charts/episodic_return", "eval/return", "losses/td_loss"} <= {x for x, *_ in points}
    for name in ("metrics.jsonl", "episodes.jsonl", "evaluations.jsonl"):
        rows = [[without_machine_metrics(x) for x in y.read_lines(name)] for y in (run, whole)]
        assert rows[0] == rows[1]


class FakeTracker:
    """Keeps points, and fails once it has some."""

    id, place = "id", "nowhere"

    def __init__(self, fails: Sequence[str]) -> None:
        self.fails, self.points = fails, list[tuple[int, Values]]()

    def log(self, points: Sequence[tuple[int, Values]]) -> None:
        if self.points and "log" in self.fails:
            raise OSError(28, "No space left on device")
        self.points += points

    def log_file(self, path: Path, name: str, step: int) -> None:
        if "log_file" in self.fails:
            raise ConnectionError("no network\nat all.")

    def close(self, *, finished: bool) -> None:
        if "close" in self.fails:
            raise RuntimeError("lost")


@pytest.mark.parametrize("fails", ["connect", "log", "log_file", "close"])
def test_a_failure_of_the_tool_is_one_warning_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def connect(tool: TrackerName, about: RunDescription, id: str | None) -> FakeTracker:
        assert about.tags == ("dqn", "mlp", "catch", "own")
        assert about.name == "run"
        if fails == "connect":
            raise TimeoutError("no answer")
        return FakeTracker([fails])

    told: list[str] = []
    monkeypatch.setattr(tracking, "connect", connect)
    monkeypatch.setattr(Process, "tell", lambda _, text: told.append(text))
    run = train(CATCH, tmp_path / "run", replace(LOGGED, track="wandb"))
    warnings = [text for text in told if text.startswith("Warning: ")]
    assert run.finished
    assert len(warnings) == 1
    assert "wandb gets nothing more of this session" in warnings[0]
    assert ".." not in warnings[0]
    assert "\n" not in warnings[0]


def test_media_that_are_links_are_not_tracked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    class Named(FakeTracker):
        def log_file(self, path: Path, name: str, step: int) -> None:
            names.append(name)

    monkeypatch.setattr(tracking, "connect", lambda *args: Named([]))
    (tmp_path / "run" / "videos").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "run" / "videos" / "a.mp4").symlink_to(tmp_path / "secret")
    (tmp_path / "run" / "videos" / "b.mp4").write_text("film")
    train(CATCH, tmp_path / "run", replace(OPTIONS, track="wandb"))
    assert [name for name in names if name.endswith(".mp4")] == ["videos/b.mp4"]


def test_a_missing_package_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(trackers, "import_module", missing)
    with pytest.raises(UsageError, match=r"pip install 'reverie\[mlflow\]'"):
        train(CATCH, tmp_path / "run", replace(OPTIONS, track="mlflow"))
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_damaged_file_begins_a_new_run_of_the_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[FakeTracker] = []
    ids: list[str | None] = []

    def connect(tool: TrackerName, about: RunDescription, id: str | None) -> FakeTracker:
        ids.append(id)
        found.append(FakeTracker([]))
        return found[-1]

    monkeypatch.setattr(tracking, "connect", connect)
    options = replace(OPTIONS, log_every=40, track="wandb")
    for length, damage in ((40, '{"wandb": 3}'), (80, "{"), (120, None)):
        train(replace(CATCH, total_timesteps=length), tmp_path / "run", options)
        if damage is not None:
            (tmp_path / "run" / tracking.FILE).write_text(damage)
    assert ids == [None] * 3
    assert [max(step for step, _ in x.points) for x in found] == [40, 80, 120]


def test_pretraining_is_tracked(tmp_path: Path) -> None:
    collect(RandomPolicy(3), CatchConfig(), tmp_path / "data", frames=200)
    job = DensityPretraining((tmp_path / "data",), density=HistogramConfig(), num_updates=4)
    shared = {x: getattr(OPTIONS, x) for x in RunOptions.__dataclass_fields__}
    options = PretrainOptions(**shared | {"log_every": 2, "track": "wandb"})
    run: Run = pretrain(job, tmp_path / "run", options)
    assert rounded(wandb_points(run.folder)[1]) == events(run.folder) != Points()
