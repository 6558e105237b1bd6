"""Recipes: the commands behind every learning result in the README, run again by name."""

import json
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agents.policies import RandomPolicy
from envs.interface import EnvConfig
from envs.maze import MazeConfig
from envs.stream import Stream
from experiments.evaluation import Scores, evaluate, load
from experiments.mazes import maze_report
from experiments.parse import default_folder, parse_experiment
from experiments.run import Run
from experiments.training import pick_threads, train

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Recipe:
    """A training command, the seeds it is run with, and how the result is evaluated."""

    train: str
    """What follows ``reverie train``; the seed is added."""
    seeds: tuple[int, ...] = (0, 1, 2)
    episodes: int = 30


# Three rooms a side and some loops, seen whole; a segment is many mazes of few ticks.
MAZES = (
    "env:maze agent.network:mlp --streams 256 --steps 3000000 --env.rooms 3 --env.view 9 "
    "--env.loops 0.2 --agent.network.hidden 256 256 --agent.horizon 16 --agent.backprop 16 "
    "--agent.clip 0.2 --agent.value-clip None --agent.learning-rate 1e-3 "
    "--agent.anneal-steps 3000000 --agent.commitment-cost 0.1"
)
PLANNERS = {
    "actor-critic": "",
    "action-repeat": " --agent.planner.longest 8",
    "straw": " --agent.planner.length 10 --agent.planner.filters 5 --agent.planner.reluctance 1",
    "strawe": " --agent.planner.length 10 --agent.planner.filters 5 --agent.planner.reluctance 1",
}
"""Planners compared, and their settings for mazes."""

RECIPES: dict[str, Recipe] = {
    "ms_pacman-episodic": Recipe("episodic --game ms_pacman --steps 600000"),
    "ms_pacman-episodic-4-frames": Recipe(
        "episodic --game ms_pacman --env.protocol.stack 4 --steps 600000"
    ),
    "pong-actor-critic": Recipe(
        "actor-critic --game pong --steps 2500000 --agent.anneal-steps 2500000 "
        "--pipeline 2 --precision bf16",
        seeds=(0,),
    ),
    **{
        f"{game}-{preset}": Recipe(f"{preset} --game {game} --steps 500000", seeds=(0, 1))
        for game in ("ms_pacman", "breakout")
        for preset in ("actor-critic", "action-repeat", "strawe")
    },
    **{
        f"maze-{preset}": Recipe(f"{preset} {MAZES}{settings}", seeds=(0,), episodes=256)
        for preset, settings in PLANNERS.items()
    },
}


def reproduce(name: str, folder: Path) -> bool:
    """Train and evaluate each seed, finished ones not again, and write the raw scores.

    Returns False where it was interrupted; the same call continues.
    """
    recipe = RECIPES[name]
    runs = []
    for seed in recipe.seeds:
        words = [*shlex.split(recipe.train), "--seed", str(seed)]
        preset, (experiment,), options = parse_experiment(words)
        world = held_out(experiment.env)
        run = Run(folder / default_folder(preset, experiment).name)
        if not (run.folder / "scores.json").exists():
            run = train(experiment, run.folder, options)
            if not run.finished:
                return False
            _, agent = load(run.folder)
            scores = evaluate(agent, world, episodes=recipe.episodes)
            if isinstance(experiment.env, MazeConfig):
                run.write_json("walks.json", maze_report(agent, experiment.env))
            run.write_json("scores.json", scores.summary())
        runs.append(_row(run, seed))
    random = random_play(world, episodes=100)
    data = {
        "name": name,
        "command": f"reverie reproduce {name}",
        "train": f"reverie train {recipe.train}",
        "world": world.title,
        "protocol": world.protocol_label,
        "steps": experiment.steps,
        "frames": experiment.steps * experiment.env.frame_skip,
        "random": random.summary(),
        "runs": runs,
    }
    path = (RESULTS / "mazes" if isinstance(world, MazeConfig) else RESULTS) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_compact_json(data))
    print(f"wrote {path}")
    return True


def held_out(env: EnvConfig) -> EnvConfig:
    """The world to be evaluated in: mazes never trained on, else the same."""
    return replace(env, split="held-out") if isinstance(env, MazeConfig) else env


def random_play(env: EnvConfig, *, episodes: int, seed: int = 0) -> Scores:
    """Scores of uniform play in a world, under its protocol."""
    probe = Stream(env.build(1))
    policy = RandomPolicy(probe.spec.num_actions, seed)
    probe.close()
    return evaluate(policy, env, episodes=episodes, seed=seed, threads=pick_threads(0))


def _row(run: Run, seed: int) -> dict[str, Any]:
    rows = run.read_lines("metrics.jsonl")
    scores = json.loads((run.folder / "scores.json").read_text())
    provenance = json.loads((run.folder / "provenance.json").read_text())
    walks = run.folder / "walks.json"
    return {  # no times: a run may have been in several sittings; speed is what `bench` measures
        "seed": seed,
        "evaluation": scores,
        "train": {
            "curve": [
                [row["step"], row["score/mean_100"]] for row in rows if "score/mean_100" in row
            ],
            "exact_hits": rows[-1].get("episodic/exact_hits"),
            "plan_lengths": [
                [row["step"], row["plan/mean_length"]] for row in rows if "plan/mean_length" in row
            ],
        },
        **({"walks": json.loads(walks.read_text())} if walks.exists() else {}),
        "provenance": {
            k: provenance[k] for k in ("commit", "modified", "cpu", "device", "torch", "ale-py")
        },
    }


def _compact_json(data: Any) -> str:
    """Indented, but short lists of numbers on one line each."""
    text = json.dumps(data, indent=1)
    return re.sub(r"\[[^\[\]{}]*\]", lambda m: " ".join(m.group().split()), text) + "\n"
