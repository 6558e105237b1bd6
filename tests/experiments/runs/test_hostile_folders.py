"""Folders and files in which anything may be: every command that reads them ends well.

A case mutates one or two files of a whole folder and runs a command on it (see `hostile_folders`).
The command must end with status 0, 1 or 2, with a sentence if it is not 0, and must leave alone
what is outside.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_folders import SECRET, InlinePool, Part, fault

from reverie.experiments.cli.main import main
from reverie.experiments.interchange.recorded_episodes import Episode
from reverie.experiments.reporting.committed import process_provenance
from reverie.experiments.runs.files import write_json

from foreign_files import write_d4rl, write_dopamine, write_dreamer, write_minari

HERE = "--device cpu --threads 1"
TINY = "env:catch agent.network:mlp --total-timesteps 400 --num-envs 4 --agent.num-steps 16 "
TINY += "--agent.num-minibatches 1"
ABLATE = f"ablate ppo bonus:none,simhash {TINY} --seeds 1 --episodes 2 --no-video --folder"
SWEEP = f"sweep ppo {TINY} --agent.gamma 0.9,0.99 --trials 2 --episodes 2 --folder"
GALLERY = "gallery --models histogram,cts --updates 2 --quick --measure-minutes 0.02"
CONVERT = tuple(
    f"data convert {{0}}/{name} {{1}}/back"
    for name in ("m-v0", "own-v0", "d4rl.hdf5", "own.hdf5", "dreamer", "dopamine")
)
PARTS = {
    "runs": Part((
        "runs {0}", "runs {0} --json", "runs {0} --tidy --yes", "report {0} --out {1}/report.html",
        "compare {0}/run {0}/whole", f"evaluate {{0}}/run --episodes 1 {HERE}",
        f"evaluate {{0}} --episodes 1 {HERE}", "export {0}/run {1}/x.safetensors",
        f"evaluate {{0}}/run --episodes 1 --video {HERE}", "check {0}", "check {0} --repair",
        f"play {{0}}/run --video {{1}}/a.gif --timesteps 2 {HERE}",
        f"collect {{0}}/run --frames 40 --folder {{1}}/data {HERE}",
        f"train ppo {TINY} {HERE} --quiet --total-timesteps 500 --folder {{0}}/run",
        f"train ppo {TINY} {HERE} --quiet --init-from {{0}}/run --folder {{1}}/second",
    ), "run"),
    "data": Part((
        "data list {0}", "data show {0}/data", "data show {0}/data --html {1}/page.html",
        "data replay {0}/data --threads 1", "data convert {0}/data {1}/data.hdf5", "check {0}",
        "data convert {0}/data {1}/data-v0 --to minari", "data convert {0}/data {1}/a.mp4",
        "compress {0}/data --out {1}/data.reverie", "check {0}/data --repair",
        "pretrain predictor:tiny --data {0}/data --num-updates 1 --folder {1}/model --quiet "
        f"{HERE}",
    ), "data"),
    "grid": Part((
        f"{ABLATE} {{0}}", f"{ABLATE} {{0}}", f"{ABLATE} {{0}} --dry-run --steps-per-second 9",
        "report {0} --out {1}/report.html", "runs {0}", "check {0}",
    )),
    "sweep": Part((
        f"{SWEEP} {{0}}", f"{SWEEP} {{0}}", f"{SWEEP} {{0}} --dry-run",
        "report {0} --out {1}/report.html", "runs {0}", "check {0} --repair",
    )),
    "gallery": Part((
        f"{GALLERY} --data {{0}}/frames --folder {{0}}/gallery",
        f"{GALLERY} --data {{0}}/frames --folder {{0}}/gallery --dry-run", "runs {0}", "check {0}",
    ), "gallery"),
    "shared": Part((
        "import {0}/run.safetensors --folder {1}/run", "import {0}/hub --folder {1}/run",
        "import {0}/model.safetensors --folder {1}/run",
    ), None),
    "foreign": Part(CONVERT, None),
    "coded": Part(("decompress {0}/data.reverie --out {1}/x.npz",)),
}  # fmt: skip
TRAINED = ("grid", "sweep", "gallery")
"""Parts that take longer, as they are trained in several runs; they have a tenth of the cases."""
CASES = int(os.environ.get("REVERIE_HOSTILE_CASES", "30"))
"""Cases of each part in the long test; with 1,900 they are over 10,000."""
FIRST = int(os.environ.get("REVERIE_HOSTILE_FIRST", "0"))
"""Seed of the first one."""
OUT = os.environ.get("REVERIE_HOSTILE_OUT")
"""A JSON file, into which the long test writes how many cases it tried."""


@pytest.fixture(scope="module", autouse=True)
def inline_pools() -> Iterator[None]:
    """Let grids train in this process, where their errors are seen."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("ablation.execution", "gallery.gallery"):
            patch.setattr(f"reverie.experiments.{module}.LocalPool", InlinePool)
        yield


