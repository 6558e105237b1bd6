"""Tables of scores, generated from the committed results."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...agents.episodic.mfec import MFECConfig
from ...envs.atari.games import HUMAN_RANDOM_TABLE, human_normalized
from ..config.presets import PRESETS
from ..config.roles import part_name
from ..config.serialization import encode
from ..evaluation.episodes import NUM_RECENT
from ..recipes.constant_action_benchmark import ConstantActions
from ..recipes.recipes import RECIPES
from ..recipes.training_recipe import TrainingRecipe
from ..reporting.atari_subsets import SUBSETS, fit_subset
from ..reporting.committed import committed, committed_results
from ..reporting.constant_actions import format_constant_action
from ..reporting.published import published
from ..runs.config_differences import flatten
from ..runs.files import to_json
from ..runs.scores import Scores
from ..text.formatting import format_number
from ..verdicts.intervals import (
    MIN_RUNS,
    bootstrap,
    format_count,
    format_interval,
    format_mean,
)
from .markdown import Footnotes, markdown_table, unmeasured
from .reruns import RERUNS

PUBLISHED_FRAMES = 10_000_000
"""Frames of the published scores of episodic control."""
CURVE_STEPS = (300_000, 1_000_000, 2_000_000, 2_500_000)
"""Agent steps at which learning curves of episodic control are compared."""


def scores_table() -> str:
    """Return a row per recipe: the scores of every seed beside those of players without learning.

    Agents trained in imagination are scored in the game itself. Mazes have a table of their own.
    """
    results = [x for x in committed_results("training") if "mazes" not in x["runs"][0]]
    results.sort(key=lambda data: data["env_name"])
    differing, footnotes = _differing_settings(results), Footnotes()
    rows, episodes, random_episodes = [], set(), set()
    for data in results:
        name, imagined = data["name"], data["imagined"]
        recipe = RECIPES.get(name)
        evaluations = [Scores.from_json(run["evaluation"]) for run in data["runs"]]
        evaluated = [scores.mean for scores in evaluations]
        trained = [_training_average(run) for run in data["runs"]]
        random = Scores.from_json(data["random"])
        episodes |= {scores.episodes for scores in evaluations}
        random_episodes.add(random.episodes)
        by_training = isinstance(recipe, TrainingRecipe) and recipe.training_score
        score = [x for x in trained if x is not None] if by_training else evaluated
        normalized = human_normalized(evaluations[0].game, statistics.fmean(score))
        agent = data["preset"] + ", in imagination only" * imagined
        frames = "imagined" if imagined else format_count(data["frames"])
        rows.append(
            [
                data["env_name"],
                footnotes.marked(agent, RERUNS.get(name, ())) + differing.get(name, ""),
                evaluations[0].conditions,
                f"{format_count(data['steps'])} ({frames})",
                format_mean(score) + ", training" * by_training,
                "" if normalized is None else f"{normalized:.3f}",
                ", ".join(map(format_number, evaluated)),
                _training_cell(trained, imagined=imagined) + _visits(data["runs"]),
                format_constant_action(evaluations[0].game, data["protocol"]),
                format_number(random.mean),
                f"`{data['command']}`",
            ]
        )
    constant = RECIPES["constant-actions"]
    assert isinstance(constant, ConstantActions)
    return markdown_table(
        "game | agent | protocol | agent steps (frames) | score, mean over seeds | human-normalized"
        " | evaluation of each seed | training average of each seed | best constant action "
        "| random play | command",
        rows,
        "Raw game points. The evaluation of a seed is the mean of "
        f"{' or '.join(map(str, sorted(episodes)))} whole episodes that the final checkpoint plays "
        'in separate envs, without exploration or ("as in training") sampling from its policy. The '
        f"training average is the mean of the last {NUM_RECENT} training episodes, or of all if "
        "there are fewer. The score is the evaluation, or the training average for agents with a "
        "bonus and their baselines; ± is the standard error over seeds, given for "
        f"{MIN_RUNS} seeds or more; human-normalized by the table of {HUMAN_RANDOM_TABLE}. The "
        f"best constant action, chosen by {constant.trial_episodes} episodes of every action, is "
        f"repeated for {constant.episodes} other episodes of at most {constant.frames_cap:,} "
        "frames (`reverie reproduce constant-actions`); random play is the mean of "
        f"{' or '.join(map(str, sorted(random_episodes)))} episodes.",
        footnotes.lines,
    )


def episodic_table() -> str:
    """Return the scores of episodic control after as many frames as published ones."""
    methods = ("MFEC", "NEC", "DQN")
    rows = []
    for data in committed_results("training"):
        agent = PRESETS[data["preset"]].agent
        if not isinstance(agent, MFECConfig) or data["frames"] != PUBLISHED_FRAMES:
            continue
        scores = [Scores.from_json(run["evaluation"]) for run in data["runs"]]
        means = [each.mean for each in scores]
        of_one = format_mean(scores[0].scores, "episode") + " of 1 seed"
        curves = [dict(map(tuple, run["train"]["curve"])) for run in data["runs"]]
        theirs = {x.method: x.score for x in published({data["env_name"]}) if x.frames == "10M"}
        rows.append(
            [
                data["env_name"],
                data["protocol"],
                of_one if len(scores) == 1 else format_mean(means),
                *(
                    format_number(statistics.fmean(curve[step] for curve in curves))
                    for step in CURVE_STEPS
                ),
                *(format_number(theirs[method]) for method in methods),
            ]
        )
    return markdown_table(
        " | ".join(
            [
                "game | protocol | MFEC here",
                *(f"training at {format_count(step)} steps" for step in CURVE_STEPS),
                *(f"published {method}" for method in methods),
            ]
        ),
        rows,
        "± is the standard error over the episodes of an evaluation, not over seeds. Training is "
        f"the mean of the last {NUM_RECENT} training episodes. The published scores are of "
        "Pritzel et al. 2017, whose protocol is not stated.",
    )


def suites_table() -> str:
    """Return estimates of the median of 57 games, for agents that have played enough of them."""
    scores: dict[tuple[str, ...], dict[str, list[float]]] = defaultdict(dict)
    for data in committed_results("training"):
        agent = data["preset"], data["protocol"], format_count(data["steps"])
        evaluations = [Scores.from_json(run["evaluation"]) for run in data["runs"]]
        values = [human_normalized(x.game, x.mean) for x in evaluations]
        scores[agent][data["env_name"]] = [x for x in values if x is not None]
    header = (
        "agent | protocol | agent steps | games | seeds | estimated median of 57 games "
        "| mean relative error of such an estimate"
    )
    rows = []
    for (preset, protocol, steps), by_game in scores.items():
        for name, games in SUBSETS.items():
            if by_game.keys() >= {*games}:
                subset = fit_subset(name)
                median = bootstrap(subset.median, [np.array(by_game[game]) for game in games])
                seeds = min(len(by_game[game]) for game in games)
                estimate = format_interval(median), f"{subset.error:.0%}"
                rows.append([preset, protocol, steps, name, str(seeds), *estimate])
    if not rows:
        first = SUBSETS["Atari-3"][0]
        return unmeasured(header, f"{first}-mfec-1000k")
    return markdown_table(
        header,
        rows,
        "Human-normalized, estimated from the games of the subset by weights that are fitted to "
        "published scores (Aitchison et al. 2022); the interval is of the seeds alone.",
    )


def numpy_mfec_table() -> str:
    """Return how often MFEC acts differently from a numpy version of its algorithm."""
    (data,) = committed("trials/numpy-mfec.json")
    rows = [
        [
            str(row["seed"]),
            f"{data['steps']:,}",
            f"{row['differing_actions']:,}",
            f"{len(row['scores'])}",
            format_number(statistics.fmean(row["scores"][-10:])),
        ]
        for row in data["seeds"]
    ]
    return markdown_table(
        "seed | agent steps | actions that differ | games | mean score of the last ten",
        rows,
        "Q*bert, one env, each game from the same start, frames of one observation, random numbers "
        f"as the agent draws them (`{data['command']}`).",
    )


def mazes_table() -> str:
    """Return a row per planner and seed: returns in held-out mazes, and where it replans."""
    rows, footnotes = [], Footnotes()
    for data in committed_results("training"):
        if "mazes" not in data["runs"][0]:
            continue
        agent = "-".join(filter(None, [data["preset"], data["variation"]]))
        for run in data["runs"]:
            held_out, larger = run["mazes"]["held_out"], run["mazes"]["larger"]
            length, junctions = held_out["mean_plan_length"], held_out["junctions"]
            plans = (
                f"{junctions['share_of_plans']:.1%} ({junctions['share_by_chance']:.1%}), "
                f"{junctions['p']:.1g}"
            )
            rows.append(
                [
                    footnotes.marked(agent, RERUNS.get(data["name"], ())),
                    str(run["seed"]),
                    format_count(data["steps"]),
                    f"{held_out['share_of_best_return']:.1%}",
                    f"{larger['share_of_best_return']:.1%}",
                    *([f"{length:.1f}", plans] if length else ["", ""]),
                    f"`{data['command']}`",
                ]
            )
    return markdown_table(
        "agent | seed | agent steps | share of the shortest path's return, held-out mazes "
        "| larger mazes | timesteps a plan is followed "
        "| plans made at junctions (by chance), p | command",
        rows,
        footnotes.lines,
    )


def _training_average(run: dict[str, Any]) -> float | None:
    """Return the mean of a run's last training episodes; None if it is not recorded."""
    curve = run["train"]["curve"]
    return float(curve[-1][1]) if curve else None


