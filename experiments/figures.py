"""Figures of a run, as PNG."""

from pathlib import Path

import numpy as np

from experiments.run import Run


def learning_curve(run: Run, window: int = 100) -> Path | None:
    """Episode scores and their running mean over ``window`` episodes, against agent steps."""
    rows = run.read_lines("episodes.jsonl")
    if not rows:
        return None
    from matplotlib.figure import Figure  # slow to import

    experiment = run.experiment()
    steps = np.array([row["step"] for row in rows])
    scores = np.array([row["score"] for row in rows])
    sums = np.concatenate([[0.0], scores.cumsum()])
    ends = np.arange(1, len(scores) + 1)
    begins = np.maximum(ends - window, 0)
    mean = (sums[ends] - sums[begins]) / (ends - begins)

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.scatter(steps, scores, s=6, color="#9db4c0", linewidths=0, label="an episode")
    axes.plot(steps, mean, color="#c1442e", linewidth=2, label=f"mean of the last {window}")
    axes.set_xlabel(f"agent steps ({experiment.env.frame_skip} frames each)")
    axes.set_ylabel("score, raw points")
    axes.set_title(
        f"{experiment.env.title}, protocol {experiment.env.protocol_label}, seed {experiment.seed}",
        fontsize=10,
    )
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x else "0")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(loc="upper left", edgecolor="none", framealpha=0.8)
    path = run.folder / "figures" / "learning_curve.png"
    figure.savefig(path, dpi=140)
    return path
