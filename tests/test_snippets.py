"""The commands and the Python of the documents run as they stand, outside the checkout.

Every fenced block of a document, and every cell of a notebook, runs in order, in one empty folder;
a block with a title is saved under it. Budgets alone are reduced, by the rules of ``SMALL`` and
``REDUCED``; ``NOT_RUN`` lists the lines that are left out.
"""

import json
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from reverie.experiments.ablation.ablate_options import AblateOptions
from reverie.experiments.ablation.grid import make_grid
from reverie.experiments.cli import main as cli
from reverie.experiments.config.arguments import parse_known_flags
from reverie.experiments.config.config_file import take_config
from reverie.experiments.config.registry import TABLES
from reverie.experiments.evaluation.action_sensitivity import action_sensitivity
from reverie.experiments.sweeps.search import describe
from reverie.experiments.sweeps.sweep_options import SweepOptions
from reverie.experiments.sweeps.sweep_plan import make_plan
from reverie.experiments.training import predictors, representations
from reverie.world_models.inference import hypothesis

ROOT = Path(__file__).parent.parent

SMALL = {
    "train": "--total-timesteps 32 --random-play-seconds 0 --device cpu --threads 1 --quiet",
    "evaluate": "--episodes 1 --num-envs 1 --device cpu --threads 1",
    "ablate": "--total-timesteps 32 --seeds 1 --episodes 1 --steps-per-second 500",
    "sweep": "--total-timesteps 32 --trials 2 --episodes 1 --device cpu --threads 1",
    "collect": "--frames 2000 --device cpu --threads 1",
    "imagine": "--real-steps 400 --num-updates 2 --imagined-steps 64 --eval-episodes 1 "
    "--device cpu --threads 1 --quiet",
    "gallery": "--models histogram --updates 2 --frames 2000 --workers 1 --measure-minutes 0.1",
    "pretrain": "--num-updates 2 --device cpu --threads 1 --quiet",
    "play": "--video play.mp4 --timesteps 2 --device cpu",
}
"""Flags of each command that replace the document's, or are added to them."""
FEWER = {"--seeds-together": "2", "--num-envs": "4", "--min-timesteps": "8"}
"""Flags whose value is replaced where a document has them."""
GAMES = {"atari26": "pong"}
"""Values of ``--games`` that are too many to play."""
REDUCED = [
    (r"total_timesteps=60_000", "total_timesteps=6_000"),  # for whole episodes of Ms. Pac-Man
    (r"total_timesteps=\d0_000", "total_timesteps=320"),
    (r"episodes=100?\b", "episodes=4"),
    (r"num_updates=2?_?[03]00", "num_updates=4"),
    (r"frames=[25]_000", "frames=500"),
    (r"agent\), 600\)", "agent), 30)"),
    (r"n_steps=\d+", "n_steps=4"),
    (r"\.learn\([\d_]+\)", ".learn(64)"),
]
"""Patterns of Python that are replaced, with what replaces them."""
HELD_OUT = 4
"""Held-out segments, observations and states of the emulator on which a model is evaluated."""
NOT_RUN = {
    "make demo": "installs a virtual environment; test_examples.py runs its script",
    "make test": "installs a virtual environment, and runs this test",
}
"""Lines that are not run, and why."""
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
WITH_BLOCKS = [
    x.relative_to(ROOT).as_posix()
    for x in [*DOCUMENTS, *NOTEBOOKS]
    if "```" in x.read_text() or x in NOTEBOOKS
]
HEAVY = {
    *("docs/index.md", "docs/concepts/loop.md", "docs/concepts/roles.md"),
    *("docs/concepts/protocols.md", "docs/howto/train.md", "docs/howto/evaluate.md"),
    *("docs/howto/ablate.md", "docs/howto/record.md", "docs/howto/pretrain.md"),
    "docs/tutorials/dream.md",
    *(x.relative_to(ROOT).as_posix() for x in NOTEBOOKS),
    *("docs/howto/play.md", "docs/howto/share.md", "docs/howto/gallery.md"),
}
"""Pages whose commands play Atari games or train large networks, or stand in the README, too."""


