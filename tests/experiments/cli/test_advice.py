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


@pytest.mark.parametrize(
    ("args", "command"),
    [
        ("collect random --nope", "reverie collect --help"),
        ("ablate ppo --seeds x", "reverie ablate --help"),
        ("sweep ppo --trials x", "reverie sweep --help"),
        ("compress junk --nope", "reverie compress --help"),
    ],
)
def test_the_command_of_the_help_can_be_run(
    args: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(args, capsys).split(" ╰")[0].endswith(f" {command}")
    assert run(*command.split()[1:]) == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("train ppo --agent.gamma 7", "reverie: agent.gamma is 7.0; it must be in 0..1."),
        ("ablate ppo --seeds 0", "reverie: seeds is 0; it must be 1 or more."),
        ("sweep ppo --trials 0", "reverie: trials is 0; it must be 1 or more."),
        ("play x --port 0", "reverie: port is 0; it must be in 1..65535."),
    ],
)
def test_a_refused_value_is_one_sentence(
    args: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(args, capsys) == message


def test_a_number_that_is_not_whole_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    error = refusal("train ppo --total-timesteps 1e400", capsys)
    assert "--total-timesteps: '1e400' is no whole number; write it in digits." in error
