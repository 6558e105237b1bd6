"""Privileged references in envs that do not offer what they read: one sentence, and no run."""

import os
from pathlib import Path

import pytest

from reverie.experiments.cli import main as cli

QUIET = ["--device", "cpu", "--quiet", "--total-timesteps", "32", "--random-play-seconds", "0"]
GYM = ["env:gym", "--env.id", "sample_envs:Counter-v0", "--import", "sample_envs"]
REFERENCES = {
    "bonus:true-counts": ["dqn", "agent.network:mlp"],
    "agent.representation:true-state": ["mfec"],
    "agent.planner:shortest-path": ["ppo", "agent.network:mlp"],
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refusal(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the error of a command, which is to write no file."""
    assert cli.main(argv) == 2
    assert not [name for *_, files in os.walk(".") for name in files if name != "lock"]
    return capsys.readouterr().err


@pytest.mark.parametrize("part", REFERENCES)
@pytest.mark.parametrize(
    ("env", "name"),
    [(GYM, "Counter-v0"), (["--game", "breakout"], "breakout")],
    ids=["gym", "atari"],
)
def test_without_a_true_state(
    part: str, env: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    preset, *others = REFERENCES[part]
    role = part.partition(":")[0]
    for command in (["train"], ["ablate"]):
        argv = [*command, preset, part, *others, *env, *QUIET[:2], *QUIET[3:5]]
        error = refusal(argv, capsys)
        assert f"In {name}, {part} needs the true state, which this env does not" in error, command
        offering = "env:maze" if role == "agent.planner" else "env:catch"
        assert f"choose another {role}, or an env that offers it, such as {offering}" in error


def test_a_path_in_what_is_no_maze(capsys: pytest.CaptureFixture[str]) -> None:
    planner = "agent.planner:reactive,shortest-path"
    argv = ["ablate", "ppo", planner, "agent.network:mlp", "env:maze,catch", *QUIET[:2]]
    error = refusal(argv, capsys)
    assert "In catch, agent.planner:shortest-path needs walker_row, walker_column, goal" in error
    assert "wall_* of the true state, which consists of ball_row, ball_column, paddle" in error
    assert "choose another agent.planner, or an env that offers it, such as env:maze" in error


def test_in_imagined_rollouts(capsys: pytest.CaptureFixture[str]) -> None:
    inner = ["agent.inner:mfec", "agent.inner.representation:true-state", "env:catch"]
    error = refusal(["train", "dyna", *inner, *QUIET], capsys)
    assert (
        "agent.inner.representation needs the true state, which imagined rollouts do not" in error
    )
    assert "choose another agent.inner.representation" in error


def test_references_are_listed_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "roles"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    names = [*REFERENCES, "agent.predictor:emulator"]
    assert shown.count("A privileged reference.") == len(names)
    assert "true-counts Visit counts of the true state. A privileged reference." in shown


def test_a_true_state_has_nothing_to_pretrain(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "collect",
        "random",
        "env:catch",
        "--frames",
        "40",
        "--folder",
        "data",
        "--device",
        "cpu",
    ]
    assert cli.main([*argv, "--num-envs", "2"]) == 0
    assert cli.main(["pretrain", "representation:true-state", "--data", "data"]) == 2
    assert "has no parameters to train" in capsys.readouterr().err
