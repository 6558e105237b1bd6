"""Sweeps: which trials continue, and that a sweep killed anywhere ends as an uninterrupted one."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_runs import FakeExecutor

from reverie.experiments.ablation.grid import make_grid
from reverie.experiments.ablation.grid_tasks import AnyTask
from reverie.experiments.cli import main as cli
from reverie.experiments.config.config_file import take_config
from reverie.experiments.config.roles import part_at
from reverie.experiments.runs.scores import read_scores
from reverie.experiments.sessions.executor import TaskResult, seconds_of
from reverie.experiments.sweeps import search
from reverie.experiments.training.task import Task

ARGS = (
    "sweep dqn env:catch --agent.learning-rate 1e-5..1e-2 --agent.gamma 0.9,0.99 --num-envs 4 "
    "--total-timesteps 4000 --trials 6 --halving 3 --min-timesteps 400 --episodes 1 "
    "--device cpu"
)
Fake = Callable[[Task], float | None]


def score(task: Task) -> float:
    """Learning rates near 1e-3 are best in the end, and larger ones at first."""
    rate: float = part_at(task.experiment, "agent.learning_rate")
    late = min(1.0, task.experiment.total_timesteps / 2000)
    return 100 * (rate * (1 - late) - abs(rate - 1e-3) * late) + task.experiment.seed


class Killed(FakeExecutor):
    """Is interrupted after some results, before or after the last one is told."""

    def __init__(self, count: int, *, told: bool) -> None:
        super().__init__(score)
        self.count, self.told = count, told

    def execute(self, tasks: Sequence[AnyTask]) -> Iterator[TaskResult[AnyTask]]:
        for result in super().execute(tasks):
            self.count -= 1
            if self.count == 0 and not self.told:
                raise KeyboardInterrupt
            yield result
            if self.count == 0:
                raise KeyboardInterrupt


class InProcess(FakeExecutor):
    """Executes each task at once in this process."""

    def execute(self, tasks: Sequence[AnyTask]) -> Iterator[TaskResult[AnyTask]]:
        for task in tasks:
            yield TaskResult(task, seconds_of(task))


Sweep = Callable[..., tuple[int, str]]


@pytest.fixture
def sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Sweep:
    """Return the status and the output of a sweep in a folder, with more arguments."""
    monkeypatch.chdir(tmp_path)

    def call(args: str = "", folder: str = "s", executor: Any = None) -> tuple[int, str]:
        monkeypatch.setattr(search, "make_executor", lambda options: executor)
        try:
            status = cli.main([*ARGS.split(), "--folder", folder, *args.split()])
        except SystemExit as exit:
            status = int(exit.code or 0)
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return call


def table_of(output: str) -> str:
    table = output[output.index("\n  trial  score") :].partition("\nThe score of the best")[0]
    return table.partition("\n  and ")[0]


def test_the_best_trials_of_each_rung_continue(sweep: Sweep, tmp_path: Path) -> None:
    executor = FakeExecutor(score)
    status, output = sweep("--trials 9 --seeds 2", executor=executor)
    assert status == 0
    ran: dict[int, set[float]] = {}
    for task in executor.work:
        assert isinstance(task, Task)
        rate = part_at(task.experiment, "agent.learning_rate")
        ran.setdefault(task.experiment.total_timesteps, set()).add(rate)
    assert [*map(len, ran.values())] == [9, 3, 1, 1]
    assert [*ran] == [400, 1200, 3600, 4000]

    def key(steps: int, rate: float) -> float:
        late = min(1.0, steps / 2000)
        return -(rate * (1 - late) - abs(rate - 1e-3) * late)

    for (steps, rates), following in zip([*ran.items()][:3], [*ran.values()][1:], strict=True):
        assert following == {*sorted(rates, key=lambda x: key(steps, x))[: len(following)]}
    data = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert sum(trial["means"]["4000"] is not None for trial in data["trials"]) == 1
    first = re.search(r"\n  (\d+) .* 4,000 ", table_of(output))
    assert first
    assert data["trials"][int(first[1])]["means"]["4000"] is not None


def test_the_table_fits_the_terminal_and_says_what_the_best_score_is_worth(sweep: Sweep) -> None:
    _, output = sweep(executor=FakeExecutor(score))
    assert max(map(len, table_of(output).splitlines())) <= 80
    assert "The score of the best of 6 trials is biased upward" in " ".join(output.split())
    command = output[output.index("  reverie ablate") :].replace("\\\n", " ")
    argv = shlex.split(command)[1:]
    assert argv[argv.index("--first-seed") + 1] == "1", "seed 0 is that of the sweep"
    rest, file = take_config(argv[1:3])
    (cell,) = make_grid(rest, file=file).cells
    best = json.loads(Path("s/sweep.json").read_text())["trials"]
    (settings,) = [x["settings"] for x in best if x["means"]["4000"] is not None]
    assert part_at(cell, "agent.learning_rate") == settings["agent.learning_rate"]
    assert cell.total_timesteps == 4000
    assert cli.main([*argv, "--steps-per-second", "9", "--dry-run", "--device", "cpu"]) == 0
    assert not {"--stochastic", "--max-steps"} & {*argv}


def test_the_best_score_is_measured_anew_as_the_sweep_measured_it(sweep: Sweep) -> None:
    _, output = sweep("--stochastic --max-steps 50", executor=FakeExecutor(score))
    argv = shlex.split(output[output.index("  reverie ablate") :].replace("\\\n", " "))
    assert "--stochastic" in argv
    assert argv[argv.index("--max-steps") + 1] == "50"


@pytest.mark.parametrize("told", [False, True])
def test_a_sweep_killed_anywhere_ends_with_the_same_table(sweep: Sweep, told: bool) -> None:
    """At the first run, at the last of a rung and at the first of the next one, and at the end."""
    status, output = sweep(executor=FakeExecutor(score), folder="whole")
    for count in (1, 6, 7, 10):
        folder, again = f"killed-{count}", FakeExecutor(score)
        assert sweep(executor=Killed(count, told=told), folder=folder)[0] == 130
        found = sweep(executor=again, folder=folder)
        assert (found[0], table_of(found[1])) == (status, table_of(output))
        assert len(again.work) == 10 - count, "no run is repeated"
        one, other = (json.loads(Path(x, "sweep.json").read_text()) for x in ("whole", folder))
        assert one == other


def test_a_finished_sweep_prints_its_table_again_and_takes_more_trials(sweep: Sweep) -> None:
    _, output = sweep(executor=FakeExecutor(score))
    again = FakeExecutor(score)
    assert table_of(sweep(executor=again)[1]) == table_of(output)
    assert not again.work
    more = FakeExecutor(score)
    _, output = sweep("--trials 8", executor=more)
    firsts = [x for x in more.work if isinstance(x, Task) and x.experiment.total_timesteps == 400]
    assert len(firsts) == 2
    whole = sweep("--trials 8", executor=FakeExecutor(score), folder="whole")[1]
    assert table_of(output) == table_of(whole)


def test_another_sweep_in_the_folder_is_refused(sweep: Sweep) -> None:
    sweep(executor=FakeExecutor(score))
    before = Path("s/sweep.json").read_bytes()
    for args, message in (
        ("--agent.gamma 0.9,0.999", "space.agent.gamma: 0.9,0.99, not 0.9,0.999"),
        ("--min-timesteps 500", "rungs"),
        ("--score training-end", "score: evaluation, not training-end"),
        ("--search-seed 1", "search_seed: 0, not 1"),
        ("--agent.batch-size 8", "experiment.agent.batch_size"),
    ):
        status, output = sweep(args, executor=FakeExecutor(score))
        assert status == 2
        assert message in " ".join(output.split())
        assert "holds another sweep" in output
        assert Path("s/sweep.json").read_bytes() == before


def test_a_trial_with_a_failed_run_does_not_continue_and_is_retried(sweep: Sweep) -> None:
    def failing(task: Task) -> float | None:
        rate = part_at(task.experiment, "agent.learning_rate")
        return None if rate > 1e-3 else score(task)

    executor = FakeExecutor(failing)
    status, output = sweep(executor=executor)
    assert status == 1
    assert re.search(r"Without a score: \d[\d, ]*\. A run of each failed", output)
    later = [x for x in executor.work if isinstance(x, Task)]
    later = [x for x in later if x.experiment.total_timesteps > 400]
    assert later
    assert all(part_at(x.experiment, "agent.learning_rate") <= 1e-3 for x in later)
    status, output = sweep(executor=FakeExecutor(score))
    assert status == 0
    whole = sweep(executor=FakeExecutor(score), folder="whole")[1]
    assert table_of(output).splitlines()[2] == table_of(whole).splitlines()[2]
    assert sweep(executor=FakeExecutor(lambda task: None), folder="none")[0] == 1


def test_a_run_past_its_rung_without_a_record_is_refused(sweep: Sweep) -> None:
    sweep(executor=FakeExecutor(score))
    Path("s/sweep.json").unlink()
    status, output = sweep(executor=FakeExecutor(score))
    assert status == 2
    assert "has no score of it there; choose another folder" in " ".join(output.split())
    Path("s/sweep.json").write_text('{"plan": 3}')
    assert sweep(executor=FakeExecutor(score))[0] == 2


def test_a_dry_run_prints_the_trials_and_makes_no_folder(sweep: Sweep, tmp_path: Path) -> None:
    status, output = sweep("--dry-run")
    assert status == 0
    assert len(re.findall(r"^  \d+ +learning_rate=", output, re.M)) == 6
    assert "6 trials up to step 400" in output
    assert not list(tmp_path.iterdir())


def test_a_sweep_says_that_its_first_rung_ends_before_the_first_update(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    argv = "sweep dqn env:catch agent.network:mlp --trials 3 --agent.gamma 0.9..0.99 --dry-run"
    options = "--agent.learning-starts 500 --total-timesteps 2000 --halving 2 --min-timesteps"
    for least, told in (("400", True), ("1000", False)):
        args = [*argv.split(), *options.split(), least, "--folder", str(tmp_path / "s")]
        assert cli.main(args) == 0
        output = " ".join(capsys.readouterr().out.split())
        expected = "In the runs of 3 trials up to step 400 no update is made: the agent's first one"
        assert (expected in output) == told


def test_the_winner_of_halving_is_the_run_that_trains_to_the_end(
    sweep: Sweep, tmp_path: Path
) -> None:
    small = "--total-timesteps 96 --min-timesteps 32 --trials 3 --agent.buffer-size 96 "
    small += "--agent.learning-starts 16 --threads 1 --quiet"
    status, output = sweep(small, executor=InProcess(score))
    assert status == 0, output
    data = json.loads((tmp_path / "s" / "sweep.json").read_text())
    (best,) = [x for x in data["trials"] if x["means"]["96"] is not None]
    name = best["runs"][0]
    alone = ["train", "--config", "s/best.yaml", "--folder", "alone", "--threads", "1"]
    assert cli.main([*alone, "--seed", "0", "--random-play-seconds", "0"]) == 0
    assert cli.main(["evaluate", "alone", "--episodes", "1", "--device", "cpu"]) == 0
    scores = [read_scores(tmp_path / x / "scores.json") for x in ("alone", f"s/{name}")]
    assert scores[0].scores == scores[1].scores
    rows = [(tmp_path / x / "episodes.jsonl").read_text() for x in ("alone", f"s/{name}")]
    assert rows[0] == rows[1]


@pytest.mark.long
def test_a_killed_process_of_a_sweep_is_continued(tmp_path: Path) -> None:
    """SIGKILL to the whole session of processes, several times."""
    args = ARGS.replace("4000", "2000")
    args += " --workers 2 --agent.buffer-size 2000 --agent.learning-starts 100 "
    args += "--checkpoint-minutes 0.02"
    command = [sys.executable, "-m", "reverie.experiments.cli.main", *args.split(), "--folder"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    for seconds in (6.0, 9.0, 12.0, 15.0):
        process = subprocess.Popen([*command, str(tmp_path / "killed")], start_new_session=True)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([*command, str(tmp_path / "killed")], check=True)
    records = [json.loads((tmp_path / x / "sweep.json").read_text()) for x in ("whole", "killed")]
    assert records[0] == records[1]
