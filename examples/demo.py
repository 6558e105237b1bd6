"""`make demo`: a few minutes of Ms. Pac-Man, and what was learned in them.

An episodic controller trains, plays 30 whole episodes, and stands beside random play. Run it again
and it continues, or shows the finished run. `--steps N` and `--episodes N` shorten it.
"""

import sys
from pathlib import Path

from experiments import TrainOptions, evaluate, load, train
from experiments.evaluation import random_play
from experiments.parse import parse_experiment, take
from experiments.recipes import RECIPES
from experiments.run import Run

FOLDER = Path("runs/demo")


def main(words: list[str]) -> int:
    recipe = RECIPES["ms_pacman-episodic-4-frames"]
    words, number = take(words, "--episodes")
    episodes = int(number or recipe.episodes)
    _, (experiment,), _ = parse_experiment([*recipe.train.split(), *words])
    run = train(experiment, FOLDER, TrainOptions(minutes=5))
    if run.interrupted:
        return 130
    print(f"\nEvaluating: {episodes} whole episodes of the trained agent, then of random play.")
    _, agent = load(FOLDER)
    video = FOLDER / "videos" / "evaluation.mp4"
    scores = evaluate(agent, experiment.env, episodes=episodes, video=video)
    run.write_json("scores.json", scores.summary())
    random = random_play(experiment.env, episodes=episodes)
    print(f"\ntrained, {scores}\n\nrandom,  {random}\n")
    print(f"Training scores, mean of the last 100 episodes:\n  {_curve()}")
    print(f"\nThe learning curve: {FOLDER / 'figures' / 'learning_curve.png'}")
    print(f"An episode to watch: {video}")
    return 0


def _curve(width: int = 60) -> str:
    """The learning curve as one line of blocks."""
    rows = Run(FOLDER).read_lines("metrics.jsonl")
    means = [row["score/mean_100"] for row in rows if "score/mean_100" in row]
    picked = [means[i * len(means) // width] for i in range(min(width, len(means)))] or [0.0]
    low, high = min(picked), max(picked) or 1.0
    blocks = "".join("▁▂▃▄▅▆▇█"[round(7 * (x - low) / (high - low or 1))] for x in picked)
    return f"{low:,.0f} {blocks} {high:,.0f} after {rows[-1]['step']:,} agent steps"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
