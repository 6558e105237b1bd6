"""Ablations: the cells of a grid, estimates, and executors that neither lose nor repeat runs."""

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from multiprocessing import current_process, util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reverie import Experiment, TrainOptions
from reverie.agents.bonuses.bonus import NoBonusConfig
from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.bonuses.simhash import SimHashConfig
from reverie.agents.dqn import DQNConfig
from reverie.agents.episodic.mfec import MFECConfig
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.errors import UsageError
from reverie.experiments.ablation import ablate as ablate_module
from reverie.experiments.ablation import estimate, ray_pool
from reverie.experiments.ablation.ablate_options import AblateOptions
from reverie.experiments.ablation.grid import Choice, make_grid
from reverie.experiments.ablation.grid_tasks import make_tasks
from reverie.experiments.cli import main as cli
from reverie.experiments.evaluation.run_evaluation import Evaluation, with_protocol
from reverie.experiments.runs.folder_lock import locked
from reverie.experiments.runs.run import Run
from reverie.experiments.runs.scores import read_scores
from reverie.experiments.sessions.local_pool import LocalPool
from reverie.experiments.training.task import Task
from reverie.experiments.training.train import train
from reverie.experiments.training.train_together import train_together
from reverie.world_models.density.cts import CTSConfig
from reverie.world_models.density.pixelcnn import PixelCNNConfig

ROOT = Path(__file__).parents[3]
CATCH = ("mfec", "env:catch", "--num-envs", "8", "--agent.capacity", "2000", "--device", "cpu")


def test_grid_has_each_combination_of_choices_once() -> None:
    """A bonus without a density is one cell, not one for each density."""
    grid = make_grid(
        "dqn bonus:none,pseudo-count bonus.density:cts,pixel-cnn".split(), "freeway,venture"
    )
    assert [(cell.env.env_name, cell.bonus) for cell in grid.cells] == [
        (game, bonus)
        for game in ("freeway", "venture")
        for bonus in (
            NoBonusConfig(),
            PseudoCountConfig(CTSConfig()),
            PseudoCountConfig(PixelCNNConfig()),
        )
    ]
    assert [*grid.cells.values()][:2] == [
        (Choice("bonus", "none"),),
        (Choice("bonus", "pseudo-count"), Choice("bonus.density", "cts")),
    ]
    tasks = make_tasks(grid, AblateOptions(seeds=2, evaluation=Evaluation(episodes=7)))
    assert len({task.folder for task in tasks}) == 12
    assert {task.folder.parent.name for task in tasks} == {"dqn-1000000"}
    assert [task.experiment.seed for task in tasks] == [0] * 6 + [1] * 6
    assert [replace(task.experiment, seed=0) for task in tasks] == [
        *grid.cells,
        *grid.cells,
    ]
    assert {task.evaluation.episodes for task in tasks} == {7}


def test_tasks_evaluate_under_their_own_protocol_and_film_the_first_seed() -> None:
    grid = make_grid(["mfec", "--precision", "bf16", "--import", "os"], "pong")
    evaluation = Evaluation(protocols=("mfec", "machado"), stochastic=True, video=True)
    options = AblateOptions(seeds=2, evaluation=evaluation, threads=3)
    first, second = make_tasks(grid, options)
    assert first.evaluation == replace(evaluation, protocols=("", "machado"))
    assert second.evaluation == replace(first.evaluation, video=False)
    assert first.options == TrainOptions(
        precision="bf16", threads=3, random_play_seconds=0, imports=("os",)
    )
    assert pickle.loads(pickle.dumps(first)) == first


