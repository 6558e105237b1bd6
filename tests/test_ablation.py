"""Grids: which runs they are, what they cost, and that none is lost or run twice."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agents.bonus import NoBonusConfig
from agents.density_bonus import PseudoCountConfig
from agents.dqn import DQNConfig
from agents.simhash import SimHashConfig
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.deep_sea import DeepSeaConfig
from envs.errors import RunError, UsageError
from envs.protocol import PROTOCOLS
from experiments import Experiment, TrainOptions, cli, cost, training
from experiments.ablation import Ablate, tasks_of
from experiments.evaluation import under
from experiments.grid import grid
from experiments.run import Run
from experiments.tasks import Task, carry_out
from experiments.workers import Pool
from world_models.density.cts import CTSConfig
from world_models.density.pixelcnn import PixelCNNConfig

ROOT = Path(__file__).parent.parent
CATCH = ("episodic", "env:catch", "--streams", "8", "--agent.capacity", "2000", "--device", "cpu")


def test_a_grid_is_every_choice_once() -> None:
    """The design's own example: none, cts, pixel-cnn are three cells of each game, not four."""
    cells = grid(
        "dqn bonus:none,pseudo-count bonus.density:cts,pixel-cnn".split(), "freeway,venture"
    )
    assert [(cell.experiment.env.title, cell.experiment.bonus) for cell in cells] == [
        (game, bonus)
        for game in ("freeway", "venture")
        for bonus in (
            NoBonusConfig(),
            PseudoCountConfig(CTSConfig()),
            PseudoCountConfig(PixelCNNConfig()),
        )
    ]
    tasks = tasks_of(cells, Ablate(seeds=2, episodes=7))
    assert len({task.folder for task in tasks}) == 12
    assert {task.folder.parent.name for task in tasks} == {"dqn-1000000"}
    assert [task.words[-1] for task in tasks] == ["0"] * 6 + ["1"] * 6
    assert {task.episodes for task in tasks} == {7}


