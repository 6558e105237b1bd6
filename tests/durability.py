"""What commands promise of their files if the disk, the power or the process fails.

A scenario is a command in a folder. Its trial lets one thing fail, at one operation on a file, and
then repeats the command. Then:

1. The failing command ends with a sentence, never with a traceback.
2. A checkpoint that was complete before, or a later one, is there and whole.
3. The repeated command succeeds, and the folder ends as if nothing had failed.

As a script it repeats many trials, and writes how many there were and what failed.
"""

import argparse
import errno
import hashlib
import json
import logging
import os
import random
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from file_layer import Operation, Watcher, watching
from forked_commands import Outcome, preload, run
from killed_runs import scalars
from volume import Recorder, crashes

from reverie import PRESETS
from reverie.experiments.config.config_text import config_text
from reverie.experiments.reporting.committed import process_provenance
from reverie.experiments.runs import blocks, packed_state
from reverie.experiments.runs.files import write_json
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.throughput import without_machine_metrics

from trajectories import shortened

SMALL_BLOCK, PRESETS_BLOCK = 1 << 12, 1 << 20
FLAGS = "--device cpu --threads 1 --quiet"
OFTEN = f"{FLAGS} --checkpoint-minutes 0"
CATCH = "env:catch --env.rows 5 --env.columns 4"
DQN = (
    f"train dqn {CATCH} agent.network:mlp --agent.network.hidden 8 --agent.buffer-size 2000 "
    f"--agent.learning-starts 8 --num-envs 4 --random-play-seconds 0 {OFTEN}"
)
MFEC = f"train mfec {CATCH} --num-envs 4 --random-play-seconds 0 --agent.capacity 400 {OFTEN}"
CTS = (
    f"train ppo {CATCH} agent.network:mlp bonus:pseudo-count --bonus.resolution 5 --num-envs 4 "
    f"--agent.num-steps 4 --agent.num-minibatches 1 --random-play-seconds 0 {OFTEN}"
)
COLLECT = f"collect random {CATCH} --num-envs 2 --frames 60"
EVALUATE = "evaluate {0}/run --episodes 2 --device cpu --threads 1"
ACKNOWLEDGED = re.compile(r"(.*)checkpoints/([0-9]{12})\.pt")


@dataclass(frozen=True)
class Scenario:
    """A command that may fail, {0} being its folder, and those that prepare the folder."""

    command: str
    before: tuple[str, ...] = ()
    done: str = ""
    """What a repeated command may say instead of success, if nothing was left to do."""


SCENARIOS = {
    "train dqn": Scenario(f"{DQN} --total-timesteps 40 --log-every 8 --folder {{0}}/run"),
    "train mfec": Scenario(f"{MFEC} --total-timesteps 60 --log-every 20 --folder {{0}}/run"),
    "train ppo with cts": Scenario(f"{CTS} --total-timesteps 64 --log-every 16 --folder {{0}}/run"),
    "continue dqn": Scenario(
        f"{DQN} --total-timesteps 40 --log-every 8 --eval-every 16 --eval-episodes 2 "
        "--folder {0}/run",
        (f"{DQN} --total-timesteps 16 --log-every 8 --eval-every 16 --eval-episodes 2 "
         "--folder {0}/run",),
    ),
    "evaluate": Scenario(
        EVALUATE,
        (f"{DQN} --total-timesteps 16 --folder {{0}}/run",),
    ),
    "collect": Scenario(f"{COLLECT} --folder {{0}}/data", done="already holds a recording"),
    "pretrain": Scenario(
        f"pretrain predictor:tiny --data {{0}}/data --num-updates 3 --folder {{0}}/model {OFTEN}",
        (f"{COLLECT} --folder {{0}}/data",),
    ),
    "ablate": Scenario(
        f"{DQN.replace('train dqn', 'ablate dqn bonus:none,simhash')} --seeds 1 "
        "--total-timesteps 8 --episodes 1 --no-video --folder {0}/grid"
    ),
    "report": Scenario(
        "report {0}/run --out {0}/report.html",
        (f"{DQN} --total-timesteps 16 --folder {{0}}/run", EVALUATE),
    ),
    "export": Scenario(
        "export {0}/run {0}/run.safetensors",
        (f"{DQN} --total-timesteps 16 --folder {{0}}/run",),
        done="exists already",
    ),
    "compress": Scenario(
        "compress {0}/data --out {0}/data.reverie",
        (f"{COLLECT} --folder {{0}}/data",),
        done="exists already",
    ),
    "check": Scenario(
        "check {0}/run --repair", (f"{DQN} --total-timesteps 16 --folder {{0}}/run",)
    ),
}  # fmt: skip