class Folders:
    """A folder of each part, made when it is first asked for; ``outside`` is one of somebody."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "outside").mkdir()
        (root / "outside" / "secret").write_text(SECRET)

    def make(self, name: str) -> Path:
        """Make the folder of a part, unless it is there, and return the root."""
        if not (self.root / name).exists():
            getattr(self, f"make_{name}")()
        return self.root

    def run(self, command: str) -> None:
        assert main(command.format(self.root).split()) == 0, command

    def make_runs(self) -> None:
        runs = self.root / "runs"
        self.run(f"train ppo {TINY} {HERE} --quiet --folder {{0}}/runs/run")
        self.run("evaluate {0}/runs/run --episodes 2 --device cpu")
        shutil.copytree(runs / "run", runs / "whole")
        config = json.loads((runs / "run/config.json").read_text())
        (runs / "whole/config.json").write_text(json.dumps(config | {"seed": 1}))
        for part in ("videos/a.mp4", "figures/b.png"):
            (runs / "run" / part).parent.mkdir(exist_ok=True)
            (runs / "run" / part).write_bytes(b"\x89PNG")

    def make_data(self) -> None:
        self.run("collect random env:catch --frames 400 --num-envs 2 --folder {0}/data/data")

    def make_grid(self) -> None:
        self.run(f"{ABLATE} {{0}}/grid")

    def make_sweep(self) -> None:
        self.run(f"{SWEEP} {{0}}/sweep")

    def make_gallery(self) -> None:
        shutil.copytree(self.make("data") / "data/data", self.root / "gallery/frames")
        self.run(f"{GALLERY} --data {{0}}/gallery/frames --folder {{0}}/gallery/gallery")

    def make_shared(self) -> None:
        self.make("data")
        self.make("runs")
        model = "pretrain density:histogram --data {0}/data/data --num-updates 1 --quiet --folder"
        self.run(f"{model} {{0}}/model {HERE}")
        self.run("export {0}/runs/run {0}/shared/run.safetensors")
        self.run("export {0}/model {0}/shared/model.safetensors")
        self.run("export {0}/runs/run --hugging-face {0}/shared/hub")

    def make_coded(self) -> None:
        (self.make("data") / "coded").mkdir()
        self.run("compress {0}/data/data --out {0}/coded/data.reverie")

    def make_foreign(self) -> None:
        write_foreign(self.make("data") / "foreign")
        self.run("data convert {0}/data/data {0}/foreign/own.hdf5")
        self.run("data convert {0}/data/data {0}/foreign/own-v0 --to minari")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, inline_pools: None) -> Folders:
    return Folders(tmp_path_factory.mktemp("hostile"))


def write_foreign(folder: Path) -> None:
    """Write recordings as other projects do."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    episodes = [
        Episode(
            rng.integers(0, 255, (n, 1, 10, 8), np.uint8), rng.integers(0, 3, n),
            rng.random(n - 1), np.ones(n - 1, np.float32),
        )
        for n in (7, 12, 5)
    ]  # fmt: skip
    write_dreamer(folder / "dreamer", episodes, version=3, per_file=2)
    write_d4rl(folder / "d4rl.hdf5", episodes, next_observations=True)
    write_minari(folder / "m-v0", episodes)
    write_dopamine(folder / "dopamine", episodes, capacity=50)


def faults(seeds: range, name: str, made: Folders, to: Path, capsys: Any) -> list[str]:
    root = made.make(name)
    found = [fault(seed, name, PARTS[name], root, to / str(seed), capsys) for seed in seeds]
    return [*filter(None, found)]


def record(path: Path, name: str, cases: int, problems: int) -> None:
    """Add the cases of a part to a committed result."""
    result = json.loads(path.read_text()) if path.exists() else {"parts": {}}
    part = {"commands": len({*PARTS[name].commands}), "cases": cases, "problems": problems}
    command = f"REVERIE_HOSTILE_CASES={CASES} pytest -m long -k many_hostile"
    result |= {"name": path.stem, "kind": "hostile-folders", "command": command}
    result |= {"parts": result["parts"] | {name: part}, "provenance": process_provenance()}
    write_json(path, result)


@pytest.mark.parametrize("name", [name for name in PARTS if name not in TRAINED])
def test_hostile_folders(
    name: str, folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = faults(range(6), name, folders, tmp_path, capsys)
    assert not found, "\n".join(found)


@pytest.mark.long
@pytest.mark.parametrize("name", PARTS)
def test_many_hostile_folders(
    name: str, folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = CASES // 10 if name in TRAINED else CASES
    found = faults(range(FIRST, FIRST + cases), name, folders, tmp_path, capsys)
    if OUT:
        record(Path(OUT), name, cases, len(found))
    assert not found, "\n".join(found)