def test_settings_belong_to_one_choice_and_flags_to_all() -> None:
    grid = make_grid(
        "dqn env:catch,deep-sea+size=5 bonus:simhash,simhash+scale=0.3+bits=64 "
        "--total-timesteps 70".split()
    )
    cells = [*grid.cells]
    assert [cell.env for cell in cells[::2]] == [CatchConfig(), DeepSeaConfig(size=5)]
    bonuses = [SimHashConfig(), SimHashConfig(scale=0.3, bits=64)]
    assert [cell.bonus for cell in cells] == bonuses * 2
    assert {cell.total_timesteps for cell in cells} == {70}
    switched = make_grid(["mfec", "agent:mfec,mfec+store-at-lost-life,mfec+no-store-at-lost-life"])
    assert [x.agent == MFECConfig(store_at_lost_life=True) for x in switched.cells] == [False, True]
    assert str(grid.cells[cells[-1]][1]) == "bonus:simhash+scale=0.3+bits=64"
    assert len(make_grid(["mfec"], "hard").cells) == 7, "without choices: one cell per game"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("", "usage"),
        ("--games pong", "Name a preset first"),
        ("dqnn", "Did you mean dqn"),
        ("dqn bonus:none,simhsh", "Did you mean simhash"),
        ("dqn bonus:", "names no choice"),
        ("dqn bonus:none bonus.density:cts", "There is no role 'bonus.density' in any cell"),
        ("dqn bonus:simhash+scale", "--bonus.scale"),
        ("dqn bonus:simhash --seeds 0", "seeds is 0"),
        ("dqn bonus:simhash --seed 3", "--seed is for one run"),
        ("dqn env:catch --games pong", "env"),
        ("dqn --games pnog", "Did you mean pong"),
        ("dqn --games pong --protocols mcafee", "Did you mean mfec"),
        ("mfec env:catch --protocols machado", "catch has only its own protocol"),
        ("mfec env:catch --episodes 0", "episodes is 0"),
        ("mfec env:catch --ray nowhere:1 --workers 2", "ray"),
        ("dqn --workers -1", "workers is -1"),
    ],
)
def test_invalid_grid_is_refused_with_a_message(
    args: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if "--ray" in args:
        monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    try:
        status = cli.main(["ablate", *args.split()])
    except SystemExit as exit:
        status = int(exit.code or 0)
    printed = capsys.readouterr()
    assert message in printed.out + printed.err
    assert status == (0 if message == "usage" else 2)
    assert not list(tmp_path.rglob("config.json"))


def test_dry_run_prints_an_estimate_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    args = [
        "ablate",
        *CATCH,
        "--total-timesteps",
        "7200",
        "--seeds",
        "4",
        "--folder",
        str(tmp_path),
    ]
    args += ["--workers", "2", "--dry-run"]
    monkeypatch.setattr(estimate, "TRIAL_MINUTES", 1 / 60)
    assert cli.main(args) == 0
    output = capsys.readouterr().out
    assert re.search(r"About \d+ (s|min) of 1 thread in all, \d+ (s|min) with 2 at a time", output)
    output = " ".join(output.split())
    assert re.search(r"It rests on [\d,]{2,} agent steps/s per run, measured after the", output)
    assert "in trials of 1 s per variant" in output
    assert cli.main([*args, "--steps-per-second", "2"]) == 0
    output = capsys.readouterr().out
    assert "1 cell x 4 seeds = 4 runs" in output
    assert "0 finished before; 4 to run, 28,800 agent steps" in output
    # 28,800 steps at 2 per second are 4 hours of one thread, 2 hours with two runs at a time.
    assert "About 4.0 h of 1 thread in all, 2.0 h with 2 at a time" in output
    assert "It rests on 2 agent steps/s per run, given by" in output
    assert not list(tmp_path.iterdir())


def test_a_grid_says_that_runs_learn_nothing_and_that_two_seeds_decide_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = "dqn env:catch agent.network:mlp bonus:none,simhash --total-timesteps 2000 --dry-run"
    args = ["ablate", *grid.split(), "--folder", str(tmp_path), "--steps-per-second", "9"]
    assert cli.main([*args, "--seeds", "2"]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert (
        "In the runs of 2 cells no update is made: the agent's first one is at step 50," in output
    )
    assert "Fewer than 3 seeds allow no verdict." in output
    assert cli.main([*args, "--seeds", "3", "--agent.learning-starts", "500"]) == 0
    output = capsys.readouterr().out
    assert "no update is made" not in output
    assert "Fewer" not in output


def test_interrupted_trial_ends_the_dry_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = []

    def interrupt(experiment: Experiment, folder: str, options: TrainOptions, **more: Any) -> Run:
        trials.append(experiment)
        threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
        return train(experiment, folder, options)

    monkeypatch.setattr(estimate, "train", interrupt)
    args = ["ablate", *CATCH, "agent:mfec,mfec+gamma=0.9", "--folder", str(tmp_path)]
    assert cli.main([*args, "--dry-run"]) == 130
    assert len(trials) == 1, "no other variant has a trial"
    assert "About" not in capsys.readouterr().out


def test_trial_has_the_options_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trial has the requested precision, and a short warmup."""
    trials = []

    def record(experiment: Experiment, folder: str, options: TrainOptions, **more: Any) -> Run:
        trials.append((experiment, options))
        return train(experiment, folder, options, **more)

    monkeypatch.setattr(estimate, "train", record)
    monkeypatch.setattr(estimate, "TRIAL_MINUTES", 1 / 60)
    args = [
        "ablate",
        "dqn",
        "env:catch",
        "agent.network:mlp",
        "--precision",
        "bf16",
        "--seeds",
        "2",
    ]
    assert cli.main([*args, "--folder", str(tmp_path), "--dry-run"]) == 0
    assert "measured after the first update" in capsys.readouterr().out
    ((experiment, options),) = trials
    assert (options.precision, options.threads) == ("bf16", 1)
    assert isinstance(experiment.agent, DQNConfig)
    assert experiment.agent.learning_starts == 500


def test_an_estimate_counts_seeds_that_train_together_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = "ablate dqn env:catch agent.network:mlp --total-timesteps 7200 --seeds 4 --device cpu "
    args += f"--seeds-together 4 --workers 1 --dry-run --folder {tmp_path}"
    assert cli.main([*args.split(), "--steps-per-second", "2"]) == 0
    # Four seeds of 7,200 steps take the time of one.
    assert "About 60 min of 1 thread in all" in capsys.readouterr().out
    trials = []

    def record(experiments: list[Experiment], *args: Any, **more: Any) -> list[Run]:
        trials.append([x.seed for x in experiments])
        return train_together(experiments, *args, **more)

    monkeypatch.setattr(estimate, "train_together", record)
    monkeypatch.setattr(estimate, "TRIAL_MINUTES", 1 / 30)
    assert cli.main(args.split()) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "agent steps/s per run, 4 of which train together, measured after" in output
    assert trials == [[0, 1, 2, 3]]


def test_a_trial_is_measured_over_whole_cycles_after_the_first_update() -> None:
    """Steps of 10 take 1 s; the first update is at 100, and every tenth step updates for 5 s."""
    marks, now = list[tuple[int, float]](), 0.0
    for step in range(10, 560, 10):
        now += 6.0 if step >= 100 and step % 100 == 0 else 1.0
        marks.append((step, now))
    assert estimate.measured_sps(marks, 100, 100) == pytest.approx(100 / 15)
    assert estimate.measured_sps(marks[:30], 10_000, 100) == pytest.approx(100 / 15, rel=0.2)
    with pytest.raises(UsageError, match="--steps-per-second"):
        estimate.measured_sps(marks[:9], 100, 100)


def test_estimate_is_the_mean_of_the_started_runs_of_a_variant(tmp_path: Path) -> None:
    grid = make_grid("dqn bonus:none,simhash,surprise".split(), "pong,freeway")
    tasks = make_tasks(grid, AblateOptions(seeds=2, folder=str(tmp_path)))

    def start(task: Task, sps: float) -> None:
        task.folder.mkdir()
        row = {
            "step": 10,
            "frames": 40,
            "charts/episodes": 0,
            "charts/SPS": 1.0,
            "charts/mean_SPS": sps,
        }
        (task.folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")

    start(tasks[0], 300.0)  # none, pong, seed 0
    start(tasks[1], 10.0)  # simhash, pong, seed 0
    start(tasks[10], 30.0)  # simhash, freeway, seed 1
    values, source = estimate.estimate_sps(tasks)
    mean = 3 / (1 / 300 + 1 / 10 + 1 / 30)
    # The mean over equal numbers of steps is harmonic.
    assert values == pytest.approx([300.0, 15.0, mean] * 4)
    assert source == "measured in 3 runs"


def test_grid_ends_with_a_report_and_is_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablate_module, "RESULTS", tmp_path)
    args = [
        "ablate",
        *CATCH,
        "agent.representation:projection,projection+dim=4",
        "--total-timesteps",
        "800",
    ]
    args += ["--seeds", "1", "--episodes", "8", "--folder", str(tmp_path), "--workers", "2"]
    assert cli.main(args) == 0
    first = capsys.readouterr().out
    assert "[2/2]" in first
    runs = sorted(path.parent for path in tmp_path.glob("*/scores.json"))
    assert len(runs) == 2
    assert [json.loads((run / "scores.json").read_text())["steps"] for run in runs] == [800] * 2
    assert "agent.representation.dim 4" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "report.md").exists()
    assert all((run / "videos" / "evaluation.mp4").exists() for run in runs)
    assert "<video" in (tmp_path / "report.html").read_text()
    before = [(run / "scores.json").stat().st_mtime_ns for run in runs]
    assert cli.main([*args, "--dry-run"]) == 0
    assert "2 finished before; 0 to run, 0 agent steps" in capsys.readouterr().out
    assert cli.main(args) == 0
    assert "[1/" not in capsys.readouterr().out
    assert [(run / "scores.json").stat().st_mtime_ns for run in runs] == before
    # Only the evaluations of the same checkpoints with stochastic actions remain to be done.
    assert cli.main([*args, "--stochastic", "--save", "sampled"]) == 0
    assert "[2/2]" in capsys.readouterr().out
    sampled = [json.loads((run / "scores-stochastic.json").read_text()) for run in runs]
    assert [(scores["stochastic"], scores["steps"]) for scores in sampled] == [(True, 800)] * 2
    assert "own, as in training" in (tmp_path / "report.md").read_text()
    data = json.loads((tmp_path / "ablations" / "sampled.json").read_text())
    assert data["protocol"] == "own, as in training"
    assert "--stochastic" in data["command"]
    assert [run["scores"] for run in data["runs"]] == [scores["scores"] for scores in sampled]


def test_a_grid_until_decided_continues_with_seeds_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is interrupted after the first process, and its seeds end as those of single runs."""
    args = "ablate dqn env:catch bonus:none,simhash agent.network:mlp --device cpu --num-envs 4 "
    args += "--agent.network.hidden 16 --agent.learning-starts 40 --agent.buffer-size 200 "
    args += "--total-timesteps 200 --episodes 4 --no-video --workers 1 --score training-mean "
    args += f"--until decided --max-seeds 4 --seeds-together 4 --folder {tmp_path}"
    execute = LocalPool.execute

    def interrupted(pool: LocalPool, tasks: Any) -> Any:
        yield next(execute(pool, tasks))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LocalPool, "execute", interrupted)
        assert cli.main(args.split()) == 130
    assert len([*tmp_path.glob("*/scores.json")]) == 4
    assert cli.main(args.split()) == 0
    output = capsys.readouterr().out
    assert "Interrupted: the same command continues." in output
    assert re.search(r"\[4/4\] dqn-catch-s0-\S*simhash\S* with seeds 1, 2, 3 in", output)
    assert "Verdicts by the training-mean score" in output
    assert "training-mean" in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "verdict_rule.json").read_text())["analyses"] == [4]
    (run,) = tmp_path.glob("dqn-catch-s2-*simhash*")
    flags = args.partition("--total-timesteps")[0].replace("ablate", "train")
    single = flags.replace("none,simhash", "simhash") + "--total-timesteps 200 --seed 2 --threads 1"
    assert cli.main([*single.split(), "--folder", str(tmp_path / "single"), "--quiet"]) == 0
    episodes = [(x / "episodes.jsonl").read_text() for x in (run, tmp_path / "single")]
    assert episodes[0] == episodes[1] != ""


