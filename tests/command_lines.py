"""Every command of the command line in its smallest form, and processes that run them somewhere.

``RUNNER`` imports the package once and forks a process for each command, so that torch is imported
once in a place. The commands build on each other's folders, in this order.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from reverie.experiments.cli.main import COMMANDS, main

ROOT = Path(__file__).parent.parent
QUICK = "--device cpu --threads 1"
QUIET = f"{QUICK} --quiet"
_DQN = "dqn bonus:pseudo-count env:catch agent.network:mlp --total-timesteps 100"
_GRID = "env:catch --seeds 1 --total-timesteps 80 --workers 1 --episodes 2 --device cpu"
_IMAGINE = (
    "ppo env:catch predictor:tiny --rounds 1 --real-steps 200 --num-updates 2 --imagined-steps 64 "
    "--eval-episodes 1"
)
WORKING = {
    f"train ppo env:catch --total-timesteps 640 --folder run {QUIET}": "",
    f"train {_DQN} --num-envs 4 --folder count {QUIET}": "",
    f"evaluate run --episodes 5 --video {QUICK}": "catch: mean",
    "evaluate random --games pong --episodes 1 --max-steps 50 --threads 1": "pong: mean",
    f"collect run --frames 800 --num-envs 4 --folder data {QUICK}": "800 frames",
    f"pretrain representation:vae --data data --num-updates 2 --folder fit {QUIET}": "",
    f"imagine {_IMAGINE} --folder imagined {QUIET}": "",
    "play run --video film.mp4 --timesteps 5 --device cpu": "5 timesteps",
    f"ablate mfec {_GRID} --folder grid": "report.html",
    f"sweep mfec {_GRID} --trials 2 --agent.num-neighbors 3,5 --folder sweep": "sweep",
    "export run": "ppo on catch",
    "export run --hugging-face card": "card",
    "import run.safetensors --folder shared": "reverie play shared",
    "compare run shared": "run",
    "runs .": "finished",
    "check run": "run is whole",
    "check .": "whole",
    "report run": "report.html",
    "data list .": "2 recordings",
    "data show data --html data.html": "data.html: ",
    "data convert data data.hdf5": "800 frames",
    "data convert data data.mp4": "800 frames",
    "data replay data": "frames of",
    "compress data --density histogram": "800 frames",
    "decompress data.reverie": "800 frames",
    "gallery --data data --models histogram --updates 2 --workers 1 --measure-minutes 0.01 "
    "--quick --folder gallery": "gallery",
    "reproduce": "soak",
    "bench --only replay --device cpu": "replay: sampling",
    "doctor --seconds 0.1 --device cpu": "No problems found",
    "evaluate pretrained:ms_pacman-mfec --episodes 1 --max-steps 9": "ms_pacman: mean",
    "play pretrained:freeway --video dream.mp4 --timesteps 3 --device cpu": "3 timesteps",
    "list": "shortest-path",
    "list pretrained": "freeway",
    "list games": "ms_pacman",
    "list roles": "predictor:",
}
"""Commands that end with status 0, and a text in the output of each."""
HELP = {f"{command} --help": command for command in COMMANDS}
IN_A_CLONE = dict.fromkeys(
    ("verify", "verify --write", "reproduce soak", "bench --save"),
    "run it in a clone of the repository",
)
"""Commands that an installation refuses with status 2."""

ALONE = "alone-é"
"""Folder of the run that ``check_alone`` trains."""
TRAIN = f"train ppo env:catch --total-timesteps 300 --folder {ALONE} {QUIET}"
EVALUATE = f"evaluate {ALONE} --episodes 2 --device cpu --threads 1"


def run_here(*args: str) -> int:
    """Run a command in this process, and return its exit status."""
    try:
        return main([*args])
    except SystemExit as ended:  # raised by tyro for a wrong flag
        return int(ended.code or 0)


RUNNER = """
import atexit, gc, importlib, json, os, pkgutil, shlex, shutil, signal, sys, time

import reverie
from reverie.experiments import cli
from reverie.experiments.cli.main import main

site, results, *commands = sys.argv[1:]
assert reverie.__file__.startswith(site), reverie
for module in pkgutil.iter_modules(cli.__path__):
    importlib.import_module(f"{cli.__name__}.{module.name}")
