"""The advice of refusals is true: it names what was typed, what it is, and what can be done."""

from pathlib import Path

import pytest
from command_lines import run_here as run

SMALL = ["env:catch", "--total-timesteps", "800", "--num-envs", "4"]


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
        (
            "train dyna agent.inner:ppo --agent.inner.gamma 7",
            "reverie: agent.inner.gamma is 7.0; it must be in 0..1.",
        ),
        (
            "train dyna env:catch agent.predictor:tiny-mlp --agent.inner.buffer-size 2",
            "reverie: agent.inner.buffer_size is 2, too few frames for 32 envs; it must be 64 or "
            "more.",
        ),
        (
            "train dqn-informed env:catch agent.predictor:tiny-mlp --agent.inner.batch-size 0",
            "reverie: agent.inner.batch_size is 0; it must be 1 or more.",
        ),
        (
            "train dyna env:catch agent.predictor:tiny-mlp --agent.model-buffer-size 0",
            "reverie: agent.model_buffer_size is 0, too few frames for 8 envs; it must be 16 or "
            "more.",
        ),
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


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("report text.txt", "text.txt is a file, and no folder of runs."),
        ("evaluate text.txt", "text.txt is a file, and neither a run folder nor a copy of"),
        ("evaluate junk", "junk is a file, and neither a run folder nor a copy of"),
        ("play text.txt", "text.txt is a file, and n"),
        ("export junk", "junk is a file, and n"),
        ("data show text.txt", "text.txt is a file, and no folder of a recording."),
        ("import text.txt", "text.txt is no file of 'reverie export', or it is damaged; export"),
        ("import junk", "junk is no file of 'reverie export', or it is damaged; export"),
        ("train ppo agent.representation:vae", "There is no role 'agent.representation'. agent:"),
        ("train ppo agent.representation:vae", "has it, and the agent here is ppo."),
        ("train ppo env:catch --game pong", "There is no flag --game. env:atari"),
        ("evaluate random env:catch", "in the Atari games of --games; leave out env:catch."),
        ("evaluate random --game pnog", "There is no game 'pnog'."),
        ("version", "Did you mean --version"),
    ],
)
def test_advice_fits_what_was_typed(
    args: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(args, capsys)


@pytest.mark.parametrize(
    "args",
    ["compress nothing", "data show nothing", "data replay nothing",
     "pretrain density:cts --data nothing"],
)  # fmt: skip
def test_a_missing_recording_that_was_typed_is_not_looked_for_in_a_config(
    args: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(args, capsys)
    assert "There is no recording nothing; 'reverie data list DIR'" in error
    assert "config.json" not in error


def test_a_sweep_says_which_values_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sweep", "ppo", *SMALL, "--agent.gamma", "0.9,1.5", "--dry-run") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "There is 1 different trial, fewer than --trials." in output
    assert "Refused: agent.gamma is 1.5; it must be in 0..1." in output


def test_a_file_and_a_sweep_name_the_settings_of_an_inner_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("preset: dyna\nagent: {inner: {gamma: 2.0}}\n")
    message = "agent.inner.gamma is 2.0; it must be in 0..1."
    assert refusal(f"train --config {path}", capsys) == f"reverie: {path}, line 2: {message}"
    small = "env:catch agent.predictor:tiny-mlp --agent.inner.gamma 0.9,2.0 --dry-run"
    assert run("sweep", "dyna", *small.split()) == 0
    assert f"Refused: {message}" in " ".join(capsys.readouterr().out.split())


def test_a_setting_that_no_run_has_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("runs/one")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"format": 6, "agent": {"class": "PPOConfig"}}')
    assert "has a setting agnet. Did you mean agent?" in refusal("runs --where agnet=ppo", capsys)
    assert run("runs", "--where", "agent=dqn") == 0


def test_steps_before_any_score_are_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        Path(name).mkdir()
        Path(name, "config.json").write_text('{"format": 6, "agent": {"class": "PPOConfig"}}')
        Path(name, "episodes.jsonl").write_text('{"step": 100, "score": 1.0}\n')
    assert run("compare", "a", "b") == 0
    output = capsys.readouterr().out
    assert "step 100" in output
    assert "step 75" not in output