EXPERIMENT = Experiment(MFECConfig(capacity=2000), CatchConfig(), num_envs=8, total_timesteps=80)
OPTIONS = TrainOptions(device="cpu", threads=1)


def long_task(folder: Path, steps: int) -> Task:
    """Return a task with frequent checkpoints."""
    return Task(
        replace(EXPERIMENT, total_timesteps=steps),
        folder,
        replace(OPTIONS, log_every=80, checkpoint_minutes=0),
        Evaluation(episodes=8),
    )


def wait_for_process(folder: Path, text: str) -> int:
    """Wait for a text in the run's log and for a checkpoint, and return the process id."""
    deadline, log = time.monotonic() + 120, folder / "log.txt"
    while not (log.exists() and text in log.read_text() and Run(folder).checkpoints.steps()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int((folder / "lock").read_text().split()[0])


def test_killed_process_is_replaced_and_an_interrupted_task_continues(tmp_path: Path) -> None:
    task, pool = long_task(tmp_path / "run", steps=10**6), LocalPool(1)
    results = pool.execute([task])

    def kill() -> None:
        os.kill(wait_for_process(task.folder, "starts"), signal.SIGKILL)
        # As by hand: the run writes a checkpoint and ends.
        os.kill(wait_for_process(task.folder, "continues at step"), signal.SIGTERM)

    thread = threading.Thread(target=kill)
    thread.start()
    result = next(results)
    thread.join()
    assert result.crashes == 1
    assert "interrupted" in result.error
    reached = task.trained_timesteps
    assert 0 < reached < 10**6
    shorter = long_task(task.folder, steps=reached + 80)
    assert not shorter.scores
    (result,) = pool.execute([shorter])
    assert (result.error, shorter.trained_timesteps) == ("", reached + 80)
    assert [scores.steps for scores in shorter.scores] == [reached + 80]


def test_task_fails_after_its_retries_and_others_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = LocalPool(2, retries=1)
    wrong = Task(EXPERIMENT, tmp_path / "wrong", replace(OPTIONS, device="abacus"))
    good = Task(EXPERIMENT, tmp_path / "good", OPTIONS, Evaluation(episodes=8))
    by_name = {result.task.folder.name: result for result in pool.execute([wrong, good])}
    assert "no device 'abacus'" in by_name["wrong"].error
    assert by_name["good"].error == ""
    assert by_name["good"].seconds > 0
    fatal = Task(EXPERIMENT, tmp_path / "fatal", replace(OPTIONS, imports=("fatal",)))
    (tmp_path / "fatal.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.chdir(tmp_path)
    (result,) = pool.execute([fatal])
    log = tmp_path / "fatal" / "log.txt"
    assert result.error == f"its process died, the last time of signal 9 (Killed); see {log}"
    assert result.crashes == 1
    (tmp_path / "fatal.py").write_text("import ctypes; ctypes.string_at(0)")
    (result,) = pool.execute([fatal])
    reason = "the last time of signal 11 (Segmentation fault)"
    assert result.error == f"its process died, {reason}; see {log}"
    assert "Fatal Python error: Segmentation fault" in log.read_text()
    assert f'File "{tmp_path}/fatal.py", line 1' in log.read_text()


def test_a_long_folder_of_temporary_files_leaves_room_for_a_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of a socket has at most 107 bytes."""
    folder = tmp_path / "temporary".ljust(130, "-")
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    settings: Any = current_process()
    monkeypatch.delitem(settings._config, "tempdir", raising=False)
    LocalPool(1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{util.get_temp_dir()}/listener-12345678")
    assert tempfile.gettempdir() == str(folder)


def test_ray_workers_import_the_modules_of_the_drivers_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has another working folder, and needs a module before it unpickles the parts."""
    calls: list[Any] = []

    def remote(function: Any) -> Any:
        def call(*args: Any) -> str:
            calls.append((function, args))
            return "reference"

        return SimpleNamespace(remote=call)

    def get(reference: str) -> float:
        monkeypatch.chdir("/")
        monkeypatch.setattr(sys, "path", [x for x in sys.path if x])
        monkeypatch.setattr(ray_pool, "seconds_of", lambda task: 3.0)
        ((function, args),) = calls
        return float(function(*args))

    fake = SimpleNamespace(
        is_initialized=lambda: True,
        remote=lambda **_: remote,
        wait=lambda references, num_returns: (references, []),
        get=get,
        exceptions=SimpleNamespace(RayTaskError=KeyError, RayError=LookupError),
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.chdir(tmp_path)
    Path("ray_part.py").write_text("from pathlib import Path; Path(__file__ + '.done').touch()")
    task = Task(EXPERIMENT, tmp_path / "run", replace(OPTIONS, imports=("ray_part",)))
    (result,) = ray_pool.RayPool("auto").execute([task])
    assert (result.error, result.seconds) == ("", 3.0)
    assert (tmp_path / "ray_part.py.done").exists()
    sys.modules.pop("ray_part")


def test_runs_checkpoint_and_end_when_the_pool_dies(tmp_path: Path) -> None:
    """The end of the pipe to the pool interrupts the run."""
    args = [*CATCH, "--total-timesteps", "10000000", "--log-every", "80", "--seeds", "1"]
    command = [sys.executable, "-m", "reverie.experiments.cli.main", "ablate", *args]
    process = subprocess.Popen([*command, "--folder", str(tmp_path)], cwd=ROOT)
    deadline = time.monotonic() + 120
    while not (locks := list(tmp_path.glob("*/lock"))) or not locks[0].read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    worker = int(locks[0].read_text().split()[0])
    time.sleep(1)
    process.kill()
    process.wait()
    while Path(f"/proc/{worker}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert Run(locks[0].parent).checkpoints.steps()


def test_task_waits_for_a_locked_folder(tmp_path: Path) -> None:
    task = Task(EXPERIMENT, tmp_path / "run", OPTIONS, Evaluation(episodes=8))
    task.folder.mkdir()
    with locked(task.folder, "training"), pytest.raises(UsageError, match="is training in"):
        task.execute(lock_timeout=0.1)
    scores = task.execute()
    assert task.scores == scores
    assert not replace(task, evaluation=Evaluation(episodes=9)).scores
    assert not replace(task, evaluation=Evaluation(episodes=8, protocols=("machado",))).scores
    longer = replace(task, experiment=replace(EXPERIMENT, total_timesteps=81))
    assert not longer.scores, "evaluated before the end of training"
    for damaged in ("[]", "{}", '{"steps": 80}'):
        (task.folder / "scores.json").write_text(damaged)
        assert not task.scores


def test_every_process_imports_the_modules_of_the_users_own_parts(tmp_path: Path) -> None:
    """A grid with a representation of the user's own ends as any other."""
    args = "ablate mfec agent.representation:rows env:catch --import own_representation "
    args += "--num-envs 8 --agent.capacity 2000 --total-timesteps 80 --seeds 1 --episodes 2 "
    args += f"--no-video --device cpu --folder {tmp_path}"
    command = [sys.executable, "-m", "reverie.experiments.cli.main", *args.split()]
    done = subprocess.run(command, cwd=ROOT / "examples", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "env:catch agent.representation:rows: catch, protocol own, 80 steps" in done.stdout
    (scores,) = tmp_path.glob("*/scores.json")
    assert read_scores(scores).steps == 80


def test_an_interrupted_task_raises_keyboard_interrupt(tmp_path: Path) -> None:
    task = Task(
        replace(EXPERIMENT, total_timesteps=100_000),
        tmp_path / "run",
        replace(OPTIONS, max_minutes=0.0001),
    )
    with pytest.raises(KeyboardInterrupt):
        task.execute()


def test_game_under_another_protocol_keeps_the_interface_of_the_agent() -> None:
    env = AtariConfig("pong", PROTOCOLS["mfec"])
    sticky = with_protocol(env, "machado")
    assert isinstance(sticky, AtariConfig)
    assert sticky.protocol.sticky == 0.25
    assert (sticky.protocol.stack, sticky.protocol.full_actions) == (1, False)
    assert sticky.eval_epsilon == 0.001
    assert sticky.protocol_label == "machado with full_actions False, stack 1"
    assert with_protocol(env, "mfec") is env
    own = AtariConfig("pong", replace(PROTOCOLS["mfec"], stack=4))
    assert with_protocol(own, "mfec") is own
