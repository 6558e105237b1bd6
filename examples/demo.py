"""`make demo`: train MFEC on Ms. Pac-Man for a few minutes and evaluate it.

The agent plays 30 episodes and is compared with random play. Run again, the example continues, or
prints the results of the finished run. `--total-timesteps N` and `--episodes N` shorten it.
"""

import sys
from pathlib import Path

from reverie import TrainOptions, train
from reverie.experiments.config.arguments import take_flag
from reverie.experiments.evaluation.evaluate import (
    Evaluation,
    evaluate_run,
    evaluation_video,
    random_play,
)
from reverie.experiments.runs.run import Run
from reverie.experiments.training.command_line import parse_experiment

FOLDER = Path("runs/demo")
PRESET = ["mfec", "--env.protocol.stack", "4", "--total-timesteps", "600000"]


def main(argv: list[str]) -> int:
    argv, number = take_flag(argv, "--episodes")
    evaluation = Evaluation(episodes=int(number or 30), video=True)
    _, (experiment,), _ = parse_experiment([*PRESET, *argv])
    run = train(experiment, FOLDER, TrainOptions(max_minutes=5))
    if run.interrupted:
        return 130
    print(f"\nEvaluating {evaluation.episodes} episodes of the agent, then of random play.")
    (scores,) = evaluate_run(FOLDER, evaluation)
    random = random_play(experiment.env, episodes=evaluation.episodes)
    print(f"\ntrained, {scores}\n\nrandom,  {random}\n")
    print(f"Training scores, mean of the last 100 episodes:\n  {_curve()}")
    print(f"\nLearning curve: {FOLDER / 'figures' / 'learning_curve.png'}")
    print(f"A video of one episode: {evaluation_video(run)}")
    return 0


def _curve(width: int = 60) -> str:
    """Return the learning curve as one line of block characters."""
    rows = Run(FOLDER).read_lines("metrics.jsonl")
    means = [
        row["charts/mean_episodic_return"] for row in rows if "charts/mean_episodic_return" in row
    ]
    sampled = [means[i * len(means) // width] for i in range(min(width, len(means)))] or [0.0]
    low, high = min(sampled), max(sampled) or 1.0
    blocks = "".join("▁▂▃▄▅▆▇█"[round(7 * (x - low) / (high - low or 1))] for x in sampled)
    return f"{low:,.0f} {blocks} {high:,.0f} after {rows[-1]['step']:,} agent steps"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
