"""Recipes: their committed results, and their continuation after interrupts."""

import contextlib
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reverie import Experiment, TrainOptions
from reverie.agents.networks import MLPConfig
from reverie.agents.ppo import PPOConfig
from reverie.envs.catch import CatchConfig
from reverie.experiments.ablation.ablate_options import AblateOptions
from reverie.experiments.ablation.grid import make_grid
from reverie.experiments.config.arguments import parse_known_flags
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.datasets.writer import Recorder
from reverie.experiments.evaluation.run_evaluation import Evaluation
from reverie.experiments.recipes import recipe
from reverie.experiments.recipes.constant_action_benchmark import ConstantActions
from reverie.experiments.recipes.prediction_benchmark import PredictorBenchmark
from reverie.experiments.recipes.recipes import RECIPES
from reverie.experiments.recipes.training_recipe import TrainingRecipe
from reverie.experiments.reporting import committed
from reverie.experiments.reporting.committed import RESULTS
from reverie.experiments.reproduce import reproduce, score_tables
from reverie.experiments.runs.run import Run
from reverie.experiments.runs.scores import Scores, read_scores
from reverie.experiments.sessions.options import PretrainOptions
from reverie.experiments.training.pretrain import Pretraining
from reverie.experiments.training.task import Task

CATCH = TrainingRecipe(
    "ppo",
    Experiment(
        PPOConfig(network=MLPConfig(), num_steps=16),
        CatchConfig(),
        num_envs=8,
        total_timesteps=800,
    ),
    TrainOptions(device="cpu", log_every=200, random_play_seconds=0),
    seeds=(0, 1),
    evaluation=Evaluation(episodes=8),
)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of results, and a short recipe."""
    for module in (reproduce, committed):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setitem(RECIPES, "catch-ppo", CATCH)
    return tmp_path / "results"


def read_result(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "catch-ppo.json").read_text())
    return data


def test_names_of_recipes_are_those_of_the_env_and_the_preset() -> None:
    for name, each in RECIPES.items():
        if isinstance(each, TrainingRecipe):
            assert name.startswith(f"{each.experiment.env.env_name}-{each.preset}")
            assert isinstance(each.experiment.agent, type(PRESETS[each.preset].agent))
            assert len(set(each.seeds)) == len(each.seeds) > 0


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_committed_result_is_of_its_recipe(path: Path) -> None:
    data, each = json.loads(path.read_text()), RECIPES[path.stem]
    assert (data["name"], data["command"]) == (path.stem, f"reverie reproduce {path.stem}")
    assert data["kind"] == each.kind
    if isinstance(each, TrainingRecipe):
        assert data["preset"] == each.preset
        assert data["steps"] == each.experiment.total_timesteps
        evaluations = [Scores.from_json(run["evaluation"]) for run in data["runs"]]
        assert {scores.protocol for scores in evaluations} == {data["protocol"]}
        assert {scores.stochastic for scores in evaluations} == {each.evaluation.stochastic}
        assert {scores.episodes for scores in evaluations} == {each.evaluation.episodes}
        assert [run["seed"] for run in data["runs"]] == [*each.seeds][: len(data["runs"])]
        if not data["imagined"]:
            assert data["protocol"] == each.experiment.env.eval_env.protocol_label


@pytest.mark.parametrize("path", sorted(RESULTS.glob("ablations/*.json")), ids=lambda x: x.stem)
def test_the_command_of_a_committed_grid_parses(path: Path) -> None:
    command = shlex.split(json.loads(path.read_text())["command"])[2:]
    options, argv = parse_known_flags(AblateOptions, command, "reverie ablate")
    assert make_grid(argv, options.games).cells


@pytest.mark.parametrize("stochastic", [False, True])
def test_a_recipe_writes_the_scores_of_each_seed_and_is_not_repeated(
    stochastic: bool, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = Evaluation(episodes=8, stochastic=stochastic)
    monkeypatch.setitem(RECIPES, "catch-ppo", replace(CATCH, evaluation=evaluation))
    reproduce.reproduce("catch-ppo", tmp_path / "runs")
    data = read_result(results)
    assert [run["seed"] for run in data["runs"]] == [0, 1]
    evaluations = [Scores.from_json(run["evaluation"]) for run in data["runs"]]
    assert [scores.episodes for scores in evaluations] == [8, 8]
    assert [scores.stochastic for scores in evaluations] == [stochastic] * 2
    assert len(data["random"]["scores"]) == 100
    cells = score_tables.scores_table().splitlines()[2].split(" | ")
    assert cells[:3] == ["| catch", "ppo", "own" + ", as in training" * stochastic]
    means = [scores.mean for scores in evaluations]
    assert [float(mean) for mean in cells[6].split(", ")] == pytest.approx(means, abs=0.051)
    # Scores of an earlier checkpoint are not used.
    (path, *_) = (tmp_path / "runs").glob("*/scores*.json")
    early = replace(read_scores(path), steps=400, scores=(9.0,) * 8)
    path.write_text(json.dumps(early.to_json()))
    reproduce.reproduce("catch-ppo", tmp_path / "runs")
    assert read_result(results) == data
    # Finished seeds are neither trained nor evaluated again.
    monkeypatch.setattr(Task, "execute", None)
    (results / "catch-ppo.json").unlink()
    reproduce.reproduce("catch-ppo", tmp_path / "runs")
    assert read_result(results) == data


def test_a_result_that_lacks_seeds_is_continued_on_another_machine(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduce.reproduce("catch-ppo", tmp_path / "whole")
    whole = read_result(results)
    monkeypatch.setitem(RECIPES, "catch-ppo", replace(CATCH, seeds=(0, 1, 2)))
    (results / "catch-ppo.json").unlink()
    reproduce.reproduce("catch-ppo", tmp_path / "first", seeds=1)
    assert [run["seed"] for run in read_result(results)["runs"]] == [0]
    reproduce.reproduce("catch-ppo", tmp_path / "second", seeds=1)
    assert len([*(tmp_path / "second").iterdir()]) == 1, "seed 0 is kept"
    assert read_result(results) == whole


def test_tables_are_made_of_fields(results: Path) -> None:
    """A result that was imagined or in mazes is known by its fields under any file name."""
    results.mkdir()
    data = json.loads((RESULTS / "imagination-ppo-pong.json").read_text())
    (results / "a.json").write_text(json.dumps(data))
    data = json.loads((RESULTS / "maze-straw-cost-0.2.json").read_text())
    (results / "b.json").write_text(json.dumps(data | {"name": "b"}))
    rows = score_tables.scores_table().splitlines()
    (imagined,) = [row for row in rows if row.startswith("| pong")]
    assert imagined.startswith("| pong | ppo, in imagination only <sup>a</sup> | mfec with stack 4")
    assert "| 500k (imagined) |" in imagined
    assert score_tables.mazes_table().splitlines()[2].startswith("| straw-cost-0.2 | 0 | 3M |")


def test_a_predictor_is_not_pretrained_on_an_incomplete_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupt while collecting, the next call collects again."""

    def interrupt(self: Recorder, *last: Any) -> None:
        raise KeyboardInterrupt

    lengths: list[int] = []

    def pretrain(job: Pretraining, folder: Path, options: PretrainOptions) -> Run:
        lengths.append(len(Recording(*job.data)))
        run = Run(folder)
        run.finished = True
        return run

    monkeypatch.setattr(recipe, "pretrain", pretrain)
    benchmark = PredictorBenchmark(CatchConfig(), frames=400)
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "close", interrupt)
        with pytest.raises(KeyboardInterrupt):
            benchmark.fit("mlp", tmp_path)
    for _ in range(2):
        benchmark.fit("mlp", tmp_path)
    assert lengths == [400, 400]


