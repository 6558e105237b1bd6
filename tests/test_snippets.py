"""The commands and the Python of the documents run as they stand, outside the checkout.

Every fenced block of a document runs in the order of the document, in one empty folder. Budgets
alone are reduced, by the rules of ``SMALL`` and ``REDUCED``; ``NOT_RUN`` lists the lines that are
left out.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from reverie.experiments.cli import main as cli

ROOT = Path(__file__).parent.parent

SMALL = {
    "train": "--total-timesteps 32 --random-play-seconds 0 --device cpu --quiet",
    "evaluate": "--episodes 1 --num-envs 1 --device cpu",
    "ablate": "--total-timesteps 32 --seeds 1 --episodes 1 --steps-per-second 500",
    "collect": "--frames 2000 --device cpu",
    "pretrain": "--num-updates 2 --device cpu --quiet",
    "play": "--video play.mp4 --timesteps 2 --device cpu",
}
"""Flags of each command that replace the document's, or are added to them."""
GAMES = {"atari26": "pong"}
"""Values of ``--games`` that are too many to play."""
REDUCED = [
    (r"total_timesteps=20_000", "total_timesteps=2_000"),
    (r"episodes=100", "episodes=10"),
    (r"num_updates=300", "num_updates=30"),
    (r"\.learn\([\d_]+\)", ".learn(256)"),
]
"""Patterns of Python that are replaced, with what replaces them."""
NOT_RUN = {
    "make demo": "installs a virtual environment; test_examples.py runs its script",
    "make test": "installs a virtual environment, and runs this test",
}
"""Lines that are not run, and why."""
FILES = {
    "my_pkg.py": """
import gymnasium, numpy as np
class MyEnv(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (36, 36), np.uint8)
    action_space = gymnasium.spaces.Discrete(3)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}
    def step(self, action):
        return self.observation_space.sample(), 1.0, bool(self.np_random.random() < 0.2), False, {}
gymnasium.register("MyEnv-v0", entry_point=MyEnv)
"""
}
"""What the documents take for granted: the reader's own files."""


def blocks(document: Path) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of every fenced block."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```", document.read_text(), re.S | re.M):
        yield match.group(1), match.group(2)


def steps(document: Path) -> Iterator[tuple[str, str]]:
    """Yield ("python", a block), or ("reverie", a line), or (another language, a line)."""
    for language, text in blocks(document):
        if language == "python":
            yield language, text
        else:
            lines = filter(None, map(str.strip, text.splitlines()))
            yield from (("reverie" if x.startswith("reverie ") else language, x) for x in lines)


def arguments(line: str, *, full: bool) -> list[str]:
    """Return the arguments of a line of a document, with a small budget.

    Unless ``full``, grids of runs are only printed.
    """
    _, command, *argv = shlex.split(line, comments=True)
    argv = [GAMES.get(arg, arg) for arg in argv]
    if command == "ablate":
        length = argv[argv.index("--total-timesteps") + 1] if "--total-timesteps" in argv else "all"
        argv += ["--folder", f"runs/ablate/{argv[0]}-{length}"]  # its default names the length
        argv += [] if full else ["--dry-run"]
    small = shlex.split(SMALL.get(command, ""))
    flags = [i for i, arg in enumerate(small) if arg.startswith("--")]
    for start, end in zip(flags, [*flags[1:], len(small)], strict=True):
        flag, *value = small[start:end]
        if flag not in argv:
            argv += [flag, *value]
        elif flag != "--video":  # whose path is no budget
            argv[argv.index(flag) + 1] = value[0]
    return [command, *argv]


def run_document(document: Path, folder: Path, *, full: bool) -> list[str]:
    """Run every step of a document in a folder, and return the lines that were not run."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    not_run = []
    for kind, text in steps(document):
        if kind == "python":
            for pattern, small in REDUCED:
                text = re.sub(pattern, small, text)
            exec(compile(text, str(document), "exec"), {"__name__": "__main__"})
        elif kind == "reverie":
            argv = arguments(text, full=full)
            assert cli.main(argv) == 0, f"{text}\nran as: reverie {shlex.join(argv)}"
        elif kind != "" or text.split("#")[0].strip() in NOT_RUN:
            not_run.append(text)
    return not_run


def test_the_documents_steps_are_found() -> None:
    kinds = [kind for kind, _ in steps(ROOT / "README.md")]
    assert kinds.count("python") >= 1
    assert kinds.count("reverie") >= 5
    assert [kind for kind, _ in steps(ROOT / "docs/usage.md")].count("reverie") >= 30


def test_budgets_alone_are_reduced() -> None:
    line = "reverie train dqn --game breakout --total-timesteps 500000  # a comment"
    assert arguments(line, full=True)[:6] == [
        "train", "dqn", "--game", "breakout", "--total-timesteps", "32",
    ]  # fmt: skip
    assert arguments("reverie play runs/a --video docs/a.gif", full=True)[:4] == [
        "play", "runs/a", "--video", "docs/a.gif",
    ]  # fmt: skip


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    not_run = run_document(ROOT / "README.md", tmp_path, full=False)
    assert {line.split("#")[0].strip() for line in not_run} == NOT_RUN.keys()


@pytest.mark.long
@pytest.mark.parametrize("name", ["README.md", "docs/usage.md", "CONTRIBUTING.md"])
def test_the_documents_run_with_their_grids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    not_run = run_document(ROOT / name, tmp_path, full=True)
    assert {line.split("#")[0].strip() for line in not_run} <= NOT_RUN.keys()
