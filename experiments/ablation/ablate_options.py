"""The options of ``reverie ablate``, and the rule of verdicts that they ask for."""

import os
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from ...envs.checks import at_least, check
from ...envs.errors import UsageError
from ..evaluation.run_evaluation import Evaluation
from ..verdicts.verdict_rule import Delta, Score, VerdictRule
from .saved_scores import parse_seeds


@dataclass(frozen=True)
class AblateOptions:
    """How a grid is run; every other flag is one of ``reverie train`` and holds for all cells."""

    games: str = ""
    """Games of the env, separated by commas; of Atari also atari26, atari57 or hard. By default
    the preset's own."""
    seeds: int = 3
    """Number of seeds of each cell."""
    first_seed: int = 0
    """The first of them; another one than before repeats a grid with independent runs."""
    only_seeds: str = ""
    """Run only these of the seeds, as in 4-7, and the others elsewhere or later; --save adds their
    scores to the saved ones."""
    until: Literal["seeds", "decided"] = "seeds"
    """seeds: train --seeds of each cell. decided: add seeds until each comparison with the baseline
    is decided, or there are --max-seeds."""
    max_seeds: int = 40
    """Largest number of seeds of a cell with --until decided."""
    score: Score = "evaluation"
    """The score that verdicts are about: the final evaluation, the last 100 training episodes, or
    all of them, which suits exploration bonuses."""
    delta: str = "25%"
    """The largest difference that does not matter, as a share of the baseline's mean (25%) or a
    number of points (0.5)."""
    pilot: str = ""
    """Folder with runs of the baseline, from whose scores --dry-run says what the grid can tell; by
    default the grid's own finished runs."""
    evaluation: Annotated[Evaluation, tyro.conf.arg(name="")] = Evaluation(video=True)
    """The final evaluation of each run; the first seed of each cell alone has a video."""
    folder: str | None = None
    """Folder of the runs and the report; by default runs/ablate/PRESET-STEPS."""
    workers: int = 0
    """Number of processes at a time; 0 for as many as the cores allow."""
    threads: int = 1
    """CPU threads of each process."""
    retries: int = 2
    """Number of times that a run is continued after its process dies."""
    ray: str = ""
    """Address of a Ray cluster to run on, such as auto, instead of this machine alone."""
    steps_per_second: float = 0.0
    """Agent steps per second of one run, for the estimate of --dry-run; by default measured in the
    grid's runs so far, or in a trial of ten seconds per variant."""
    save: str = ""
    """Name under which raw scores are committed, as experiments/results/ablations/NAME.json."""
    dry_run: bool = False
    """Print the grid, an estimate of its duration and what it can tell; run none of it."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "seeds", "max_seeds", "threads")
        check(self, "", at_least(0), "first_seed")
        check(self, "", at_least(0), "workers", "steps_per_second", "retries")
        Delta.parse(self.delta)
        if not self.only_seeds:
            return
        if self.until == "decided":
            raise UsageError(
                "--only-seeds is for a number of --seeds; --until decided chooses the seeds by the "
                "scores of all before them."
            )
        first, last = self.first_seed, self.first_seed + self.seeds - 1
        if not {*self.part} <= {*range(first, last + 1)}:
            raise UsageError(
                f"--only-seeds is {self.only_seeds}, and the grid has the seeds {first}-{last}."
            )

    @property
    def part(self) -> range:
        """The seeds that are run here."""
        if self.only_seeds:
            return parse_seeds(self.only_seeds)
        return range(self.first_seed, self.first_seed + self.rule.analyses[-1])

    @property
    def num_workers(self) -> int:
        """Number of processes at a time on this machine."""
        return self.workers or max(1, len(os.sched_getaffinity(0)) // self.threads)

    @property
    def rule(self) -> VerdictRule:
        """The rule of the verdicts, which is fixed before the first run."""
        delta = Delta.parse(self.delta)
        if self.until == "decided":
            return VerdictRule.sequential(self.max_seeds, score=self.score, delta=delta)
        return VerdictRule(self.score, delta, analyses=(self.seeds,))
