"""``reverie runs`` and ``reverie compare``: what is listed, deleted and told apart."""

import fcntl
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fake_runs import finish

from reverie import PRESETS
from reverie.agents.dqn import DQNConfig
from reverie.experiments.cli import main as cli
from reverie.experiments.reporting.run_list import summarize_runs
from reverie.experiments.reporting.two_runs import compare_runs
from reverie.experiments.runs.run import Run
from reverie.experiments.runs.scores import read_scores, scores_file
from reverie.experiments.training.task import Task


def make_runs(root: Path) -> list[Path]:
    """Write two finished runs of DQN and one of PPO, with scores, and a damaged folder."""
    dqn = replace(PRESETS["dqn"], agent=DQNConfig(), total_timesteps=100)
    longer = replace(dqn, agent=DQNConfig(n_step=7))
    folders = [root / name for name in ("dqn", "dqn-n_step=7", "ppo")]
    for folder, experiment, score in zip(
        folders, (dqn, longer, PRESETS["ppo"]), (3.0, 9.0, 5.0), strict=True
    ):
        finish(Task(experiment, folder), score)
    (root / "broken").mkdir()
    (root / "broken" / "config.json").write_text("{")
    return folders


def listed(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    assert cli.main(["runs", *argv, "--json"]) == 0
    return [Path(run["folder"]).name for run in json.loads(capsys.readouterr().out)]


def test_runs_are_filtered_by_settings_and_sorted_by_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_runs(tmp_path)
    root = str(tmp_path)
    assert listed(capsys, root) == ["broken", "dqn", "dqn-n_step=7", "ppo"]
    assert listed(capsys, root, "--sort", "score")[:3] == ["dqn-n_step=7", "ppo", "dqn"]
    assert listed(capsys, root, "--where", "n-step=7") == ["dqn-n_step=7"]
    assert listed(capsys, root, "--where", "agent.n_step=1", "--where", "seed=0") == ["dqn"]
    assert cli.main(["runs", root, "--where", "step=7"]) == 2
    assert "has a setting step. Did you mean n_step" in " ".join(capsys.readouterr().err.split())
    assert listed(capsys, root, "--state", "damaged") == ["broken"]
    assert cli.main(["runs", root]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "9.00" in text
    assert "4 runs, " in text
    assert cli.main(["runs", root, "--where", "n_step"]) == 2
    assert cli.main(["runs", str(tmp_path / "absent")]) == 2


def test_a_long_name_is_whole_above_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    make_runs(tmp_path)
    name = f"dqn-{'learning_rate=0.001-' * 4}08f4a0"
    (tmp_path / "dqn").rename(tmp_path / name)
    assert cli.main(["runs", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "100%" in lines[lines.index(name) + 1]
    assert "3.00" in lines[lines.index(name) + 1]
    assert [line for line in lines if len(line) > 80] == [name]


def test_only_what_is_listed_is_deleted_and_nothing_in_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dqn, longer, ppo = make_runs(tmp_path)
    command = ["runs", str(tmp_path), "--where", "agent=dqn", "--delete"]
    (tmp_path / "notes.txt").write_text("mine")
    assert cli.main(command) == 2  # nobody can be asked
    assert longer.exists()
    with open(dqn / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert {x.folder: x.state for x in summarize_runs(tmp_path)}[dqn] == "running"
        assert cli.main([*command, "--yes"]) == 0
    assert dqn.exists()
    assert ppo.exists()
    assert (tmp_path / "notes.txt").exists()
    assert not longer.exists()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert cli.main(command) == 0
    assert dqn.exists()
    capsys.readouterr()


def test_what_a_run_has_not_written_is_not_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run below it, a file of the user, and the working folder."""
    dqn, longer, ppo = make_runs(tmp_path)
    (dqn / "thesis.txt").write_text("mine")
    inner = dqn / "other"
    shutil.copytree(ppo, inner)
    command = ["runs", str(tmp_path), "--where", "agent=dqn", "--delete", "--yes"]
    assert cli.main(command) == 0
    assert sorted(path.name for path in dqn.iterdir()) == ["other", "thesis.txt"]
    assert Run(inner).config() == Run(ppo).config()
    assert not longer.exists()
    output = " ".join(capsys.readouterr().out.split())
    assert "stays, as it holds what the run has not written: other, thesis.txt." in output
    monkeypatch.chdir(ppo)
    Path("notes.txt").write_text("mine")
    assert cli.main(["runs", ".", "--delete", "--yes"]) == 0
    assert [path.name for path in ppo.iterdir()] == ["notes.txt"]


def test_compared_runs_show_only_what_differs(tmp_path: Path) -> None:
    dqn, longer, ppo = make_runs(tmp_path)
    for folder, scores in ((dqn, (0.0, 1.0)), (longer, (0.0, 5.0))):
        rows = [{"step": 10 * (i + 1), "score": x} for i, x in enumerate(scores)]
        (folder / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings, evaluation, curve = compare_runs((dqn, longer))
    assert settings == [("setting", "dqn", "dqn-n_step=7"), ("agent.n_step", "1", "7")]
    assert evaluation[1] == ("mean score", "3.00, 30 episodes", "9.00, 30 episodes")
    assert curve[-1] == ("step 20", "0.500", "2.50")
    assert curve[1] == ("step 10", "0", "0")
    settings = compare_runs((dqn, ppo))[0]
    assert ("agent", "dqn", "ppo") in settings
    assert not any(name.startswith("agent.") for name, *_ in settings)


def test_a_truncated_evaluation_is_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dqn, longer, _ = make_runs(tmp_path)
    assert cli.main(["runs", str(tmp_path)]) == 0
    assert "truncated" not in capsys.readouterr().out
    path = dqn / scores_file(stochastic=False)
    scores = replace(read_scores(path), lengths=(1,) * 30, truncated=(True,) * 30, max_steps=1)
    path.write_text(json.dumps(scores.to_json()))
    assert cli.main(["runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "3.00!" in text
    assert "9.00!" not in text
    assert "! truncated: " in text
    shown = compare_runs((dqn, longer))[1][1][1]
    assert shown == "3.00, 30 episodes, 30 of them truncated after --max-steps 1"


def test_compare_takes_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dqn, longer, _ = make_runs(tmp_path)
    assert cli.main(["compare", str(dqn), str(longer)]) == 0
    assert "n_step" in capsys.readouterr().out
    assert cli.main(["compare", str(dqn)]) == 2
    assert cli.main(["compare", str(dqn), str(tmp_path)]) == 2


def test_a_setting_gained_since_is_no_difference_and_small_scores_keep_their_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dqn, _, _ = make_runs(tmp_path)
    other = tmp_path / "other"
    finish(Task(replace(PRESETS["dqn"], agent=DQNConfig(), total_timesteps=100), other), -0.0025)
    config = json.loads((other / "config.json").read_text())
    del config["agent"]["n_step"]
    (other / "config.json").write_text(json.dumps(config))
    evaluation, *_ = compare_runs((dqn, other))
    assert evaluation[1] == ("mean score", "3.00, 30 episodes", "-0.0025, 30 episodes")
    assert set(listed(capsys, str(tmp_path), "--where", "n_step=1")) >= {"dqn", "other"}