gc.freeze()  # a forked process would copy what it collects
outcomes = []
for command in commands:
    line, unread, start = command.removesuffix(" |"), command.endswith(" |"), time.monotonic()
    with open("output.txt", "w+b") as file:
        process = os.fork()
        if not process:
            signal.alarm(300)
            atexit.unregister(shutil.rmtree)  # of this process's folder of matplotlib
            target = file.fileno()
            if unread:
                reader, target = os.pipe()
                os.close(reader)
            os.dup2(target, 1)
            os.dup2(file.fileno(), 2)
            sys.argv = ["reverie", *shlex.split(line)]
            sys.exit(main())
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        file.seek(0)
        output = file.read().decode(errors="replace")
    outcomes.append((command, status, output, time.monotonic() - start))
    with open(results, "w", encoding="utf-8") as file:
        json.dump(outcomes, file)
"""
"""Runs commands one after another, each in a process of its own, and writes what became of them.

The output of a command that ends with ``|`` is a pipe that nobody reads.
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    command: str
    status: int
    output: str
    seconds: float

    def check(self, *statuses: int, text: str = "") -> None:
        """Fail unless the command ended with one of the statuses, a text and no traceback."""
        assert self.status in statuses, self
        assert text in self.output, self
        for trace in ("Traceback", "Exception ignored", "Fatal Python error"):
            assert trace not in self.output, self


@dataclass(frozen=True)
class Place:
    """Where commands run: a folder, a package, and how Python is started there."""

    work: Path
    site: Path
    """Folder that holds the package."""
    prefix: tuple[str, ...] = ()
    """The command that starts Python."""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    """Variables that replace those of this process; None removes one."""

    def start(self, *argv: str, **settings: Any) -> subprocess.Popen[str]:
        """Start Python with arguments, its output in pipes."""
        changed = {"PYTHONPATH": str(self.site), "OMP_NUM_THREADS": "1", **self.environment}
        kept = {name: x for name, x in os.environ.items() if name not in changed}
        return subprocess.Popen(
            [*self.prefix, sys.executable, *argv],
            cwd=self.work,
            env=kept | {name: x for name, x in changed.items() if x is not None},
            text=True, errors="replace",
            **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | settings,
        )  # fmt: skip

    def run(self, *argv: str) -> Outcome:
        """Run Python with arguments until it ends."""
        start = time.monotonic()
        with self.start(*argv) as process:
            output, _ = process.communicate(timeout=1200)
        return Outcome(shlex.join(argv), process.returncode, output, time.monotonic() - start)

    def run_commands(self, commands: Iterable[str]) -> dict[str, Outcome]:
        """Run commands of reverie by ``RUNNER``, and return how each ended."""
        results = self.work / "results.json"
        self.run("-c", RUNNER, str(self.site), str(results), *commands).check(0)
        return {x[0]: Outcome(*x) for x in json.loads(results.read_text(encoding="utf-8"))}


def copy_package(folder: Path) -> None:
    """Copy the package's files, as an installation would."""
    for name in ("agents", "envs", "world_models", "experiments"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.mp4")
        )
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(ROOT / name, folder)


def deny_caches(package: Path) -> None:
    """Put a file in the place of each ``__pycache__``, so that even root writes no caches."""
    for folder in {path.parent for path in package.rglob("*.py")}:
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        (folder / "__pycache__").touch()


def check_alone(place: Place) -> None:
    """Train, evaluate and play in processes that are started as a user's are."""
    place.run("-m", "reverie", *TRAIN.split()).check(0)
    place.run("-m", "reverie", *EVALUATE.split()).check(0, text="catch: mean")
    play_a_request(place)


def play_a_request(place: Place) -> None:
    """Start the page of a run, read it, and end the process."""
    argv = ("-u", "-m", "reverie", "play", ALONE, "--device", "cpu")
    with place.start(*argv) as process:
        try:
            assert process.stdout
            text = process.stdout.readline()
            while "http" not in text:
                text = process.stdout.readline()
                assert text, process.wait()
            found = re.search(r"http://\S+", text)
            assert found
            with urlopen(found[0], timeout=60) as page:
                assert page.status == 200
                assert b"<html" in page.read().lower()
        finally:
            process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    Outcome("play", process.returncode, text + output, 0).check(128 + signal.SIGTERM)