PRESET_SCENARIOS = [
    f"{name}/{pipeline}"
    for name, preset in PRESETS.items()
    for pipeline in ((1,) if preset.agent.return_after else (1, 2))
]
"""Every preset with the pipelines that it takes."""


def end_of(folder: Path) -> dict[str, Any]:
    """Return what must be equal at the end, by the names of files; what machines differ in is left
    out.
    """
    end: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name == "config.json" and (path.parent / "checkpoints").is_dir():
            end |= {f"{name}: {part}": value for part, value in _end_of_run(path.parent).items()}
        elif path.name == "scores.json":
            end[name] = [
                {k: row[k] for k in ("scores", "lengths", "seed", "protocol")}
                for row in _rows(json.loads(path.read_text()))
            ]
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                end[name] = {k: hashlib.sha256(x.tobytes()).hexdigest() for k, x in arrays.items()}
        elif path.suffix in (".safetensors", ".reverie", ".bin", ".blobs"):
            end[name] = path.stat().st_size
        elif path.suffix in (".html", ".md"):
            end[name] = "".join(re.findall(r"<h[123].*?>.*?</h|<t[dh].*?>.*?</t|</html>",
                                           path.read_text()))  # fmt: skip
        elif path.suffix == ".tmp":
            end[name] = "left"
    return end


def _rows(scores: Any) -> list[dict[str, Any]]:
    rows = scores.values() if isinstance(scores, dict) else scores
    return [row for row in rows if isinstance(row, dict) and "scores" in row]


def _end_of_run(folder: Path) -> dict[str, Any]:
    loaded = Run(folder).checkpoints.load() or {}
    rows = {
        name: [without_machine_metrics(row) for row in Run(folder).read_lines(name)]
        for name in ("metrics.jsonl", "episodes.jsonl", "evaluations.jsonl")
    }
    digest = hashlib.sha256()
    _hash(without_seconds(loaded), digest.update)
    return {"state": digest.hexdigest(), "events": scalars(folder)} | rows