def test_an_interrupted_recipe_has_the_result_of_an_uninterrupted_one(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reproduce.reproduce("catch-ppo", tmp_path / "uninterrupted")
    uninterrupted = read_result(results)
    interrupted = replace(CATCH, options=replace(CATCH.options, max_minutes=0.005))
    monkeypatch.setitem(RECIPES, "catch-ppo", interrupted)
    sessions, finished = 0, False
    while not finished:
        sessions += 1
        with contextlib.suppress(KeyboardInterrupt):
            reproduce.reproduce("catch-ppo", tmp_path / "runs")
            finished = True
    assert sessions > 2, "each of the two runs is interrupted at least once"
    for one, other in zip(read_result(results)["runs"], uninterrupted["runs"], strict=True):
        assert one["evaluation"]["scores"] == other["evaluation"]["scores"]
        assert one["train"] == other["train"]


def test_the_best_constant_action_is_played_again(tmp_path: Path) -> None:
    """In Freeway only UP crosses, for the first time after about 130 agent steps."""
    short = ConstantActions({"freeway": ("mfec",)}, trial_episodes=1, episodes=2, frames_cap=900)
    for _ in range(2):
        ((row,),) = (result["rows"] for result in short.measure(tmp_path))
        assert (row["env_name"], row["protocol"], row["action"]) == ("freeway", "mfec", "up")
        assert row["trials"].keys() == {"noop", "up", "down"}
        assert row["trials"]["noop"] == [0.0]
        assert min(row["scores"]) >= 1
        assert len(row["scores"]) == 2