def test_a_choice_has_settings_of_its_own_and_flags_are_everyones() -> None:
    cells = grid(
        "dqn env:catch,deep-sea+size=5 bonus:simhash,simhash+scale=0.3+bits=64 --steps 70".split()
    )
    assert [cell.experiment.env for cell in cells[::2]] == [CatchConfig(), DeepSeaConfig(size=5)]
    bonuses = [SimHashConfig(), SimHashConfig(scale=0.3, bits=64)]
    assert [cell.experiment.bonus for cell in cells] == bonuses * 2
    assert {cell.experiment.steps for cell in cells} == {70}
    assert len(grid(["episodic"], "hard")) == 7, "with no swap: the plain benchmark"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "usage"),
        ("--games pong", "Name a preset first"),
        ("dqnn", "Did you mean dqn"),
        ("dqn bonus:none,simhsh", "Did you mean simhash"),
        ("dqn bonus:", "names no choice"),
        ("dqn bonus:none bonus.density:cts", "There is no role 'bonus.density' in any cell"),
        ("dqn bonus:simhash+scale", "'scale' in bonus:simhash+scale sets nothing"),
        ("dqn bonus:simhash --seeds 0", "seeds is 0"),
        ("dqn bonus:simhash --seed 3", "--seed names one run"),
        ("dqn env:catch --games pong", "env"),
        ("dqn --games pnog", "Did you mean pong"),
        ("dqn --games pong --protocols mcafee", "Did you mean mfec"),
        ("episodic env:catch --protocols machado", "catch has one protocol, its own"),
        ("episodic env:catch --episodes 0", "episodes is 0"),
        ("episodic env:catch --ray nowhere:1 --workers 2", "ray"),
        ("dqn --workers -1", "workers is -1"),
    ],
)
def test_an_unusable_grid_gets_a_sentence(
    words: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if "--ray" in words:
        monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    try:
        status = cli.main(["ablate", *words.split()])
    except SystemExit as stop:
        status = int(stop.code or 0)
    said = capsys.readouterr()
    assert says in said.out + said.err
    assert status == (0 if says == "usage" else 2)
    assert not list(tmp_path.rglob("config.json"))


def test_a_dry_run_says_what_it_would_cost_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["ablate", *CATCH, "--steps", "7200", "--seeds", "4", "--folder", str(tmp_path)]
    words += ["--workers", "2", "--dry-run"]
    monkeypatch.setattr(cost, "TRIAL_MINUTES", 1 / 60)
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert re.search(r"About \d\.\d\d hours of 1 thread at [\d,]{2,} agent steps/s a run", said)
    assert "(tried for 1 s a variant" in said
    assert cli.main([*words, "--rate", "2"]) == 0
    said = capsys.readouterr().out
    assert "1 cells x 4 seeds = 4 runs" in said
    assert "0 finished before; 4 to run, 28,800 agent steps" in said
    # 28,800 steps at 2 a second are 4 hours of one thread, 2 hours where two run at a time.
    assert "About 4.00 hours of 1 thread at 2 agent steps/s a run (stated)" in said
    assert "2 at a time, 2.00 hours" in said
    assert not list(tmp_path.iterdir())


def test_an_interrupted_trial_ends_the_dry_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = []

    def interrupted(experiment: Experiment, folder: str, options: TrainOptions) -> Run:
        tried.append(experiment)
        threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
        return training.train(experiment, folder, options)

    monkeypatch.setattr(cost, "train", interrupted)
    words = ["ablate", *CATCH, "agent:episodic,episodic+gamma=0.9", "--folder", str(tmp_path)]
    assert cli.main([*words, "--dry-run"]) == 130
    assert len(tried) == 1, "no other variant is tried"
    assert "About" not in capsys.readouterr().out


def test_a_trial_runs_as_the_words_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the precision asked for; and it learns soon."""
    seen = []

    def tried(experiment: Experiment, folder: str, options: TrainOptions) -> Run:
        seen.append((experiment, options))
        return training.train(experiment, folder, options)

    monkeypatch.setattr(cost, "train", tried)
    monkeypatch.setattr(cost, "TRIAL_MINUTES", 1 / 60)
    words = [
        "ablate",
        "dqn",
        "env:catch",
        "agent.network:mlp",
        "--precision",
        "bf16",
        "--seeds",
        "2",
    ]
    assert cli.main([*words, "--folder", str(tmp_path), "--dry-run"]) == 0
    assert "(tried for" in capsys.readouterr().out
    ((experiment, options),) = seen
    assert (options.precision, options.threads) == ("bf16", 1)
    assert isinstance(experiment.agent, DQNConfig)
    assert experiment.agent.learning_starts == 500


def test_runs_so_far_say_what_the_others_of_their_variant_will_cost(tmp_path: Path) -> None:
    cells = grid("dqn bonus:none,simhash,surprise".split(), "pong,freeway")
    tasks = tasks_of(cells, Ablate(seeds=2, folder=str(tmp_path)))

    def begun(task: Task, rate: float) -> None:
        task.folder.mkdir()
        row = {
            "step": 10,
            "frames": 40,
            "episodes": 0,
            "time/steps_per_second": 1.0,
            "time/mean_steps_per_second": rate,
        }
        (task.folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")

    begun(tasks[0], 300.0)  # none, pong, seed 0
    begun(tasks[1], 10.0)  # simhash, pong, seed 0
    begun(tasks[10], 30.0)  # simhash, freeway, seed 1
    found, source = cost.rates(tasks)
    mean = 3 / (1 / 300 + 1 / 10 + 1 / 30)
    # Hours add up, so rates are averaged as times.
    assert found == pytest.approx([300.0, 15.0, mean] * 4)
    assert source == "measured in 3 runs"


def test_a_grid_ends_in_a_report_and_is_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.ablation.RESULTS", tmp_path)
    words = ["ablate", *CATCH, "agent.representation:projection,projection+dim=4", "--steps", "800"]
    words += ["--seeds", "1", "--episodes", "8", "--folder", str(tmp_path), "--workers", "2"]
    assert cli.main(words) == 0
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
    assert cli.main([*words, "--dry-run"]) == 0
    assert "2 finished before; 0 to run, 0 agent steps" in capsys.readouterr().out
    assert cli.main(words) == 0
    assert "[1/" not in capsys.readouterr().out
    assert [(run / "scores.json").stat().st_mtime_ns for run in runs] == before
    # The same checkpoints, played as in training: only that is left to do.
    assert cli.main([*words, "--explore", "--save", "drawn"]) == 0
    assert "[2/2]" in capsys.readouterr().out
    explored = [json.loads((run / "scores-exploring.json").read_text()) for run in runs]
    assert [(each["explore"], each["steps"]) for each in explored] == [(True, 800)] * 2
    assert "own, as in training" in (tmp_path / "report.md").read_text()
    data = json.loads((tmp_path / "ablations" / "drawn.json").read_text())
    assert data["protocol"] == "own, as in training"
    assert "--explore" in data["command"]
    assert [run["scores"] for run in data["runs"]] == [each["scores"] for each in explored]


def slow(folder: Path, steps: int = 100_000) -> Task:
    words = (*CATCH, "--steps", str(steps), "--log-every", "80", "--checkpoint-minutes", "0")
    return Task(words, folder, steps, episodes=8)


def working(folder: Path, said: str) -> int:
    """The process that has said so in the run's log, once the run has a checkpoint."""
    deadline, log = time.monotonic() + 120, folder / "log.txt"
    while not (log.exists() and said in log.read_text() and Run(folder).checkpoints.steps()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int((folder / "lock").read_text().split()[0])


def test_a_killed_worker_is_replaced_and_a_stopped_pool_continues(tmp_path: Path) -> None:
    task, pool = slow(tmp_path / "run", steps=10**6), Pool(1)
    outcomes = pool.outcomes([task])

    def kill() -> None:
        os.kill(working(task.folder, "starts"), signal.SIGKILL)
        # As by hand: it checkpoints and ends.
        os.kill(working(task.folder, "continues at step"), signal.SIGTERM)

    thread = threading.Thread(target=kill)
    thread.start()
    outcome = next(outcomes)
    thread.join()
    assert outcome.deaths == 1
    assert "interrupted" in outcome.error
    reached = task.trained_steps
    assert 0 < reached < 10**6
    shorter = slow(task.folder, steps=reached + 80)
    assert not shorter.done
    (outcome,) = pool.outcomes([shorter])
    assert (outcome.error, shorter.done, shorter.trained_steps) == ("", True, reached + 80)


def test_a_worker_that_always_dies_is_given_up_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(2, retries=1)
    wrong = Task((*CATCH, "--steps", "80", "--device", "abacus"), tmp_path / "wrong", 80)
    good = Task((*CATCH, "--steps", "80"), tmp_path / "good", 80, episodes=8)
    by_name = {outcome.task.folder.name: outcome for outcome in pool.outcomes([wrong, good])}
    assert "no device 'abacus'" in by_name["wrong"].error
    assert by_name["good"].error == ""
    assert by_name["good"].seconds > 0
    fatal = Task((*CATCH, "--with", "fatal"), tmp_path / "fatal", 80)
    (tmp_path / "fatal.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.chdir(tmp_path)
    (outcome,) = pool.outcomes([fatal])
    assert outcome.error == "its process died, the last time with status -9"
    assert outcome.deaths == 1


def test_where_the_pool_dies_its_runs_checkpoint_and_end(tmp_path: Path) -> None:
    """Nobody is left to tell the worker; its leash tells it."""
    words = [*CATCH, "--steps", "10000000", "--log-every", "80", "--seeds", "1"]
    command = [sys.executable, "-m", "experiments.cli", "ablate", *words]
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


def test_a_task_waits_for_a_folder_that_is_let_go(tmp_path: Path) -> None:
    task = Task((*CATCH, "--steps", "80"), tmp_path / "run", 80, episodes=8)
    task.folder.mkdir()
    with Run(task.folder).locked(), pytest.raises(UsageError, match="is training in"):
        carry_out(task, patience=0.1)
    assert carry_out(task) > 0
    assert task.done
    assert not replace(task, episodes=9).done
    assert not replace(task, protocols=("machado",)).done
    assert not replace(task, steps=81).done, "evaluated by hand before its training's end"
    for damaged in ("[]", "{}", '{"steps": 80}'):
        (task.folder / "scores.json").write_text(damaged)
        assert not task.done


def test_an_interrupted_task_says_so(tmp_path: Path) -> None:
    task = Task((*CATCH, "--steps", "100000", "--minutes", "0.0001"), tmp_path / "run", 100_000)
    with pytest.raises(RunError, match="interrupted; the same command continues"):
        carry_out(task)


def test_a_game_under_another_protocol_keeps_what_the_agent_sees_and_presses() -> None:
    env = AtariConfig("pong", PROTOCOLS["mfec"])
    sticky = under(env, "machado")
    assert isinstance(sticky, AtariConfig)
    assert sticky.protocol.sticky == 0.25
    assert (sticky.protocol.stack, sticky.protocol.full_actions) == (1, False)
    assert sticky.eval_epsilon == 0.001
    assert sticky.protocol_label == "machado with full_actions False, stack 1"
    assert under(env, "mfec") is env
    own = AtariConfig("pong", replace(PROTOCOLS["mfec"], stack=4))
    assert under(own, "mfec") is own
