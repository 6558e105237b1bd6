"""The options of ``reverie sweep``."""

import os
from dataclasses import dataclass
from typing import Annotated

import tyro

from ...envs.checks import at_least, check, refuse
from ...envs.errors import UsageError
from ..evaluation.run_evaluation import Evaluation
from ..verdicts.verdict_rule import Score


@dataclass(frozen=True)
class SweepOptions:
    """How a sweep is run; every other flag is one of ``reverie train``.

    A flag with a range or with several values varies. Example: reverie sweep dqn --trials 20
    --agent.learning-rate 1e-5..1e-3 --agent.gamma 0.9,0.99
    """

    trials: int = 20
    """Number of settings to try; more can be added to a sweep, which keeps the others."""
    seeds: int = 1
    """Number of seeds of each trial."""
    first_seed: int = 0
    """The first of them."""
    search_seed: int = 0
    """Seed of the draws of settings."""
    halving: int = 0
    """Successive halving: at each rung the best 1/N of the trials continue, to N times the length;
    0 to train every trial to the end."""
    min_timesteps: int = 0
    """Agent steps of the first rung; by default as many as leave one trial to the last."""
    score: Score = "evaluation"
    """The score of a run: the final evaluation, the last 100 training episodes, or all of them."""
    evaluation: Annotated[Evaluation, tyro.conf.arg(name="")] = Evaluation()
    """The evaluation of each run."""
    folder: str | None = None
    """Folder of the runs and the results; by default runs/sweep/PRESET-STEPS."""
    workers: int = 0
    """Number of processes at a time; 0 for as many as the cores allow."""
    threads: int = 1
    """CPU threads of each process."""
    retries: int = 2
    """Number of times that a run is continued after its process dies."""
    ray: str = ""
    """Address of a Ray cluster to run on, such as auto, instead of this machine alone."""
    dry_run: bool = False
    """Print the trials; run none of them."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "trials", "seeds", "threads")
        check(self, "", at_least(0), "first_seed", "search_seed", "min_timesteps")
        check(self, "", at_least(0), "workers", "retries")
        if self.halving != 0 and self.halving < 2:
            refuse(self, "", "halving", "2 or more, or 0 for none")
        if self.min_timesteps and not self.halving:
            refuse(self, "", "min_timesteps", "0 without --halving N")

        if self.evaluation.protocols:
            raise UsageError(
                "--protocols has no meaning in a sweep, whose score is that of the run's own "
                "protocol; leave it out."
            )

    @property
    def num_workers(self) -> int:
        """Number of processes at a time on this machine."""
        return self.workers or max(1, len(os.sched_getaffinity(0)) // self.threads)

    @property
    def seed_range(self) -> range:
        """The seeds of each trial."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def rungs(self, total_timesteps: int) -> tuple[int, ...]:
        """Return the agent steps of each rung, the last of which is the length of a run.

        Raises UsageError if the first is as long.
        """
        if not self.halving:
            return (total_timesteps,)
        least = self.min_timesteps
        if not least:
            least, left = total_timesteps, self.trials
            while left >= self.halving and least >= self.halving:
                least, left = -(-least // self.halving), left // self.halving
        elif least >= total_timesteps:
            refuse(self, "", "min_timesteps", f"below --total-timesteps {total_timesteps}")
        rungs = [least]
        while rungs[-1] * self.halving < total_timesteps:
            rungs.append(rungs[-1] * self.halving)
        return tuple(dict.fromkeys((*rungs, total_timesteps)))
