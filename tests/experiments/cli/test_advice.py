"""The advice of refusals is true: it names what was typed, what it is, and what can be done."""

from pathlib import Path

import pytest

from reverie.experiments.cli import main as cli

SMALL = ["env:catch", "--total-timesteps", "800", "--num-envs", "4"]


def run(*args: str) -> int:
    """Run a command and return its exit status."""
    try:
        return cli.main(list(args))
    except SystemExit as exit:  # raised by tyro for a wrong flag
        return int(exit.code or 0)


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("hello\n")
    Path("junk").write_bytes(bytes(range(128, 256)))


def refusal(args: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the sentence, on one line, by which a command is refused with status 2."""
    assert run(*args.split()) == 2
    return " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("train ppo env:catch env:maze", "env is chosen twice, by env:catch and env:maze;"),
        ("ablate ppo agent:ppo agent:dqn", "agent is chosen twice, by agent:ppo and agent:dqn;"),
        ("ablate ppo agent:ppo,dqn,ppo", "'agent:ppo,dqn,ppo' names ppo twice; keep one."),
    ],
)
def test_repeated_parts_are_refused(
    args: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(args, capsys)


@pytest.mark.parametrize("choice", [[], ["bonus:none"]])
def test_a_grid_of_one_cell_says_so(choice: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    grid = ["ablate", "ppo", *choice, *SMALL, "--seeds", "1", "--dry-run"]
    assert run(*grid, "--steps-per-second", "9") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert output.startswith("1 cell x 1 seed = 1 run in ")
    assert "There is one cell and nothing is compared;" in output
