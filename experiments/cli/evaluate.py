"""``reverie evaluate RUN ... | random [--flags]``."""

from dataclasses import dataclass
from pathlib import Path

import torch

from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import expand_games
from ...envs.errors import UsageError
from ..config.arguments import import_modules, parse_flags
from ..config.experiment import read_job
from ..config.registry import choose
from ..evaluation.evaluate import evaluate_run, random_play
from ..evaluation.prediction_error import format_table
from ..runs.run import Run
from ..runs.runtime import pick_device, pick_threads
from ..training.predictors import compare_predictors
from ..training.pretrain import Pretraining


@dataclass(frozen=True)
class EvaluateOptions:
    """What is evaluated, and how."""

    game: str = ""
    """Random play only: one game, by default ms_pacman. A run is evaluated on its own game."""
    games: str = ""
    """Random play only: atari26, atari57, hard or names separated by commas."""
    protocol: str = ""
    """Random play only: one protocol, by default mfec."""
    protocols: str | None = None
    """Protocols separated by commas, as in mfec,machado; the agent is evaluated under each."""
    episodes: int = 30
    """Whole episodes to play. Pretrained predictors are compared on held-out segments instead."""
    seed: int = 0
    """Seed of the evaluation's envs and draws."""
    num_envs: int = 32
    """Largest number of parallel envs."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""
    threads: int = 0
    """CPU threads; 0 for all cores."""
    stochastic: bool = False
    """Act as in training, without the protocol's epsilon; PPO samples from its policy."""
    video: bool = False
    """Write an MP4 of one episode."""


def run(argv: list[str]) -> int:
    """Evaluate runs or random play, and print the scores."""
    argv = import_modules(argv)
    targets = []
    while argv and not argv[0].startswith("-"):
        targets.append(argv.pop(0))
    options = parse_flags(EvaluateOptions, argv, "reverie evaluate RUN ... | random")
    if not targets:
        raise UsageError("Name what to evaluate: run folders, or the word random.")
    protocols = [name.strip() for name in (options.protocols or "").split(",") if name.strip()]
    if options.protocols is not None and (not protocols or options.protocol):
        raise UsageError(
            "--protocols takes names separated by commas, as in mfec,machado, and replaces "
            "--protocol."
        )
    device, threads = pick_device(options.device), pick_threads(options.threads)
    if targets == ["random"]:
        _evaluate_random_play(options, protocols, threads)
        return 0
    if options.game or options.games or options.protocol:
        raise UsageError(
            "A run is evaluated on its own game and protocol; leave out --game, --games and "
            "--protocol, or name further protocols with --protocols."
        )
    if isinstance(read_job(targets[0]), Pretraining):
        if options.stochastic or protocols:
            raise UsageError(
                f"{targets[0]} is a pretraining, which plays nothing; leave out --stochastic and "
                "--protocols."
            )
        folders = [Path(target) for target in targets]
        print(format_table(compare_predictors(folders, device=device, video=options.video)))
        return 0
    for target in targets:
        for protocol in protocols or [""]:
            _evaluate_run(target, protocol, options, device, threads)
    return 0


def _evaluate_random_play(options: EvaluateOptions, protocols: list[str], threads: int) -> None:
    if options.stochastic or options.video:
        raise UsageError(
            "Random play has one way to act and no folder for a video; leave out --stochastic and "
            "--video."
        )
    for game in expand_games(options.games or options.game or "ms_pacman"):
        for protocol in protocols or [options.protocol or "mfec"]:
            scores = random_play(
                choose(AtariConfig(game), "protocol", protocol),
                episodes=options.episodes,
                seed=options.seed,
                num_envs=options.num_envs,
                threads=threads,
            )
            print(f"random play, {scores}")


def _evaluate_run(
    folder: str, protocol: str, options: EvaluateOptions, device: torch.device, threads: int
) -> None:
    suffix = protocol and f"-{protocol}"
    video = Run(folder).folder / "videos" / f"evaluation{suffix}.mp4"
    scores = evaluate_run(
        folder,
        protocol=protocol,
        episodes=options.episodes,
        seed=options.seed,
        num_envs=options.num_envs,
        device=device,
        threads=threads,
        stochastic=options.stochastic,
        video=video if options.video else None,
        figure=Run(folder).folder / "figures" / f"plan{suffix}.png",
    )
    print(scores)
    if options.video:
        print(f"  video: {video}")
