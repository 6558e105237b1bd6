"""The plan of a sweep: its trials, which are experiments, and the rungs of their training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...envs.errors import UsageError
from ..config.arguments import expand_game_flag, split_roles, take_imports, take_switch
from ..config.config_file import ConfigFile
from ..config.config_text import config_text
from ..config.experiment import Experiment
from ..config.roles import choose_all
from ..config.run_names import Start
from ..config.serialization import encode
from ..sessions.command_line import begin, parse_arguments
from ..sessions.options import TrainOptions
from ..training.task import Task
from .space import (
    Dimension,
    parse_dimension,
    space_text,
    take_spaces,
    trial_settings,
    with_settings,
)
from .sweep_options import SweepOptions


@dataclass(frozen=True)
class Trial:
    """Some settings to try, and the experiment with them."""

    number: int
    settings: Mapping[str, Any]
    """Values by dotted path."""
    experiment: Experiment
    runs: tuple[str, ...]
    """Names of the run folders, one for each seed."""


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep trains: the trials of a space around an experiment."""

    start: Start
    base: Experiment
    space: tuple[Dimension, ...]
    trials: tuple[Trial, ...]
    training: TrainOptions
    options: SweepOptions

    @property
    def folder(self) -> Path:
        """The folder of the runs and the results."""
        name = f"{Path(self.start.name).name}-{self.base.total_timesteps}"
        return Path(self.options.folder or f"runs/sweep/{name}")

    @property
    def rungs(self) -> tuple[int, ...]:
        """Agent steps of each rung."""
        return self.options.rungs(self.base.total_timesteps)

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change if a sweep is continued, as JSON values."""
        options = self.options
        return {
            "experiment": encode(self.base, self.folder),
            "space": {x.path: x.text for x in self.space},
            "rungs": [*self.rungs],
            "halving": options.halving,
            "search_seed": options.search_seed,
            "score": options.score,
            "episodes": options.evaluation.episodes,
            "stochastic": options.evaluation.stochastic,
            "max_steps": options.evaluation.max_steps,
        }

    def tasks(self, trial: Trial, timesteps: int) -> list[Task]:
        """Return the runs of a trial up to a rung, one for each seed."""
        options, folder = self.options, self.folder.resolve()
        own = replace(self.training, threads=options.threads, random_play_seconds=0.0)
        return [
            Task(
                replace(trial.experiment, seed=seed, total_timesteps=timesteps),
                folder / name,
                own,
                options.evaluation,
            )
            for seed, name in zip(options.seed_range, trial.runs, strict=True)
        ]

    def text(self, trial: Trial) -> str:
        """Return the config file of a trial, for `reverie train` and `reverie ablate`."""
        head = {"preset": self.start.preset, "import": self.training.imports}
        hidden = ("seed", "folder", "threads", "seeds_together", "random_play_seconds")
        return config_text(head, trial.experiment, self.training, hidden=hidden)


def make_plan(argv: list[str], options: SweepOptions, file: ConfigFile) -> SweepPlan:
    """Return the plan of PRESET [role:name ...] [--flags], some with ranges or several values.

    With ``--print-config`` it is printed instead, which ends the command. Raises UsageError if no
    setting varies, or one that has to stay.
    """
    argv, imports = take_imports(argv)
    argv, prints = take_switch(argv, "--print-config")
    file.space_of = space_text
    beginning, argv = begin(argv, TrainOptions(imports=imports), file)
    tokens, flags = split_roles(expand_game_flag(argv), Experiment, TrainOptions)
    for token in tokens:
        if "," in token:
            raise UsageError(f"{token} names several parts; `reverie ablate` compares parts.")
    chosen = choose_all(beginning.experiment, tokens)
    flags, given = take_spaces(flags, chosen)
    fixed = {flag.partition("=")[0].removeprefix("--").replace("-", "_") for flag in flags}
    written = {path: text for path, text in file.spaces.items() if path not in fixed}
    start, experiments, training = parse_arguments("train", [*tokens, *flags], beginning)
    if len(experiments) > 1:
        raise UsageError("A sweep is of one game; leave out --games.")
    if training.seeds_together > 1:
        raise UsageError("A sweep trains each seed in a process; leave out --seeds-together.")
    base = experiments[0]
    if base.seed:
        raise UsageError("--seed is for one run; give the number of seeds of a trial as --seeds N.")
    texts = written | given
    if not texts:
        raise UsageError(
            "No setting varies; give one a range or several values, as in --agent.gamma 0.9,0.99."
        )
    space = tuple(parse_dimension(base, path, text) for path, text in texts.items())
    if prints:
        head = {"preset": start.preset, "import": training.imports}
        print(config_text(head, base, options, training, hidden=["seed"], spaces=texts), end="")
        raise SystemExit(0)
    return SweepPlan(start, base, space, _trials(space, start, base, options), training, options)


def _trials(
    space: Sequence[Dimension], start: Start, base: Experiment, options: SweepOptions
) -> tuple[Trial, ...]:
    trials = list[Trial]()
    for values in trial_settings(space, base, options.trials, options.search_seed):
        experiment = with_settings(base, values)
        seeds = (replace(experiment, seed=seed) for seed in options.seed_range)
        runs = tuple(start.folder(x).name for x in seeds)
        trials.append(Trial(len(trials), values, experiment, runs))
    return tuple(trials)
