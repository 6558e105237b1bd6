"""``reverie evaluate RUN ... | random [--flags]``."""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import tyro

from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import expand_games
from ...envs.errors import UsageError
from ..config.arguments import parse_flags, take_imports, take_switch
from ..config.config_file import take_config
from ..config.config_text import config_text
from ..config.experiment import Job
from ..config.roles import choose_all
from ..config.serialization import read_job
from ..dreams.dream_table import format_table
from ..evaluation.evaluate import random_play
from ..evaluation.run_evaluation import Evaluation, evaluate_run, evaluation_video
from ..reporting.run_results import warn
from ..runs.console import progress_console
from ..runs.live_line import LiveLine
from ..runs.run import Run, find_runs
from ..runs.runtime import pick_device, pick_threads
from ..text.terminal_text import printable
from ..training.predictors import VIDEO, compare_predictors
from ..training.pretrain import Pretraining


@dataclass(frozen=True)
class EvaluateOptions:
    """What is evaluated, and how. Pretrained predictors are compared on held-out segments."""

    targets: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folders, folders that hold some, or the word random."""
    evaluation: Annotated[Evaluation, tyro.conf.arg(name="")] = Evaluation()
    games: str = ""
    """Random play only: atari26, atari57, hard or names separated by commas; by default ms_pacman.
    A run is evaluated on its own game. --game is the same."""
    seed: int | None = None
    """Seed of the evaluation's envs and draws; None is the run's own, and 0 for random play."""
    num_envs: int = 32
    """Largest number of parallel envs."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""
    threads: int = 0
    """CPU threads; 0 for all cores."""


def run(argv: list[str]) -> int:
    """Evaluate runs or random play, and print the scores."""
    argv, imports = take_imports(argv)
    argv, file = take_config([re.sub("^--game(?==|$)", "--games", arg) for arg in argv])
    argv, prints = take_switch(argv, "--print-config")
    imports, usual = (*imports, *file.take_imports()), file.apply(EvaluateOptions(()))
    file.check_empty()
    options = parse_flags(EvaluateOptions, argv, "reverie evaluate", usual if file.path else None)
    if prints:
        print(config_text({"import": imports}, options), end="")
        return 0
    evaluation, targets = options.evaluation, options.targets
    if not targets:
        raise UsageError(
            "Name what to evaluate, run folders or the word random, as in reverie evaluate runs."
        )
    device, threads = pick_device(options.device), pick_threads(options.threads)
    execution: dict[str, Any] = {
        "seed": options.seed,
        "num_envs": options.num_envs,
        "threads": threads,
    }
    protocols = evaluation.protocols or ("",)
    play = {"episodes": evaluation.episodes, "max_steps": evaluation.max_steps}
    if targets[0] == "random" and targets[1:]:
        raise UsageError(
            f"Random play is evaluated alone, in the Atari games of --games; leave out "
            f"{' and '.join(targets[1:])}."
        )
    if targets == ("random",):
        if evaluation.stochastic or evaluation.video:
            raise UsageError(
                "Random play has one way to act and no folder for a video; leave out --stochastic "
                "and --video."
            )
        execution["seed"] = options.seed or 0
        for game, protocol in product(expand_games(options.games or "ms_pacman"), protocols):
            env = choose_all(AtariConfig(game), [f"protocol:{protocol or 'mfec'}"])
            print(f"random play, {random_play(env, **play, **execution)}")
        return 0
    if options.games:
        raise UsageError("A run is evaluated on its own game; leave out --games, or --game.")
    failed = list[Path]()
    found = (run for target in targets for run in _runs(Path(target), failed))
    jobs = _read_jobs(list(dict.fromkeys(found)), failed)
    folders = list(jobs)
    if isinstance(jobs[folders[0]], Pretraining):
        if evaluation.stochastic or evaluation.protocols:
            raise UsageError(
                f"{folders[0]} is a pretraining, which plays nothing; leave out --stochastic and "
                "--protocols."
            )
        with closing(LiveLine(progress_console())) as line:
            line.start()

            def report(text: str) -> None:
                if line.overwrites or line.due():
                    line.show(text)

            def show(result: dict[str, Any]) -> None:
                line.close()
                print(format_table(result))

            compare_predictors(
                folders, device=device, video=evaluation.video, report=report, show=show
            )
        if evaluation.video:
            for folder in folders:
                print(f"  video: {folder / VIDEO}")
        return int(bool(failed))
    for folder in folders:
        if len(folders) > 1:
            print(f"{folder}:")
        try:
            evaluate_run(folder, evaluation, device=device, show=print, **execution)
        except UsageError as error:
            _leave_out(folder, error, folders, failed)
            continue
        if evaluation.video:
            for protocol in protocols:
                print(f"  video: {evaluation_video(Run(folder), protocol)}")
    return int(bool(failed))


def _leave_out(
    folder: Path, error: UsageError, folders: Sequence[Path], failed: list[Path]
) -> None:
    """Name a run that cannot be evaluated; raises the error if no other one is left."""
    failed.append(folder)
    if set(folders) <= set(failed):
        raise error
    warn(f"{folder} is left out: {printable(str(error))}")


def _read_jobs(folders: Sequence[Path], failed: list[Path]) -> dict[Path, Job]:
    """Return the jobs of the runs that can be read; raises UsageError for a missing folder."""
    jobs = {}
    for folder in folders:
        try:
            jobs[folder] = read_job(folder)
        except UsageError as error:
            if not folder.exists():
                raise
            _leave_out(folder, error, folders, failed)
    return jobs


def _runs(target: Path, failed: list[Path]) -> list[Path]:
    """Return a run, or the runs with a checkpoint below a folder.

    Those of agents come alone, unless all are pretrainings.
    """
    if (target / "config.json").exists() or not target.is_dir():
        return [target]
    runs = find_runs(target)
    left_out = {x: "has no checkpoint yet" for x in runs if not Run(x).checkpoints.steps()}
    jobs = _read_jobs([x for x in runs if x not in left_out], failed)
    models = [x for x, job in jobs.items() if isinstance(job, Pretraining)]
    if len(models) < len(jobs):
        left_out |= dict.fromkeys(models, "is a pretraining, which plays nothing")
    for folder, reason in left_out.items():
        print(f"{folder} {reason}; it is left out.")
    if len(left_out) == len(runs):
        raise UsageError(f"No run in {target} has a checkpoint yet; train one first.")
    return [x for x in jobs if x not in left_out]
