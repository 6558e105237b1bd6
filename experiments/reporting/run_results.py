"""Results of finished runs: the config, the scores and the training episodes of a run folder."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ...envs.atari.protocol import PRESENTATION_FIELDS, AtariProtocol
from ...envs.errors import UsageError
from ..runs.run import Run
from ..runs.scores import evaluate_command, read_json_object, read_scores, scores_file
from .intervals import Array, trailing_mean

NON_VARIANT_FIELDS = ("env", "seed", "total_timesteps")
"""Fields of an experiment in which runs of one variant may differ."""
WINDOW = 100
"""Training episodes that each point of a learning curve averages."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """One finished run: its config, and the scores of its final checkpoint."""

    folder: Path
    config: dict[str, Any]
    scores: dict[str, Any]
    """The summary that ``reverie evaluate`` wrote, under the run's own protocol."""
    other_scores: list[dict[str, Any]]
    """Summaries of the same checkpoint under other conditions."""
    episodes: list[dict[str, Any]]
    """Training episodes, in order."""
    steps: int
    """Agent steps of the evaluated checkpoint."""
    frames: int
    provenance: dict[str, Any]

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def score(self) -> float:
        return float(self.scores["mean"])

    @cached_property
    def variant(self) -> str:
        """``variant_config`` as one string."""
        return json.dumps(self.variant_config, sort_keys=True)

    @property
    def variant_config(self) -> dict[str, Any]:
        """The fields of the config that define a variant.

        They are all parts, and the protocol's fields of presentation.
        """
        chosen = {name: x for name, x in self.config.items() if name not in NON_VARIANT_FIELDS}
        protocol = self.config["env"].get("protocol", {})
        presentation = {name: x for name, x in protocol.items() if name in PRESENTATION_FIELDS}
        return chosen | ({"protocol": presentation} if presentation else {})

    @cached_property
    def scoring_rules(self) -> str:
        """The protocol without its presentation; runs are compared if these are equal."""
        label = str(self.scores["protocol"])
        try:
            fields = self.config["env"]["protocol"].items()
            protocol = AtariProtocol(**{name: x for name, x in fields if name != "class"})
        except (LookupError, TypeError, AttributeError, UsageError):
            return label  # another env, or a config of another version
        return protocol.scoring_rules.label if protocol.label == label else label

    @cached_property
    def curve(self) -> tuple[Array, Array]:
        """Agent steps, and the mean of the last ``WINDOW`` training scores (fewer at first)."""
        steps = np.array([row["step"] for row in self.episodes], float)
        scores = np.array([row["score"] for row in self.episodes], float)
        return steps, trailing_mean(scores, WINDOW)

    @property
    def last_training_mean(self) -> float:
        """Mean of the last ``WINDOW`` training episodes; nan if there are fewer."""
        return float(self.curve[1][-1]) if len(self.episodes) >= WINDOW else float("nan")

    @property
    def best_training_mean(self) -> tuple[float, int]:
        """The highest mean of ``WINDOW`` successive training episodes, and its agent step."""
        if len(self.episodes) < WINDOW:
            return float("nan"), 0
        steps, means = self.curve
        best = WINDOW - 1 + int(np.argmax(means[WINDOW - 1 :]))
        return float(means[best]), int(steps[best])


def read_results(
    folders: Sequence[Path], *, stochastic: bool = False
) -> tuple[list[RunResult], list[str]]:
    """Return the results of all runs in these folders or below, and warnings about them.

    A warning is a sentence about a run that is left out, that ended early or was trained further
    after its evaluation, or about scores of another checkpoint. With ``stochastic`` the scores are
    those of agents that acted as in training. Raises UsageError if no run has scores, a score is
    not a finite number, or two runs are of the same experiment.
    """
    run_folders: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder}.")
        runs = sorted(path.parent.resolve() for path in folder.rglob("config.json"))
        if not runs:
            raise UsageError(f"{folder} holds no run: no config.json is in it or below it.")
        run_folders |= dict.fromkeys(runs)
    results, warnings = [], []
    for folder in run_folders:
        if read_json_object(folder / "config.json").get("data") is not None:
            warnings.append(f"{folder.name} is a pretraining, which has no scores; it is left out.")
        elif not (folder / scores_file(stochastic=stochastic)).exists():
            kind = " as in training" * stochastic
            warnings.append(
                f"{folder.name} has no scores{kind} and is left out; "
                f"run `{evaluate_command(stochastic)}` on it."
            )
        else:
            result, about = _read_result(folder, stochastic)
            results.append(result)
            warnings += about
    if not results:
        raise UsageError(f"{warnings[0]} No other run is left to report.")
    seen: dict[tuple[str, ...], Path] = {}
    for result in results:
        key = (json.dumps(result.config, sort_keys=True), str(result.steps))
        if key in seen:
            raise UsageError(
                f"{seen[key]} and {result.folder} are the same experiment with the same seed; "
                "report one of them."
            )
        seen[key] = result.folder
    return results, warnings


def curves_at(
    results: Iterable[RunResult], grid: Array
) -> Float[NDArray[np.float64], "runs points"]:
    """Return learning curves at these agent steps; nan before a run's first episode."""
    curves = []
    for result in results:
        steps, means = result.curve
        index = np.searchsorted(steps, grid, side="right") - 1
        padded = np.concatenate([means, [np.nan]])  # index -1 is before the first episode
        curves.append(padded[index])
    return np.stack(curves)


def _read_result(folder: Path, stochastic: bool) -> tuple[RunResult, list[str]]:
    """Return a run's result and the warnings about it."""
    run, main = Run(folder), folder / scores_file(stochastic=stochastic)
    config, scores = read_json_object(folder / "config.json"), read_scores(main)
    if not isinstance(config.get("env"), dict) or not isinstance(config.get("seed"), int):
        raise UsageError(f"{folder / 'config.json'} is not the config of a training run.")
    steps, planned = scores["steps"], config.get("total_timesteps", 0)
    trained = max(run.checkpoints.steps(), default=steps)
    warnings = []
    if steps < planned:
        warnings.append(f"{folder.name} was evaluated at step {steps:,} of its {planned:,}.")
    if trained > steps:
        warnings.append(
            f"{folder.name} was trained to step {trained:,} after its evaluation at step "
            f"{steps:,}; run `{evaluate_command(stochastic)}` again."
        )
    other_scores = []
    for path in sorted(folder.glob("scores*.json")):
        other = read_scores(path) if path != main else scores
        if other["steps"] != steps:
            warnings.append(
                f"{path.name} of {folder.name} is of step {other['steps']:,} instead of {steps:,} "
                "and is left out."
            )
        elif path != main:
            other_scores.append(other)
    if damaged := run.lost_lines("episodes.jsonl"):
        warnings.append(
            f"{folder.name}/episodes.jsonl has {damaged} damaged lines; "
            "the learning curve is without them."
        )
    rows = run.read_lines("metrics.jsonl")
    frame_skip = rows[-1]["frames"] / rows[-1]["step"] if rows else 1
    provenance = folder / "provenance.json"
    result = RunResult(
        folder=folder,
        config=config,
        scores=scores,
        other_scores=other_scores,
        episodes=[row for row in run.read_lines("episodes.jsonl") if row["step"] <= steps],
        steps=steps,
        frames=round(steps * frame_skip),
        provenance=read_json_object(provenance) if provenance.exists() else {},
    )
    return result, warnings
