"""Finished runs as they lie in their folders: what each was, and how its last checkpoint scored."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from envs.errors import UsageError
from envs.protocol import SHOWN, AtariProtocol
from experiments.evaluation import scores_file
from experiments.run import Run
from experiments.statistics import Array, trailing_mean

APART = ("env", "seed", "steps")
"""Fields of an experiment that do not make another variant of it."""
WINDOW = 100
"""Training episodes that a point of a learning curve is the mean of."""


@dataclass(frozen=True, eq=False)
class Record:
    """One finished run: what it was, and the scores of its final checkpoint."""

    folder: Path
    config: dict[str, Any]
    scores: dict[str, Any]
    """As ``reverie evaluate`` left them, under the run's own protocol."""
    others: list[dict[str, Any]]
    """The same checkpoint under other conditions."""
    episodes: list[dict[str, Any]]
    """Training episodes, in order."""
    steps: int
    """Agent steps of the checkpoint that was evaluated."""
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
        """Everything in the config that could be swapped, as one string."""
        return json.dumps(self.choices, sort_keys=True)

    @property
    def choices(self) -> dict[str, Any]:
        """What could be swapped in the config: all parts, and what an agent is shown of a game."""
        chosen = {name: x for name, x in self.config.items() if name not in APART}
        protocol = self.config["env"].get("protocol", {})
        shown = {name: x for name, x in protocol.items() if name in SHOWN}
        return chosen | ({"protocol": shown} if shown else {})

    @cached_property
    def rules(self) -> str:
        """The protocol, but for what an agent is shown: runs under the same rules are compared."""
        said = str(self.scores["protocol"])
        try:
            protocol = self.config["env"]["protocol"].items()
            own = AtariProtocol(**{name: x for name, x in protocol if name != "class"})
        except (
            LookupError,
            TypeError,
            AttributeError,
            UsageError,
        ):  # another world, or another version's
            return said
        return own.scoring.label if own.label == said else said

    @cached_property
    def curve(self) -> tuple[Array, Array]:
        """Agent steps, and the mean of the last ``WINDOW`` training scores (fewer at first)."""
        steps = np.array([row["step"] for row in self.episodes], float)
        scores = np.array([row["score"] for row in self.episodes], float)
        return steps, trailing_mean(scores, WINDOW)

    @property
    def last_of_training(self) -> float:
        """Mean of the last ``WINDOW`` training episodes; nan where there were fewer."""
        return float(self.curve[1][-1]) if len(self.episodes) >= WINDOW else float("nan")

    @property
    def best_of_training(self) -> tuple[float, int]:
        """The highest mean of ``WINDOW`` successive training episodes, and its agent step."""
        if len(self.episodes) < WINDOW:
            return float("nan"), 0
        steps, means = self.curve
        best = WINDOW - 1 + int(np.argmax(means[WINDOW - 1 :]))
        return float(means[best]), int(steps[best])


def read(folders: Sequence[Path], *, explore: bool = False) -> tuple[list[Record], list[str]]:
    """The runs in these folders or below them, and what is to be said of them.

    That is a sentence about each that was left out, that was stopped before its end or trained on
    since its scores, and about scores of another checkpoint.

    With ``explore`` their scores are those of agents that explored as in training. Raises
    UsageError where there is no scored run, for a score that is no number, and for two runs of the
    same experiment.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder}.")
        runs = sorted(path.parent.resolve() for path in folder.rglob("config.json"))
        if not runs:
            raise UsageError(f"{folder} holds no run: no config.json is in it or below it.")
        found |= dict.fromkeys(runs)
    records, remarks = [], []
    for folder in found:
        if _json(folder / "config.json").get("data") is not None:
            remarks.append(f"{folder.name} is a pretraining, which has no scores, and is left out.")
        elif not (folder / scores_file(explore=explore)).exists():
            what = " as in training" * explore
            remarks.append(
                f"{folder.name} has no scores{what} and is left out; "
                f"`{_evaluate(explore)}` makes them."
            )
        else:
            record, said = _record(folder, explore)
            records.append(record)
            remarks += said
    if not records:
        raise UsageError(f"{remarks[0]} No other run is left to report.")
    seen: dict[tuple[str, ...], Path] = {}
    for record in records:
        key = (json.dumps(record.config, sort_keys=True), str(record.steps))
        if key in seen:
            raise UsageError(
                f"{seen[key]} and {record.folder} are the same experiment with the same seed; "
                "report one of them."
            )
        seen[key] = record.folder
    return records, remarks


def on_grid(records: Iterable[Record], grid: Array) -> Float[NDArray[np.float64], "runs points"]:
    """Learning curves at these agent steps; nan before a run's first episode."""
    curves = []
    for record in records:
        steps, means = record.curve
        at = np.searchsorted(steps, grid, side="right") - 1
        known = np.concatenate([means, [np.nan]])  # the last serves what comes before the first
        curves.append(known[at])
    return np.stack(curves)


