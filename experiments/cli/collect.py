"""``reverie collect RUN | random [env:name] [--flags]``."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro

from ...agents.interface import Policy
from ...envs.atari.atari import AtariConfig
from ...envs.checks import at_least, check, within
from ...envs.errors import UsageError
from ...envs.gym import GymConfig
from ...envs.interface import EnvConfig
from ..config.arguments import (
    expand_game_flag,
    parse_flags,
    split_roles,
    take_flag,
    take_imports,
    take_switch,
)
from ..config.config_file import ConfigFile, take_config
from ..config.config_text import config_text
from ..config.registry import class_name
from ..config.roles import choose_all
from ..datasets.collect import Format, collect
from ..evaluation.evaluate import random_policy
from ..evaluation.trained_agent import load
from ..interchange.recorded_episodes import spans_of
from ..runs.runtime import pick_device, pick_threads
from ..text.terminal_text import file_size


@dataclass(frozen=True)
class CollectOptions:
    """How frames are recorded: the keyword arguments of ``collect``."""

    frames: int = 100_000
    """Number of frames, summed over all envs."""
    format: Format = "own"
    """own: as the policy observes them; gray: 84 x 84; rgb: 210 x 160 (both for Atari)."""
    epsilon: float = 0.0
    """Probability of a uniformly random action, in addition to the policy's own randomness."""
    greedy: bool = False
    """Leave out the policy's own randomness; by default it acts as in training."""
    privileged: bool = False
    """Record the true state of an Atari game, bytes of its memory; small envs always offer it."""
    seed: int = 0
    """Seed of the envs and of the policy's draws."""
    num_envs: int = 8
    """Parallel envs."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""
    threads: int = 0
    """CPU threads; 0 for all cores."""
    folder: Path | None = None
    """Folder of the recording; by default runs/data/ENV-POLICY-FORMAT-sSEED."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "frames", "num_envs")
        check(self, "", within(0, 1), "epsilon")


@dataclass(frozen=True)
class _Collect:
    """Record the frames that a run's agent, or random play, observes.

    Example: reverie collect random --game pong --frames 20000
    """

    env: EnvConfig = AtariConfig()
    """The env of random play; a run plays in its own."""
    options: Annotated[CollectOptions, tyro.conf.arg(name="")] = CollectOptions()


def run(argv: list[str]) -> int:
    """Record frames of a policy, and print the size of the recording."""
    argv, imports = take_imports(argv)
    argv, file = take_config(argv)
    imports = (*imports, *file.take_imports())
    argv, prints = take_switch(argv, "--print-config")
    player, env, options = parse_collect(argv, file)
    if prints:
        shown = _Collect(env, options) if player == "random" else options
        print(config_text({"import": imports}, shown), end="")
        return 0
    device, threads = pick_device(options.device), pick_threads(options.threads)
    policy: Policy
    snapshots = False
    if player == "random":
        policy, device = random_policy(env, options.seed), torch.device("cpu")
    else:
        experiment, policy = load(player, device=str(device))
        env, needs = experiment.env, experiment.needs_privileged
        options = replace(options, privileged=options.privileged or needs)
        snapshots = experiment.needs_snapshots
    name = Path(player).name
    folder = options.folder or Path("runs/data") / (
        f"{env.env_name}-{name}-{options.format}-s{options.seed}"
    )
    users_env = isinstance(env, GymConfig) or ":" in class_name(env)
    settings = vars(options) | {
        "folder": folder,
        "name": name,
        "device": device,
        "threads": threads,
        "imports": imports if users_env else (),
        "snapshots": snapshots,
    }
    recording = collect(policy, env, **settings)
    spans = spans_of(recording)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(
        f"{folder}: {len(recording):,} frames {'x'.join(map(str, recording.frame_shape))} in "
        f"{len(spans.ended):,} whole and {len(spans.all) - len(spans.ended):,} unfinished episodes "
        f"of {env.env_name}, {file_size(size)}"
    )
    return 0


def parse_collect(
    argv: list[str], file: ConfigFile | None = None
) -> tuple[str, EnvConfig, CollectOptions]:
    """Parse RUN [--flags], or ``random [env:name] [--flags]``, into player, env and options.

    The env is that of random play. A config file has values for both.
    """
    file = file or ConfigFile(None)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        raise UsageError(
            "Name the player first, random or a run's folder, as in reverie collect random --game "
            "pong."
        )
    player, argv = ("random", argv) if argv[0].startswith("-") else (argv[0], argv[1:])
    argv, protocol = take_flag(argv, "--protocol")
    tokens, flags = split_roles(expand_game_flag(argv), CollectOptions)
    if protocol is not None:
        tokens.append(f"env.protocol:{protocol}")
    env_args = [*tokens, *(flag for flag in flags if flag.startswith("--env"))]
    file.move_into("env", "game", "protocol")
    env_args += ["the env of the config"] * ("env" in file.nodes)
    if env_args and player != "random":
        raise UsageError(f"A run plays in its own env; leave out {', '.join(env_args)}.")
    chosen = choose_all(file.apply(_Collect()), tokens)
    file.check_empty()
    parsed = parse_flags(_Collect, flags, "reverie collect RUN | random", default=chosen)
    return player, parsed.env, parsed.options
