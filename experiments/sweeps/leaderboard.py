"""The results of a sweep on the terminal: the best trials, and the command that tests the best."""

import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.config_text import value_text
from ..config.run_names import short_path
from ..text.formatting import format_number
from ..text.terminal_text import paragraph, table
from .sweep_plan import SweepPlan, Trial
from .sweep_record import SweepRecord

NUM_SHOWN = 10
NEW_SEEDS = 10
"""Seeds of the evaluation that is proposed."""


def ranked(plan: SweepPlan, record: SweepRecord) -> list[Trial]:
    """Return the trials with a score: of a later rung first, and then the better ones."""
    found = [(reached, trial) for trial in plan.trials if (reached := _last(plan, record, trial))]
    return [trial for _, trial in sorted(found, key=lambda x: (-x[0][0], -x[0][1]))]


def leaderboard(plan: SweepPlan, record: SweepRecord) -> str:
    """Return the table of the best trials."""
    several = plan.options.seeds > 1
    rows = [["trial", "score", *["seeds"] * several, "steps", "settings"]]
    best = ranked(plan, record)
    for trial in best[:NUM_SHOWN]:
        steps, mean = _last(plan, record, trial) or (0, 0.0)
        seeds = " ".join(map(format_number, record.seed_scores(trial, steps)))
        numbers = [str(trial.number), format_number(mean), *[seeds] * several, f"{steps:,}"]
        rows.append([*numbers, settings_text(trial.settings)])
    rest = len(best) - NUM_SHOWN
    note = f"\n  and {rest} more in {record.path}" * (rest > 0)
    return f"\n{table(rows)}{note}"


def trial_table(plan: SweepPlan) -> str:
    """Return the table of all trials before they are run."""
    rows = [[str(trial.number), settings_text(trial.settings)] for trial in plan.trials]
    return table([["trial", "settings"], *rows])


def next_steps(plan: SweepPlan, path: Path) -> str:
    """Return what the score of the best trial is worth, and the command that measures it anew."""
    options = plan.options
    argv = ["reverie", "ablate", "--config", str(path), "--seeds", str(NEW_SEEDS)]
    argv += ["--first-seed", str(options.seed_range.stop), "--score", options.score]
    argv += ["--episodes", str(options.evaluation.episodes)]
    argv += ["--stochastic"] * options.evaluation.stochastic
    if options.evaluation.max_steps:
        argv += ["--max-steps", str(options.evaluation.max_steps)]
    argv += ["--folder", str(plan.folder / "best")]
    sentence = (
        f"The score of the best of {len(plan.trials)} trials is biased upward, as the luckiest one "
        "is chosen by the same seeds. Its config with seeds that the sweep has not used:"
    )
    lines = textwrap.wrap(shlex.join(argv), 74, break_long_words=False, break_on_hyphens=False)
    return f"\n{paragraph(sentence)}\n  " + " \\\n      ".join(lines)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings by the shortest end of their path that no other has."""
    return " ".join(f"{short_path(x, settings)}={value_text(y)}" for x, y in settings.items())


def _last(plan: SweepPlan, record: SweepRecord, trial: Trial) -> tuple[int, float] | None:
    """Return the last rung at which a trial has a score, and its mean; None if there is none."""
    means = [(steps, record.mean(trial, steps)) for steps in plan.rungs]
    return next(((steps, mean) for steps, mean in reversed(means) if mean is not None), None)