def read_scores(path: Path) -> dict[str, Any]:
    """The scores that an evaluation left; raises UsageError where they are none."""
    scores = _json(path)
    remedy = f"`{_evaluate('exploring' in path.stem)} {path.parent}` makes it anew"
    kinds: dict[str, Any] = {
        "world": str,
        "protocol": str,
        "epsilon": int | float,
        "mean": int | float,
    }
    kinds |= {"steps": int, "scores": list, "lengths": list}
    for name, kind in kinds.items():
        if not isinstance(scores.get(name), kind):
            raise UsageError(f"{path} has no {name}; {remedy}.")
    if not scores["scores"] or len(scores["scores"]) != len(scores["lengths"]):
        raise UsageError(f"{path} holds no episode, or not all of one; {remedy}.")
    for value in (scores["mean"], *scores["scores"]):
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"{path} has the score {value}, which is no number; {remedy}.")
    if not math.isclose(np.mean(scores["scores"]), scores["mean"], rel_tol=1e-9, abs_tol=1e-9):
        raise UsageError(f"{path} has a mean that is not that of its scores; {remedy}.")
    return scores


def _record(folder: Path, explore: bool) -> tuple[Record, list[str]]:
    """A run's record, and what is to be said of it."""
    run, main = Run(folder), folder / scores_file(explore=explore)
    config, scores = _json(folder / "config.json"), read_scores(main)
    if not isinstance(config.get("env"), dict) or not isinstance(config.get("seed"), int):
        raise UsageError(f"{folder / 'config.json'} is no config of a training run.")
    steps, asked = scores["steps"], config.get("steps", 0)
    trained = max(run.checkpoints.steps(), default=steps)
    remarks = []
    if steps < asked:
        remarks.append(f"{folder.name} was evaluated at step {steps:,} of its {asked:,}.")
    if trained > steps:
        remarks.append(
            f"{folder.name} has been trained to step {trained:,} since its scores of step "
            f"{steps:,}; `{_evaluate(explore)}` makes newer ones."
        )
    others = []
    for path in sorted(folder.glob("scores*.json")):
        other = read_scores(path) if path != main else scores
        if other["steps"] != steps:
            remarks.append(
                f"{path.name} of {folder.name} is of step {other['steps']:,}, not of {steps:,}, "
                "and is left out."
            )
        elif path != main:
            others.append(other)
    if lost := run.lost_lines("episodes.jsonl"):
        remarks.append(
            f"{folder.name}/episodes.jsonl has {lost} damaged lines; its curve lacks them."
        )
    rows = run.read_lines("metrics.jsonl")
    skip = rows[-1]["frames"] / rows[-1]["step"] if rows else 1
    provenance = folder / "provenance.json"
    record = Record(
        folder=folder,
        config=config,
        scores=scores,
        others=others,
        episodes=[row for row in run.read_lines("episodes.jsonl") if row["step"] <= steps],
        steps=steps,
        frames=round(steps * skip),
        provenance=_json(provenance) if provenance.exists() else {},
    )
    return record, remarks


def _evaluate(explore: bool) -> str:
    """The command that makes scores."""
    return "reverie evaluate" + " --explore" * explore


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from error
    if not isinstance(data, dict):
        raise UsageError(f"{path} holds no object.")
    return data
