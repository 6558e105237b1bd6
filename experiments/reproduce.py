"""Recipes: the commands behind every learning result in the README, run again by name."""

import json
import re
import shlex
from dataclasses import dataclass
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
from experiments.remembering import MEASUREMENTS
from experiments.run import Run, code
from experiments.training import train

RESULTS = Path(__file__).parent / "results"
PROVENANCE = ("commit", "modified", "cpu", "device", "threads", "torch", "ale-py")


@dataclass(frozen=True)
class Recipe:
    """A training command, the seeds it is run with, and how the result is evaluated."""

    train: str
    """What follows ``reverie train``; the seed is added."""
    seeds: tuple[int, ...] = (0, 1, 2)
    episodes: int = 30
    explore: bool = False
    """Whether it is evaluated as it is trained, by draws from its policy."""
    dreams_of: str = ""
    """Game whose predictor is fitted first, where training is in its dreams."""


# Three rooms a side and some loops, seen whole; a segment is many mazes of few ticks.
MAZES = (
    "env:maze agent.network:mlp --streams 256 --steps 3000000 --env.rooms 3 --env.view 9 "
    "--env.loops 0.2 --agent.network.hidden 256 256 --agent.horizon 16 --agent.backprop 16 "
    "--agent.clip 0.2 --agent.value-clip None --agent.learning-rate 1e-3 "
    "--agent.anneal-steps 3000000 --agent.commitment-cost {cost}"
)
STRAW = " --agent.planner.length 10 --agent.planner.filters 5 --agent.planner.reluctance 1"
PLANNERS = {
    "actor-critic": "",
    "action-repeat": " --agent.planner.longest 8",
    "straw": STRAW,
    "strawe": STRAW,
}
"""Planners compared, and their settings for mazes."""

# As long as a processor allows, with a schedule and a replay as short.
COUNTING = (
    "--steps 250000 --agent.capacity 250000 --agent.learning-starts 10000 "
    "--agent.epsilon-steps 100000 --precision bf16 --visit-streams 8"
)

RECIPES: dict[str, Recipe] = {
    "ms_pacman-episodic": Recipe("episodic --game ms_pacman --steps 600000"),
    "ms_pacman-episodic-4-frames": Recipe(
        "episodic --game ms_pacman --env.protocol.stack 4 --steps 600000"
    ),
    **{  # 10 million frames, as published
        f"{game}-episodic{name}-2500k": Recipe(
            f"episodic --game {game} {stack}--steps 2500000", seeds=(0,)
        )
        for game in ("qbert", "ms_pacman")
        for name, stack in (("", ""), ("-4-frames", "--env.protocol.stack 4 "))
    },
    **{  # a lost life ends a return, as in the public re-implementation of the published re-run
        f"{game}-episodic-4-frames-lives-2000k": Recipe(
            f"episodic --game {game} --env.protocol.stack 4 --env.protocol.life-loss "
            "--steps 2000000",
            seeds=(0,),
        )
        for game in ("qbert", "ms_pacman")
    },
    "ms_pacman-episodic-sticky-1000k": Recipe(
        "episodic --game ms_pacman --protocol machado --env.protocol.stack 1 --steps 1000000",
        seeds=(0,),
    ),
    "pong-actor-critic": Recipe(
        "actor-critic --game pong --steps 2500000 --agent.anneal-steps 2500000 "
        "--pipeline 2 --precision bf16",
        seeds=(0,),
        explore=True,
    ),
    "pong-actor-critic-quarter": Recipe(  # the first quarter of CleanRL's schedule
        "actor-critic --game pong --steps 2500000 --pipeline 2 --precision bf16",
        seeds=(0,),
        explore=True,
    ),
    **{
        f"{game}-{preset}": Recipe(f"{preset} --game {game} {COUNTING}", seeds=(0, 1), episodes=10)
        for game in ("freeway", "montezuma_revenge")
        for preset in ("dqn", "dqn-cts")
    },
    **{
        f"{game}-{preset}-300k": Recipe(f"{preset} --game {game} --steps 300000", seeds=(0, 1))
        for game in ("ms_pacman", "frostbite")
        for preset in ("episodic", "episodic-vae")
    },
    **{
        f"{game}-{preset}": Recipe(
            f"{preset} --game {game} --steps 300000 --agent.anneal-steps 300000 --precision bf16",
            seeds=(0, 1),
            explore=True,
        )
        for game in ("ms_pacman", "breakout")
        for preset in ("actor-critic", "action-repeat", "strawe")
    },
    **{
        f"ms_pacman-{preset}": Recipe(
            f"{preset} --game ms_pacman --count-states --precision bf16", seeds=(0, 1)
        )
        for preset in ("dqn-short", "dqn-informed")
    },
    "imagination-actor-critic-pong": Recipe(
        "actor-critic env:imagination --env.horizon 50 --streams 64 --agent.horizon 32 "
        "--steps 500000 --agent.anneal-steps 500000 --precision bf16",
        seeds=(0,),
        explore=True,
        dreams_of="pong",
    ),
    **{
        f"maze-{preset}": Recipe(
            f"{preset} {MAZES.format(cost=0.1)}{settings}", seeds=(0,), episodes=256
        )
        for preset, settings in PLANNERS.items()
    },
    "maze-straw-cost-0.2": Recipe(  # plans anew less often
        f"straw {MAZES.format(cost=0.2)}{STRAW}", seeds=(0,), episodes=256
    ),
}

COLLECT = "random --game {game} --frames 100000"
PREDICTORS = {
    "predictor": "predictor:small",
    "no-action": "predictor:small --predictor.no-sees-action",
    "mlp": "predictor:small-mlp",
}
"""What is compared by horizon; each is trained for as many updates on the same frames."""
PREDICTION_RECIPES = {f"{game}-predictors": game for game in ("freeway", "pong")}


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
