"""Results made again: a recipe is trained and evaluated, and what came of it is written down."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

from envs.maze import MazeConfig
from experiments.collect import collect
from experiments.endurance import endure
from experiments.evaluation import evaluate, load_trained, random_play, random_policy, scores_file
from experiments.machine import pick_threads
from experiments.mazes import maze_report
from experiments.parse import (
    default_folder,
    parse_collect,
    parse_experiment,
    parse_pretraining,
)
from experiments.predictors import compare
from experiments.pretraining import pretrain
from experiments.recipes import COLLECT, PREDICTION_RECIPES, PREDICTORS, RECIPES
from experiments.remembering import MEASUREMENTS
from experiments.run import Run, code
from experiments.training import train

RESULTS = Path(__file__).parent / "results"
PROVENANCE = ("commit", "modified", "cpu", "device", "threads", "torch", "ale-py")


def fit_predictor(game: str, model: str, folder: Path) -> Run:
    """Collect and pretrain, finished parts not again; the run is interrupted or finished."""
    data = folder / f"data-{game}"
    if not (data / "manifest.json").exists():
        _, env, options = parse_collect(shlex.split(COLLECT.format(game=game)))
        assert env is not None
        collect(
            random_policy(env, options.seed),
            env,
            data,
            frames=options.frames,
            threads=pick_threads(0),
        )
    words = [*shlex.split(PREDICTORS[model]), "--data", str(data), "--steps", "10000"]
    job, how = parse_pretraining(words)
    return pretrain(job, folder / f"{game}-{model}", how)


def reproduce_prediction(name: str, folder: Path) -> bool:
    """Fit each predictor of a game and compare them, finished parts not again.

    Writes the table and a film of the first one into results/predictors. Returns False where it
    was interrupted; the same call continues.
    """
    game, runs = PREDICTION_RECIPES[name], []
    for model in PREDICTORS:
        runs.append(fit_predictor(game, model, folder))
        if not runs[-1].finished:
            return False
    result = compare([run.folder for run in runs], video=True)
    about = json.loads((runs[0].folder / "provenance.json").read_text())
    result["command"] = f"reverie reproduce {name}"
    result["provenance"] = {k: about[k] for k in PROVENANCE if k in about}
    home = RESULTS / "predictors"
    home.mkdir(parents=True, exist_ok=True)
    (home / f"{game}.json").write_text(compact_json(result))
    film = runs[0].folder / "videos" / "imagined.mp4"
    (home / f"{game}.mp4").write_bytes(film.read_bytes())
    print(f"wrote {home / game}.json and .mp4")
    return True


def reproduce(name: str, folder: Path) -> bool:
    """Train and evaluate each seed, finished ones not again; each adds its raw scores at its end.

    Returns False where it was interrupted; the same call continues.
    """
    recipe = RECIPES[name]
    runs: list[dict[str, Any]] = []
    random, dreams = None, []
    if recipe.dreams_of:
        fit = fit_predictor(recipe.dreams_of, "predictor", folder)
        if not fit.finished:
            return False
        dreams = ["--env.run", str(fit.folder)]
    for seed in recipe.seeds:
        words = [*shlex.split(recipe.train), *dreams, "--seed", str(seed)]
        preset, (experiment,), options = parse_experiment(words)
        world = experiment.env.evaluation
        run = Run(folder / default_folder(preset, experiment).name)
        scored = run.folder / scores_file(explore=recipe.explore)
        if _steps_of(scored) < experiment.steps:
            run = train(experiment, run.folder, options)
            if not run.finished:
                return False
            _, agent, _, steps = load_trained(run.folder)
            scores = evaluate(agent, world, episodes=recipe.episodes, explore=recipe.explore)
            if isinstance(experiment.env, MazeConfig):
                run.write_json("walks.json", maze_report(agent, experiment.env))
            # The code may be later than the training's.
            run.write_json(scored.name, scores.summary() | {"steps": steps} | code())
        runs.append(_row(run, seed, recipe.explore))
        random = random or random_play(world, episodes=100, threads=pick_threads(0))
        data = {
            "name": name,
            "command": f"reverie reproduce {name}",
            "train": shlex.join(["reverie", "train", *shlex.split(recipe.train), *dreams]),
            "world": world.title,
            "protocol": world.protocol_label,
            "steps": experiment.steps,
            "frames": experiment.steps * experiment.env.frame_skip,
            "random": random.summary(),
            "runs": runs,
        }
        kind = "mazes" if isinstance(world, MazeConfig) else "dreams" if dreams else ""
        path = RESULTS / kind / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(compact_json(data))
        print(f"wrote {path}")
    return True


def measure(name: str, folder: Path) -> bool:
    """Measure a game's representations; False where it was interrupted, as above."""
    result = MEASUREMENTS[name].measure(folder)
    if result is None:
        return False
    data = {"name": name, "command": f"reverie reproduce {name}"} | result
    data["provenance"] = {k: result["provenance"][k] for k in PROVENANCE}  # of the fit
    path = RESULTS / "representations" / f"{result['world']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(compact_json(data))
    print(f"wrote {path}")
    return True


def outlast(name: str, folder: Path) -> bool:
    """A measurement of endurance, with its numbers in results/endurance."""
    result = endure(name, folder)
    data = {"name": name, "command": f"reverie reproduce {name}"} | result
    data["provenance"] = {k: result["provenance"][k] for k in PROVENANCE}
    path = RESULTS / "endurance" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(compact_json(data))
    print(f"wrote {path}")
    return True


def _steps_of(scored: Path) -> int:
    """Agent steps after which these scores were played; 0 where there are none."""
    try:
        return int(json.loads(scored.read_text())["steps"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def _row(run: Run, seed: int, explore: bool) -> dict[str, Any]:
    rows = run.read_lines("metrics.jsonl")
    scores = json.loads((run.folder / scores_file(explore=explore)).read_text())
    about = json.loads((run.folder / "provenance.json").read_text())
    walks = run.folder / "walks.json"
    return {  # no times: a run may have been in several sittings; speed is what `bench` measures
        "seed": seed,
        "evaluation": scores,
        "train": {
            "curve": [
                [row["step"], row["score/mean_100"]] for row in rows if "score/mean_100" in row
            ],
            "exact_hits": rows[-1].get("episodic/exact_hits"),
            "rooms": rows[-1].get("visits/rooms"),
            "keys": rows[-1].get("visits/keys"),
            "states": rows[-1].get("visits/states"),
            "plan_lengths": [
                [row["step"], row["plan/mean_length"]] for row in rows if "plan/mean_length" in row
            ],
        },
        **({"walks": json.loads(walks.read_text())} if walks.exists() else {}),
        "provenance": {k: about[k] for k in PROVENANCE},
    }


def compact_json(data: Any) -> str:
    """Indented, but short lists of numbers on one line each."""
    text = json.dumps(data, indent=1, allow_nan=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m.group().split()), text) + "\n"
