"""Reproduction of the committed results: recipes are run and their results are written.

Each function takes a recipe's name and the folder of its runs. It returns False if it was
interrupted; the same call continues, without repeating finished runs.
"""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...envs.atari.atari import AtariConfig
from ...envs.maze import MazeConfig
from ..config.presets import default_folder
from ..datasets.collect import collect
from ..evaluation.evaluate import evaluate, load_trained, random_play, random_policy
from ..evaluation.mazes import evaluate_mazes
from ..reporting.committed import PROVENANCE_FIELDS, RESULTS, compact_json
from ..runs.provenance import code_version
from ..runs.run import Run
from ..runs.runtime import pick_threads
from ..runs.scores import scores_file
from ..training.command_line import parse_experiment
from ..training.predictors import compare_predictors
from ..training.pretrain import pretrain
from ..training.train import train
from .endurance import measure_endurance
from .recipes import FRAMES, NUM_UPDATES, PREDICTION_RECIPES, PREDICTORS, RECIPES
from .representation_benchmark import REPRESENTATION_BENCHMARKS


def reproduce(name: str, folder: Path) -> bool:
    """Train and evaluate each seed of a recipe; its file is rewritten after each seed."""
    recipe = RECIPES[name]
    runs: list[dict[str, Any]] = []
    random, predictor_args = None, []
    if recipe.dreams_of:
        predictor_run = fit_predictor(recipe.dreams_of, "predictor", folder)
        if not predictor_run.finished:
            return False
        predictor_args = ["--env.run", str(predictor_run.folder)]
    for seed in recipe.seeds:
        argv = [*shlex.split(recipe.train), *predictor_args, "--seed", str(seed)]
        preset, (experiment,), options = parse_experiment(argv)
        eval_env = experiment.env.eval_env
        run = Run(folder / default_folder(preset, experiment).name)
        scores_path = run.folder / scores_file(stochastic=recipe.stochastic)
        if _evaluated_steps(scores_path) < experiment.total_timesteps:
            run = train(experiment, run.folder, options)
            if not run.finished:
                return False
            _, agent, _, steps = load_trained(run.folder)
            scores = evaluate(
                agent, eval_env, episodes=recipe.episodes, stochastic=recipe.stochastic
            )
            if isinstance(experiment.env, MazeConfig):
                run.write_json("mazes.json", evaluate_mazes(agent, experiment.env))
            # The code may have changed since training.
            run.write_json(scores_path.name, scores.summary() | {"steps": steps} | code_version())
        runs.append(_run_entry(run, seed, recipe.stochastic))
        random = random or random_play(eval_env, episodes=100, threads=pick_threads(0))
        data = {
            "name": name,
            "command": f"reverie reproduce {name}",
            "train": shlex.join(["reverie", "train", *shlex.split(recipe.train), *predictor_args]),
            "env_name": eval_env.env_name,
            "protocol": eval_env.protocol_label,
            "steps": experiment.total_timesteps,
            "frames": experiment.total_timesteps * experiment.env.frame_skip,
            "random": random.summary(),
            "runs": runs,
        }
        subfolder = (
            "mazes" if isinstance(eval_env, MazeConfig) else "dreams" if predictor_args else ""
        )
        _write(RESULTS / subfolder / f"{name}.json", data)
    return True


def reproduce_prediction(name: str, folder: Path) -> bool:
    """Pretrain each predictor of a game and compare them.

    Writes the table and a video of the first one to results/predictors.
    """
    game, runs = PREDICTION_RECIPES[name], []
    for model in PREDICTORS:
        runs.append(fit_predictor(game, model, folder))
        if not runs[-1].finished:
            return False
    result = compare_predictors([run.folder for run in runs], video=True)
    provenance = json.loads((runs[0].folder / "provenance.json").read_text())
    result["command"] = f"reverie reproduce {name}"
    result["provenance"] = {k: provenance[k] for k in PROVENANCE_FIELDS if k in provenance}
    path = RESULTS / "predictors" / f"{game}.json"
    _write(path, result)
    video = runs[0].folder / "videos" / "imagined.mp4"
    path.with_suffix(".mp4").write_bytes(video.read_bytes())
    print(f"wrote {path.with_suffix('.mp4')}")
    return True


def reproduce_representations(name: str, folder: Path) -> bool:
    """Measure the representations of a game; writes to results/representations."""
    result = REPRESENTATION_BENCHMARKS[name].measure(folder)
    if result is None:
        return False
    data = {"name": name, "command": f"reverie reproduce {name}"} | result
    data["provenance"] = {k: result["provenance"][k] for k in PROVENANCE_FIELDS}
    _write(RESULTS / "representations" / f"{result['env_name']}.json", data)
    return True


def reproduce_endurance(name: str, folder: Path) -> bool:
    """Measure the endurance of training; writes to results/endurance."""
    result = measure_endurance(name, folder)
    data = {"name": name, "command": f"reverie reproduce {name}"} | result
    data["provenance"] = {k: result["provenance"][k] for k in PROVENANCE_FIELDS}
    _write(RESULTS / "endurance" / f"{name}.json", data)
    return True


def fit_predictor(game: str, model: str, folder: Path) -> Run:
    """Collect and pretrain unless finished; return the run, finished or interrupted."""
    data = folder / f"data-{game}"
    if not (data / "manifest.json").exists():
        env = AtariConfig(game)
        collect(random_policy(env), env, data, frames=FRAMES, threads=pick_threads(0))
    job = replace(PREDICTORS[model], data=(str(data),), num_updates=NUM_UPDATES)
    return pretrain(job, folder / f"{game}-{model}")


def _evaluated_steps(scores_path: Path) -> int:
    """Return the agent steps of the evaluated checkpoint; 0 if there are no scores."""
    try:
        return int(json.loads(scores_path.read_text())["steps"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def _run_entry(run: Run, seed: int, stochastic: bool) -> dict[str, Any]:
    """Return a run's part of a committed result.

    Times are left out: a run may have had several sessions, and ``reverie bench`` measures speed.
    """
    rows = run.read_lines("metrics.jsonl")
    scores = json.loads((run.folder / scores_file(stochastic=stochastic)).read_text())
    provenance = json.loads((run.folder / "provenance.json").read_text())
    mazes = run.folder / "mazes.json"
    return {
        "seed": seed,
        "evaluation": scores,
        "train": {
            "curve": _series(rows, "charts/episodic_return"),
            "exact_hits": rows[-1].get("mfec/exact_hits"),
            "rooms": rows[-1].get("visits/rooms"),
            "keys": rows[-1].get("visits/keys"),
            "states": rows[-1].get("visits/states"),
            "plan_lengths": _series(rows, "plan/mean_length"),
        },
        **({"mazes": json.loads(mazes.read_text())} if mazes.exists() else {}),
        "provenance": {k: provenance[k] for k in PROVENANCE_FIELDS},
    }


def _series(rows: list[dict[str, Any]], name: str) -> list[list[float]]:
    """Return [agent step, value] of each row that has the metric."""
    return [[row["step"], row[name]] for row in rows if name in row]


def _write(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(compact_json(data))
    print(f"wrote {path}")
