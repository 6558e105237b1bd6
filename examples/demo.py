"""`make demo`: train MFEC on Ms. Pac-Man for five minutes and show what it has learned.

The agent plays 30 episodes, beside random play and the best constant action, and a picture shows
the memories that it acts by. Run again, the example continues, or prints the results of the
finished run. `--total-timesteps N` and `--episodes N` shorten it; `--folder DIR` is its run folder.
"""

import sys
import zlib
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reverie import TrainOptions, evaluate, load, train
from reverie.agents.episodic.mfec import MFEC
from reverie.agents.loop import interact
from reverie.agents.policies import ConstantPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.interface import Transition
from reverie.experiments.cli.main import exit_status
from reverie.experiments.config.arguments import take_flag
from reverie.experiments.evaluation.evaluate import random_play
from reverie.experiments.evaluation.run_evaluation import Evaluation, evaluate_run, evaluation_video
from reverie.experiments.reporting.constant_actions import best_constant_action
from reverie.experiments.runs.run import Run
from reverie.experiments.runs.scores import Scores
from reverie.experiments.sessions.callbacks import Callback
from reverie.experiments.sessions.command_line import parse_experiment

# Few envs and a discount make it learn faster per step than the published settings. It is evaluated
# without random actions: it repeats remembered games, which one random action can ruin.
SETTINGS = (
    "mfec --env.protocol.stack 4 --env.protocol.eval-epsilon 0 --agent.gamma 0.99 --num-envs 8 "
    "--total-timesteps 600000"
)


def main(argv: list[str]) -> int:
    argv, number = take_flag(argv, "--episodes")
    argv, name = take_flag(argv, "--folder")
    episodes, folder = int(number or 30), Path(name or "runs/demo")
    picture = folder / "figures" / "memories.png"
    _, (experiment,), _ = parse_experiment([*SETTINGS.split(), *argv])
    memories = Memories()
    run = train(experiment, folder, TrainOptions(max_minutes=5), [memories])
    if run.interrupted:
        return 130
    assert isinstance(experiment.env, AtariConfig)
    print(f"\nEvaluating {episodes} episodes of the agent and of two players that do not learn.")
    (trained,) = evaluate_run(folder, Evaluation(episodes=episodes, video=True))
    print(f"\ntrained agent    {trained}\n")
    print(f"random play      {_short(random_play(experiment.env, episodes=episodes))}")
    if best := best_constant_action(experiment.env.game, experiment.env.protocol.name):
        policy = ConstantPolicy(experiment.env.action_names(0).index(best.action))
        scores = evaluate(policy, experiment.env, episodes=episodes, device="cpu")
        print(f"always {best.action:9} {_short(scores)}")
    print(f"\nTraining scores, mean of the last 100 episodes:\n  {_training(run)}\n")
    if memories.frames:  # none if the run had finished before
        draw_memories(memories, folder, experiment.env, picture)
    for title, path in {
        "Learning curve": folder / "figures" / "learning_curve.png",
        "What it remembers": picture,
        "One episode": evaluation_video(run),
    }.items():
        if path.exists():
            print(f"{title + ':':18} {path}")
    print(f"\nWatch it play, with its estimates:\nreverie play {folder}")
    return 0


def _short(scores: Scores) -> str:
    return str(scores).splitlines()[0]


def _training(run: Run) -> str:
    rows = run.read_lines("metrics.jsonl")
    means = [x["charts/mean_episodic_return"] for x in rows if "charts/mean_episodic_return" in x]
    if not means:
        return "no episode has ended"
    picture = f"{min(means):,.0f} {blocks(means)} {max(means):,.0f}"
    return f"{picture}, at last {means[-1]:,.0f} after {rows[-1]['step']:,} agent steps"


def blocks(numbers: Sequence[float], width: int = 60) -> str:
    """Draw numbers from the first to the last as at most ``width`` block characters."""
    count = min(width, len(numbers))
    sampled = [numbers[i * (len(numbers) - 1) // max(count - 1, 1)] for i in range(count)]
    low, spread = min(numbers), (max(numbers) - min(numbers)) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (x - low) / spread)] for x in sampled)


class Memories(Callback):
    """Keeps the newest frame of every observation, compressed; the agent stores keys alone."""

    def __init__(self) -> None:
        self.frames: dict[int, bytes] = {}
        """Frames by the digest of the observation, which the tables store beside its key."""

    def on_transition(self, t: Transition, step: int) -> None:
        for digest, obs in zip(t.extras["digest"].tolist(), t.step.obs, strict=True):
            if digest not in self.frames:
                self.frames[digest] = zlib.compress(obs[-1].cpu().numpy().tobytes(), 1)


@torch.no_grad()
def draw_memories(
    memories: Memories, folder: Path, env: AtariConfig, path: Path, moments: int = 4
) -> None:
    """Draw some observations of an episode, each beside the memories that its action relies on."""
    from matplotlib.figure import Figure

    _, agent = load(folder)
    assert isinstance(agent, MFEC)
    tables, names, columns = agent.tables, env.action_names(0), 5
    with closing(BatchedEnv(env.build(1), seed=1, device=agent.device)) as envs:
        steps = list(islice(interact(envs, agent, explore=False), 400))[50::100][:moments]
    figure = Figure(figsize=(1.8 * (columns + 1), 2.1 * len(steps)), layout="constrained")
    figure.suptitle(
        "An observation, and its nearest memories: the discounted return that followed each, and "
        "the distance of its key"
    )
    grid: Any = figure.subplots(len(steps), columns + 1, squeeze=False)
    for axes, t in zip(grid, steps, strict=True):
        action = int(t.action)
        distances, indices = tables.search(t.extras["key"])
        axes[0].imshow(t.step.obs[0, -1].cpu(), cmap="gray", vmin=0, vmax=255)
        axes[0].set_title(f"now: chooses {names[action]}", fontsize=9, weight="bold")
        nearest = zip(distances[action, :, 0].tolist(), indices[action, :, 0].tolist(), strict=True)
        for axis, (distance, index) in zip(axes[1:], nearest, strict=False):
            if distance == float("inf"):  # the action has fewer memories
                break
            frame = memories.frames.get(int(tables.digests[action, index]))
            if frame is None:  # of an earlier session
                continue
            pixels = np.frombuffer(zlib.decompress(frame), np.uint8).reshape(t.step.obs.shape[2:])
            axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            value = float(tables.returns[action, index])
            axis.set_title(f"{value:,.0f} at {max(distance, 0) ** 0.5:,.1f}", fontsize=9)
    for axis in grid.flat:
        axis.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    sys.exit(exit_status(lambda: main(sys.argv[1:])))
