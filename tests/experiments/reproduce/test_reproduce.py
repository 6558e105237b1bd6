"""Recipes: their commands, their committed results, and their continuation after interrupts."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reverie.envs.catch import CatchConfig
from reverie.experiments.ablation.grid import make_grid
from reverie.experiments.config.arguments import take_flag
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.datasets.writer import Recorder
from reverie.experiments.reporting.committed import RESULTS
from reverie.experiments.reproduce import reproduce, tables
from reverie.experiments.reproduce.endurance import KILL_STORM_ARGS, SOAK_ARGS
from reverie.experiments.reproduce.recipes import RECIPES, Recipe
from reverie.experiments.runs.run import Run
from reverie.experiments.training.command_line import parse_experiment
from reverie.experiments.training.pretrain import Pretraining

CATCH = (
    "ppo env:catch agent.network:mlp --num-envs 8 --agent.num-steps 16 --total-timesteps 800 "
    "--log-every 200 --random-play-seconds 0 --device cpu"
)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of results, and a short recipe."""
    for module in (reproduce, tables):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setitem(RECIPES, "catch-ppo", Recipe(CATCH, seeds=(0, 1), episodes=8))
    return tmp_path / "results"


def read_result(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "catch-ppo.json").read_text())
    return data


@pytest.mark.parametrize("args", [KILL_STORM_ARGS, *SOAK_ARGS.values()])
def test_the_commands_of_endurance_parse(args: str) -> None:
    preset, (experiment,), _ = parse_experiment(shlex.split(args))
    assert isinstance(experiment.agent, type(PRESETS[preset].agent))


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.json")), ids=lambda path: path.stem)
def test_a_committed_result_has_the_command_of_its_recipe(path: Path) -> None:
    data = json.loads(path.read_text())
    if path.stem in RECIPES:
        train = data["train"].removeprefix("reverie train ")
        assert (data["name"], data["command"]) == (path.stem, f"reverie reproduce {path.stem}")
        assert train.partition(" --env.run")[0] == RECIPES[path.stem].train
    elif path.stem == "kill-storm":
        assert data["train"] == f"reverie train {KILL_STORM_ARGS}"
    elif path.stem == "soak":
        runs = {name: row["train"] for name, row in data["runs"].items()}
        assert runs == {name: f"reverie train {args}" for name, args in SOAK_ARGS.items()}
    elif path.parent.name == "ablations":
        assert make_grid(*_grid_arguments(data["command"]))
    else:
        assert path.parent.name in ("bench", "predictors", "representations")


def _grid_arguments(command: str) -> tuple[list[str], str]:
    """The arguments of ``make_grid`` in a command of ``reverie ablate``."""
    argv, games = take_flag(shlex.split(command)[2:], "--games")
    argv, _ = take_flag(argv, "--seeds")
    return [arg for arg in argv if arg != "--no-video"], games or ""


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_recipe_writes_the_scores_of_each_seed_and_is_not_repeated(
    stochastic: bool, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPES["catch-ppo"], stochastic=stochastic)
    monkeypatch.setitem(RECIPES, "catch-ppo", recipe)
    assert reproduce.reproduce("catch-ppo", tmp_path / "runs")
    data = read_result(results)
    assert [run["seed"] for run in data["runs"]] == [0, 1]
    assert [len(run["evaluation"]["scores"]) for run in data["runs"]] == [8, 8]
    assert [run["evaluation"]["stochastic"] for run in data["runs"]] == [stochastic] * 2
    assert len(data["random"]["scores"]) == 100
    means = [sum(run["evaluation"]["scores"]) / 8 for run in data["runs"]]
    cells = tables.scores_table().splitlines()[2].split(" | ")
    assert cells[:3] == ["| catch", "ppo", "own" + ", as in training" * stochastic]
    assert [float(mean) for mean in cells[4].split(", ")] == pytest.approx(means, abs=0.051)
    (results / "dreams").mkdir()
    (results / "dreams" / "catch.json").write_text(json.dumps(data))
    (imagined,) = [row for row in tables.scores_table().splitlines() if "imagin" in row]
    assert imagined.startswith("| catch | ppo, in imagination only | own")
    assert "| 0.8k (imagined) |" in imagined
    # Scores of an earlier checkpoint are not used.
    (run, *_) = (tmp_path / "runs").glob("*/scores*.json")
    early = json.loads(run.read_text()) | {"steps": 400, "mean": 9.0}
    run.write_text(json.dumps(early))
    assert reproduce.reproduce("catch-ppo", tmp_path / "runs")
    assert read_result(results) == data
    # Finished seeds are neither trained nor evaluated again.
    for function in ("train", "evaluate"):
        monkeypatch.setattr(reproduce, function, None)
    (results / "catch-ppo.json").unlink()
    assert reproduce.reproduce("catch-ppo", tmp_path / "runs")
    assert read_result(results) == data


def test_a_predictor_is_not_pretrained_on_an_incomplete_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupt while collecting, the next call collects again."""

    def interrupt(self: Recorder, *last: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce, "FRAMES", 400)
    monkeypatch.setattr(reproduce, "AtariConfig", lambda game: CatchConfig())
    lengths: list[int] = []

    def pretrain(job: Pretraining, folder: Path) -> Run:
        lengths.append(len(Recording(*job.data)))
        return Run(folder)

    monkeypatch.setattr(reproduce, "pretrain", pretrain)
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "close", interrupt)
        with pytest.raises(KeyboardInterrupt):
            reproduce.fit_predictor("catch", "mlp", tmp_path)
    for _ in range(2):
        reproduce.fit_predictor("catch", "mlp", tmp_path)
    assert lengths == [400, 400]


def test_an_interrupted_recipe_has_the_result_of_an_uninterrupted_one(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reproduce.reproduce("catch-ppo", tmp_path / "uninterrupted")
    uninterrupted = read_result(results)
    interrupted = replace(RECIPES["catch-ppo"], train=f"{CATCH} --max-minutes 0.005")
    monkeypatch.setitem(RECIPES, "catch-ppo", interrupted)
    sessions = 1
    while not reproduce.reproduce("catch-ppo", tmp_path / "runs"):
        sessions += 1
    assert sessions > 2, "each of the two runs is interrupted at least once"
    for one, other in zip(read_result(results)["runs"], uninterrupted["runs"], strict=True):
        assert one["evaluation"]["scores"] == other["evaluation"]["scores"]
        assert one["train"] == other["train"]