def blocks(document: Path) -> Iterator[tuple[str, str]]:
    """Yield the language, or the file that it is to be saved as, and the text of every block."""
    if document.suffix == ".ipynb":
        for cell in json.loads(document.read_text())["cells"]:
            if cell["cell_type"] == "code":
                source = "".join(cell["source"])
                yield ("", source[1:]) if source.startswith("!") else ("python", source)
        return
    fence = r'^```(\w*)(?: title="(.*?)")?\n(.*?)^```'
    for match in re.finditer(fence, document.read_text(), re.S | re.M):
        yield match[2] or match[1], match[3]


def steps(document: Path) -> Iterator[tuple[str, str]]:
    """Yield ("python" or a file's name, a block), or ("reverie" or another language, a line)."""
    for language, text in blocks(document):
        if language == "python" or "." in language:
            yield language, text
        elif language != "text":
            lines = filter(None, map(str.strip, text.replace("\\\n", " ").splitlines()))
            yield from (("reverie" if x.startswith("reverie ") else language, x) for x in lines)


def arguments(line: str, *, full: bool) -> list[str]:
    """Return the arguments of a line of a document, with a small budget.

    Unless ``full``, grids of runs are only printed.
    """
    _, command, *argv = shlex.split(line, comments=True)
    argv = [FEWER.get(flag, GAMES.get(arg, arg)) for flag, arg in pairwise(["", *argv])]
    if command == "ablate":
        length = argv[argv.index("--total-timesteps") + 1] if "--total-timesteps" in argv else "all"
        if "--folder" not in argv:
            argv += ["--folder", f"runs/ablate/{argv[0]}-{length}"]  # its default names the length
    argv += ["--dry-run"] if command in ("ablate", "sweep") and not full else []
    small = shlex.split(SMALL.get(command, ""))
    if "--until" in argv:
        small[small.index("--seeds")] = "--max-seeds"
    if command == "train" and "--init-from runs/" in line:
        small[1] = "2100"  # the frames of a recording count as steps
    flags = [i for i, arg in enumerate(small) if arg.startswith("--")]
    for start, end in pairwise([*flags, len(small)]):
        flag, *value = small[start:end]
        if flag not in argv:
            argv += [flag, *value]
        elif flag != "--video":  # whose path is no budget
            argv[argv.index(flag) + 1] = value[0]
    return [command, *argv]


def has_grids(document: Path) -> bool:
    """Return whether a document has commands that differ with ``full``."""
    lines = [line for kind, line in steps(document) if kind == "reverie"]
    return any(arguments(line, full=True) != arguments(line, full=False) for line in lines)