def without_seconds(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state without what clocks measured."""
    own = {k: v for k, v in state.get("callbacks", {}).items() if k != "Throughput"}
    return state | {"callbacks": own, "seconds": 0.0}


def _hash(value: Any, update: Callable[[bytes], None]) -> None:
    if isinstance(value, dict):
        for name in sorted(value, key=str):
            update(f"{name}:".encode())
            _hash(value[name], update)
    elif isinstance(value, list | tuple):
        for item in value:
            _hash(item, update)
    elif isinstance(value, torch.Tensor):
        update(f"{value.dtype}{list(value.shape)}".encode())
        update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        update(repr(value).encode())


class Acknowledgments(Watcher):
    """Notes which checkpoints of which runs are complete and synced."""

    def __init__(self) -> None:
        self.renamed: dict[str, int] = {}
        self.newest: dict[str, int] = {}

    def after(self, operation: Operation) -> None:
        if operation.name == "rename" and (match := ACKNOWLEDGED.fullmatch(operation.target)):
            self.renamed[f"{match[1]}checkpoints"] = int(match[2])
        if operation.name == "fsync" and operation.path in self.renamed:
            self.newest[operation.path] = self.renamed[operation.path]


class Injector(Acknowledgments):
    """Lets the operation of one number fail, or from there on all of its kind."""

    def __init__(self, number: int, failure: int, *, persistent: bool) -> None:
        super().__init__()
        self.number, self.failure, self.persistent = number, failure, persistent
        self.count, self.failing = -1, ""

    def before(self, operation: Operation) -> int | None:
        self.count += 1
        if self.count == self.number:
            self.failing = operation.name
        elif not (self.persistent and operation.name == self.failing):
            return None
        if self.failure == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.failure == SHORT:
            return max(len(operation.data) // 2, 1)
        paths = () if operation.name in ("read", "write", "fsync") else (operation.path,)
        raise OSError(self.failure, os.strerror(self.failure), *paths)


class Sites(Recorder):
    """Records operations, and the places in the code that ask for them."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: list[str] = []

    def before(self, operation: Operation) -> int | None:
        self.sites.append(operation.site)
        return None


SHORT, KILL = -1, -2
"""Failures other than errors: a write that takes half of the bytes, and a killed process."""
FAILURES: dict[str, tuple[int, ...]] = {
    "open": (errno.EIO, errno.EACCES, errno.EMFILE, errno.ENOSPC),
    "read": (errno.EIO,),
    "write": (errno.EIO, errno.ENOSPC, SHORT),
    "fsync": (errno.EIO, errno.ENOSPC),
    "truncate": (errno.EIO,),
    "rename": (errno.EIO, errno.EACCES, errno.ENOSPC),
    "unlink": (errno.EIO, errno.EACCES),
    "mkdir": (errno.EACCES, errno.ENOSPC),
    "rmdir": (errno.EACCES,),
    "list": (errno.EIO, errno.EACCES, errno.EMFILE),
    "stat": (errno.EIO, errno.EACCES),
    "mmap": (errno.ENOMEM,),
}


@dataclass(frozen=True)
class Case:
    """One failure of one operation of a scenario."""

    number: int
    site: str
    failure: int
    persistent: bool

    def __str__(self) -> str:
        names = {SHORT: "short", KILL: "kill"}
        failure = names.get(self.failure) or errno.errorcode[self.failure]
        return f"{failure}{' from' if self.persistent else ''} {self.number} ({self.site})"


class Trials:
    """Trials of one scenario in a folder of temporary files."""

    def __init__(self, scenario: Scenario, root: Path) -> None:
        self.scenario, self.root = scenario, root
        self.initial, self.folder = self.root / "initial", self.root / "now"
        shutil.rmtree(self.root, ignore_errors=True)
        self.initial.mkdir(parents=True)
        for command in self.scenario.before:
            outcome = preload(command.format(self.initial))
            assert outcome.status == 0, outcome
        self._reset()
        outcome = preload(self.scenario.command.format(self.folder))
        assert outcome.status == 0, outcome
        self.expected = end_of(self.folder)
        self._reset()
        watcher = Sites()
        self._run(watcher)
        assert not self._differing(), f"not deterministic: {self._differing()}"
        self.sites, self.operations = watcher.sites, watcher.operations

    def faults(self, size: int, seed: int) -> list[Case]:
        """Return cases: every failure at every site first, then at random operations."""
        rng = random.Random(seed)
        numbers: dict[str, list[int]] = {}
        for number, site in enumerate(self.sites):
            numbers.setdefault(site, []).append(number)
        kinds = [
            (site, failure, persistent)
            for site in numbers
            for failure in FAILURES[site.split()[0]]
            for persistent in (False, True)
        ]
        cases: list[Case] = []
        while len(cases) < size:
            rng.shuffle(kinds)
            for site, failure, persistent in kinds:
                cases.append(Case(rng.choice(numbers[site]), site, failure, persistent))
        return cases[:size]

    def kills(self, size: int, seed: int) -> list[Case]:
        """Return cases in which the process is killed before an operation."""
        rng = random.Random(seed)
        numbers = [rng.randrange(len(self.sites)) for _ in range(size)]
        return [Case(number, self.sites[number], KILL, False) for number in numbers]

    def try_case(self, case: Case) -> str:
        """Return what the laws of this module forbid and a case showed, or ""."""
        self._reset()
        injector = Injector(case.number, case.failure, persistent=case.persistent)
        outcome = self._run(injector)
        if case.failure != KILL and (problem := _traceback(outcome)):
            return problem
        return self._lost(injector.newest) or self.finish(died=case.failure == KILL)

    def try_crash(self, folder: Path, point: int) -> str:
        """Return what the laws forbid and a power failure after ``point`` operations showed."""
        noted = Acknowledgments()
        for operation in self.operations[:point]:
            noted.after(operation)
        shutil.rmtree(self.folder)
        folder.rename(self.folder)
        return self._lost(noted.newest) or self.finish(died=True)

    def finish(self, *, died: bool) -> str:
        """Repeat the command, and return what is wrong with how it ends, or "".

        A process that died may leave temporary files, which `reverie runs --tidy` removes.
        """
        outcome = run(self.scenario.command.format(self.folder))
        done = self.scenario.done and self.scenario.done in outcome.errors
        if outcome.status and not done:
            return f"repeated: status {outcome.status}: {outcome.errors}"
        differing = [x for x in self._differing() if not (died and x.endswith(".tmp"))]
        return f"differs in {differing}: {outcome.errors}" if differing else ""

    def _differing(self) -> list[str]:
        end = end_of(self.folder)
        return [x for x in {**self.expected, **end} if end.get(x) != self.expected.get(x)]

    def _lost(self, acknowledged: dict[str, int]) -> str:
        for name, step in acknowledged.items():
            run_folder = Run((self.folder / name).parent)
            with redirect_stderr(StringIO()) as told:
                try:
                    found = run_folder.checkpoints.load()
                except Exception as error:
                    return f"the checkpoint of {step} is lost: {error}"
            if found is None or found["step"] < step:
                return f"the checkpoint of {step} is lost: {told.getvalue()}"
        return ""

    def _reset(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.initial, self.folder)

    def _run(self, watcher: Any) -> Outcome:
        """Run the command with a watcher, which is as it was left afterwards."""
        left = self.root / "watcher.pt"
        left.unlink(missing_ok=True)

        @contextmanager
        def around() -> Iterator[None]:
            try:
                with watching(self.folder, watcher):
                    yield
            finally:
                torch.save(vars(watcher), left)

        outcome = run(self.scenario.command.format(self.folder), around)
        if left.exists():
            vars(watcher).update(torch.load(left, weights_only=False))
        return outcome


def _traceback(outcome: Outcome) -> str:
    if "Traceback" in outcome.errors or "Exception ignored" in outcome.errors:
        return f"a traceback: {outcome.errors}"
    if outcome.status not in (0, 1, 2) or (
        outcome.status and not (outcome.errors + outcome.output).strip()
    ):
        return f"status {outcome.status} without a sentence: {outcome.errors}"
    return ""


def set_block_size(size: int) -> None:
    """Make blocks so small that short runs have several."""
    for module in (blocks, packed_state):
        setattr(module, "BLOCK_SIZE", size)  # noqa: B010  # of both


def crash_points(trials: Trials, size: int, seed: int) -> Iterator[tuple[int, str]]:
    """Yield points of power failures, and what is wrong after each."""
    rng = random.Random(seed)
    points = [rng.randrange(len(trials.operations) + 1) for _ in range(size)]
    out = trials.root / "crashes"
    shutil.rmtree(out, ignore_errors=True)
    for point, folder in crashes(trials.initial, trials.operations, points, out, seed):
        yield point, trials.try_crash(folder, point)


def single_faults(trials: Trials, size: int, seed: int) -> Iterator[tuple[Case, str]]:
    """Yield cases of failing operations, and what is wrong after each."""
    for case in trials.faults(size, seed):
        yield case, trials.try_case(case)


def kills(trials: Trials, size: int, seed: int) -> Iterator[tuple[Case, str]]:
    """Yield moments at which a process is killed, and what is wrong after each."""
    for case in trials.kills(size, seed):
        yield case, trials.try_case(case)


KINDS: dict[str, Callable[[Trials, int, int], Iterator[tuple[Any, str]]]] = {
    "power-loss": crash_points,
    "single-faults": single_faults,
    "kills": kills,
}


def preset_scenario(name: str, pipeline: int, folder: Path) -> Scenario:
    """Return a short training of a preset, whose settings are written into a folder."""
    path = folder / f"{name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(config_text({"preset": name}, shortened(name)))
    return Scenario(
        f"train --config {path} --pipeline {pipeline} --random-play-seconds 0 --log-every 50 "
        f"--checkpoint-minutes 0.005 {FLAGS} --folder {{0}}/run"
    )


def find_scenario(name: str, folder: Path) -> Scenario:
    """Return a scenario by its name, or that of ``PRESET/PIPELINE``."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    preset, _, pipeline = name.partition("/")
    return preset_scenario(preset, int(pipeline or 1), folder)


def main() -> int:
    """Try scenarios; print every problem, and return 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "kinds", nargs="+", help=f"KIND=N, trials of each scenario; kinds: {', '.join(KINDS)}"
    )
    parser.add_argument(
        "--scenarios", help="separated by commas; also PRESET/PIPELINE, or presets for all"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/reverie-durability"))
    parser.add_argument(
        "--out", type=Path, help="JSON with the numbers of trials; scenarios in it are not repeated"
    )
    flags = parser.parse_args()
    names = flags.scenarios.split(",") if flags.scenarios else [*SCENARIOS]
    if names == ["presets"]:
        names = PRESET_SCENARIOS
    counts: dict[str, dict[str, int]] = {}
    if flags.out and flags.out.exists():
        counts = json.loads(flags.out.read_text())["scenarios"]
        names = [name for name in names if name not in counts]
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    for name in names:
        set_block_size(SMALL_BLOCK if name in SCENARIOS else PRESETS_BLOCK)
        trials = Trials(find_scenario(name, flags.folder), flags.folder / "trials")
        count = Counter[str](operations=len(trials.sites), sites=len(set(trials.sites)))
        for kind, size in (x.split("=") for x in flags.kinds):
            for case, problem in KINDS[kind](trials, int(size), flags.seed):
                count[kind] += 1
                count["problems"] += bool(problem)
                if problem:
                    print(f"{name}: {kind}: {case}: {problem}", flush=True)
        counts[name] = dict(count)
        print(f"{name}: {counts[name]}", flush=True)
        if flags.out:
            command = f"python tests/durability.py {' '.join(sys.argv[1:])}"
            result = {"name": flags.out.stem, "command": command, "kind": "durability"}
            write_json(
                flags.out, result | {"scenarios": counts, "provenance": process_provenance()}
            )
    return int(any(count["problems"] for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