def _training_cell(trained: Sequence[float | None], *, imagined: bool) -> str:
    if imagined or None in trained:
        return "in imagination" if imagined else "not recorded"
    return ", ".join(format_number(x) for x in trained if x is not None)


def _visits(runs: list[dict[str, Any]]) -> str:
    """Return what the runs visited in training, in parentheses; nothing if it was not counted."""
    counted = [
        f"{name} {', '.join(f'{n:,.0f}' for n in counts)}"
        for name in ("rooms", "keys", "states")
        if None not in (counts := [run["train"][name] for run in runs])
    ]
    return f" ({' and '.join(counted)})" if counted else ""


def _differing_settings(results: list[dict[str, Any]]) -> dict[str, str]:
    """Return the settings by which results differ that have the same env, agent and protocol."""
    groups: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for data in results:
        key = [data[x] for x in ("env_name", "preset", "protocol", "steps", "imagined")]
        if isinstance(recipe := RECIPES.get(data["name"]), TrainingRecipe):
            flat = flatten(encode(recipe.experiment), part_name)
            groups[to_json(key)][data["name"]] = flat
    return {
        name: "".join(
            f", {path} {value:,}" if isinstance(value, int) else f", {path} {value}"
            for path, value in flat.items()
            if any(other.get(path) != value for other in group.values())
        )
        for group in groups.values()
        for name, flat in group.items()
    }
