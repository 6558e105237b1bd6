"""What a grid can tell: the effects that its seeds tell, by the spread of a pilot's scores.

A pilot is some runs of the baseline. Runs of a variant are taken to spread as much, and to be
independent of those of the baseline, so that a difference has twice the variance of a score.
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...envs.atari.games import human_normalized
from ...envs.errors import UsageError
from ..config.arguments import take_flag
from ..config.experiment import Experiment
from ..config.serialization import encode
from ..reporting.run_results import RunResult, read_results
from ..text.formatting import format_number
from ..text.terminal_text import paragraph
from ..training.task import Task
from ..verdicts.intervals import MIN_RUNS, constant
from ..verdicts.multiplicity import adjusted_level
from ..verdicts.power import seeds_needed, smallest_effect
from ..verdicts.verdict_rule import VerdictRule
from .ablate_options import AblateOptions
from .grid import Grid
from .grid_tasks import cell_of

PILOT_SEEDS = 5
"""Seeds of the pilot that is proposed."""


def print_design(
    grid: Grid, tasks: Sequence[Task], options: AblateOptions, command: str = ""
) -> None:
    """Print what the grid can tell in each env, or the command that makes a pilot."""
    baselines: dict[str, Experiment] = {}  # of each env, which variants of its protocol share
    for cell in grid.cells:
        baselines.setdefault(str(encode(cell.env) | {"protocol": None}), cell)
    comparisons = len(grid.cells) - len(baselines)
    if not comparisons:
        return
    if len(baselines) > 1 and all(_is_human_normalized(x) for x in baselines.values()):
        comparisons += comparisons // len(baselines)  # of all envs together
    scores = _pilot_scores([*baselines.values()], tasks, options)
    for baseline, values in scores.items():
        if len(values) >= MIN_RUNS:
            own = [
                x
                for choice in grid.cells[baseline]
                if choice.role == "env"
                for x in choice.settings
            ]
            name = baseline.env.env_name + f" ({', '.join(own)})" * bool(own)
            print(paragraph(f"{name}: {describe_design(values, options.rule, comparisons)}"))
    if any(len(values) < MIN_RUNS for values in scores.values()):
        print(
            paragraph(
                f"What the grid can tell depends on the spread of the baseline's scores, which "
                f"takes {MIN_RUNS} runs in every env. A pilot of {PILOT_SEEDS} runs measures it, "
                "and --pilot runs/pilot reads it:"
            )
        )
        print(f"  {pilot_command(grid, command)}")


def _is_human_normalized(cell: Experiment) -> bool:
    """Return whether the scores of a cell's env can be human-normalized."""
    env = cell.env
    return env.suite == "atari" and human_normalized(env.env_name, 0.0) is not None


def describe_design(scores: Sequence[float], rule: VerdictRule, comparisons: int) -> str:
    """Return what seeds tell about one of several comparisons, from scores of the baseline.

    The levels are those of a comparison that is decided first, before others make it easier.
    """
    center, deviation = float(np.mean(scores)), float(np.std(scores, ddof=1))
    pilot = f"{len(scores)} runs of the baseline have the mean {format_number(center)}"
    if not np.isfinite(scores).all():
        return f"{pilot}; a score is not finite, so that they do not tell the spread."
    if constant(scores):
        return f"{pilot} and equal scores, which do not tell the spread of further ones."
    pilot += f" and the standard deviation {format_number(deviation)}."
    if rule.analyses[-1] < MIN_RUNS:
        return f"{pilot} Fewer than {MIN_RUNS} seeds tell no difference of means."
    analyses, level = rule.analyses, adjusted_level(1, comparisons, rule.alpha)
    seeds, errors = analyses[-1], math.sqrt(2) * deviation
    effect = errors * smallest_effect(analyses, len(analyses), level / 2, rule.power)
    share = f" ({effect / abs(center):.0%} of the mean)" if center else ""
    told = (
        f"{pilot} With power {rule.power:g}, {seeds} seeds tell a difference of "
        f"{format_number(effect)}{share}"
    )
    delta = rule.delta.amount * (abs(center) if rule.delta.relative else 1.0)
    if not delta:
        return f"{told}. Delta is a share of a mean of 0: give --delta NUMBER."
    # Equal means are equivalent if both one-sided tests reject; the wider is at v = (1 + delta) b.
    spread = deviation * math.hypot(1, 1 + rule.delta.amount * rule.delta.relative)
    both = (1 + rule.power) / 2
    least = spread * smallest_effect(analyses, len(analyses), level, both)
    within = f"that equal means differ by less than {format_number(least)}"
    if max(effect, least) <= delta:
        return f"{told}, and {within}: delta, {format_number(delta)}, is within reach."
    needed = seeds_needed((seeds,), delta / errors, level / 2, rule.power)
    equal = seeds_needed((seeds,), delta / spread, level, both)
    if needed is None or equal is None:
        remedy = "no number of seeds reaches it"
    else:
        remedy = f"it takes about {max(needed, equal):,} seeds"
    return f"{told}, and {within}. Delta, {format_number(delta)}, is out of reach: {remedy}."


def pilot_command(grid: Grid, command: str) -> str:
    """Return the command that trains the baseline alone in each env of a grid's command."""
    argv = shlex.split(command)
    for flag in ("--until", "--max-seeds", "--seeds", "--pilot", "--folder", "--save"):
        argv, _ = take_flag(argv, flag)
    baseline = {choice.role: choice for choice in next(iter(grid.cells.values()))}
    known = {choice.role for choices in grid.cells.values() for choice in choices}
    kept = []
    for arg in argv:
        role = arg.partition(":")[0]
        if role in baseline and role != "env":
            kept.append(str(baseline[role]))
        elif role == "env" or (role not in known and arg != "--dry-run"):
            kept.append(arg)
    given = {arg.partition(":")[0] for arg in argv}
    kept += [str(x) for role, x in baseline.items() if role not in given and role != "env"]
    kept += ["--until", "seeds"] * ("--config" in argv)  # the file may say something else
    return shlex.join([*kept, "--seeds", str(PILOT_SEEDS), "--folder", "runs/pilot"])


def _pilot_scores(
    baselines: Sequence[Experiment], tasks: Sequence[Task], options: AblateOptions
) -> dict[Experiment, list[float]]:
    """Return the scores of the finished runs of the baseline in each env.

    Raises UsageError if the folder that --pilot names has none of any.
    """
    if options.pilot:
        folders = [Path(options.pilot)]
    else:
        folders = [x.folder for x in tasks if cell_of(x) in baselines and x.scores]
    stochastic = options.evaluation.stochastic
    results = read_results(folders, stochastic=stochastic)[0] if folders else []
    scores = {
        cell: [x.score(options.score) for x in results if _is_run_of(cell, x)] for cell in baselines
    }
    if options.pilot and not any(scores.values()):
        raise UsageError(
            f"--pilot {options.pilot} holds no finished run of the baseline, which is the first "
            "cell of the grid with the same settings and length; leave it out to see the command "
            "that makes a pilot."
        )
    return scores


def _is_run_of(cell: Experiment, result: RunResult) -> bool:
    """Return whether a run is one of a cell, whatever its seed."""
    config = {name: x for name, x in result.config.items() if name != "imports"}
    return config == encode(replace(cell, seed=result.seed), result.folder)