def run_document(document: Path, folder: Path, *, full: bool) -> list[str]:
    """Run every step of a document in a folder, and return the lines that were not run."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    not_run = []
    for kind, text in steps(document):
        if "." in kind:
            (folder / kind).write_text(text)
        elif kind == "python":
            for pattern, small in REDUCED:
                text = re.sub(pattern, small, text)
            exec(compile(text, str(document), "exec"), namespace)
        elif kind == "reverie":
            argv = arguments(text, full=full)
            assert cli.main(argv) == 0, f"{text}\nran as: reverie {shlex.join(argv)}"
        elif kind != "" or text.split("#")[0].strip() in NOT_RUN:
            not_run.append(text)
    return not_run


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; what is registered and imported in it is forgotten afterwards.

    Models are evaluated on ``HELD_OUT`` segments, observations and states.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    tables, modules = {base: dict(table) for base, table in TABLES.items()}, {*sys.modules}
    starts = predictors.PredictorPretraining.held_out_starts
    monkeypatch.setattr(
        predictors.PredictorPretraining,
        "held_out_starts",
        lambda job, recording, count, longest: starts(job, recording, HELD_OUT, longest),
    )
    monkeypatch.setattr(representations, "NUM_HELD_OUT", HELD_OUT)
    sensitivity = partial(action_sensitivity, num_starts=HELD_OUT)
    monkeypatch.setattr(predictors, "action_sensitivity", sensitivity)
    monkeypatch.setattr(hypothesis, "UPDATES", 2)
    yield tmp_path
    for base, table in tables.items():
        TABLES[base].clear()
        TABLES[base].update(table)
    for name in {*sys.modules} - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def test_the_documents_steps_are_found() -> None:
    kinds = [kind for kind, _ in steps(ROOT / "README.md")]
    assert kinds.count("python") >= 1
    assert kinds.count("reverie") >= 5
    kinds = [kind for kind, _ in steps(ROOT / "docs/tutorials/density.md")]
    assert kinds.count("my_density.py") == 1
    assert kinds.count("reverie") >= 5


def test_budgets_alone_are_reduced() -> None:
    line = "reverie train dqn --game breakout --total-timesteps 500000  # a comment"
    assert arguments(line, full=True)[:6] == [
        "train", "dqn", "--game", "breakout", "--total-timesteps", "32",
    ]  # fmt: skip
    assert arguments("reverie play runs/a --video docs/a.gif", full=True)[:4] == [
        "play", "runs/a", "--video", "docs/a.gif",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in WITH_BLOCKS if name not in HEAVY])
def test_the_documents_run(reader: Path, name: str) -> None:
    not_run = run_document(ROOT / name, reader, full=False)
    assert {line.split("#")[0].strip() for line in not_run} <= NOT_RUN.keys()


@pytest.mark.long
@pytest.mark.parametrize("name", [x for x in WITH_BLOCKS if x in HEAVY or has_grids(ROOT / x)])
def test_the_documents_run_with_their_grids(reader: Path, name: str) -> None:
    not_run = run_document(ROOT / name, reader, full=True)
    assert {line.split("#")[0].strip() for line in not_run} <= NOT_RUN.keys()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda x: x.stem)
def test_the_outputs_of_a_notebook_are_those_of_its_cells(path: Path) -> None:
    """`make renew-notebooks` renews them; no cell failed, and no folder of a machine is named."""
    notebook = json.loads(path.read_text())
    source = runpy.run_path(str(path.with_name("renew.py")))["digest"](notebook)
    assert notebook["metadata"]["digest"] == source, "run `make renew-notebooks`"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    assert "/tmp/" not in path.read_text()
    assert path.stat().st_size < 400_000


def short_trainings() -> list[str]:
    """The commands of the documents whose lengths are given, of parts that the package has."""
    lines = [line for x in DOCUMENTS for kind, line in steps(x) if kind == "reverie"]
    given = re.compile(r"reverie (train|ablate|sweep) .*--total-timesteps (\d+)")
    own = re.compile(r"--config|--import|env:imagination|--folder runs/(dreamed|informed)")
    short = [x for x in lines if (m := given.match(x)) and int(m[2]) <= 50_000]
    return [x for x in dict.fromkeys(short) if not own.search(x)]


@pytest.mark.parametrize("line", short_trainings())
def test_agents_of_the_documents_learn(line: str) -> None:
    """Their first update is within the length, and within the first rung of a sweep."""
    _, command, *argv = shlex.split(line, comments=True)
    if command == "sweep":
        argv, file = take_config(argv)
        options, argv = parse_known_flags(SweepOptions, argv, "reverie sweep")
        assert "no update is made" not in describe(make_plan(argv, options, file))
    else:
        given, argv = parse_known_flags(AblateOptions, argv, "reverie ablate")
        assert not any(cell.warning for cell in make_grid(argv, given.games).cells)


def test_lines_that_are_not_run_are_in_the_documents() -> None:
    text = (ROOT / "README.md").read_text()
    assert all(line in text for line in NOT_RUN)


@pytest.mark.parametrize("part", ["density", "bonus", "env", "predictor"])
def test_a_part_of_ones_own_takes_fifteen_lines_beside_its_imports(part: str) -> None:
    module = next(text for name, text in blocks(ROOT / f"docs/tutorials/{part}.md") if "." in name)
    lines = [x for x in module.splitlines() if x and not x.startswith(("import ", "from "))]
    assert len(lines) <= 15
