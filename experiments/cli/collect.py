"""``reverie collect RUN | random [env:name] [--flags]``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ...agents.interface import Policy
from ...envs.atari.atari import AtariConfig
from ...envs.checks import at_least, check, within
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig
from ..config.arguments import (
    expand_game_flag,
    import_modules,
    parse_flags,
    split_roles,
    take_flag,
)
from ..config.registry import choose_all
from ..datasets.collect import Format, collect, in_format
from ..evaluation.evaluate import load, random_policy
from ..runs.runtime import pick_device, pick_threads


@dataclass(frozen=True)
class CollectOptions:
    """How frames are recorded."""

    frames: int = 100_000
    """Number of frames, summed over all envs."""
    format: Format = "own"
    """own: as the policy observes them; gray: 84 x 84; rgb: 210 x 160 (both for Atari)."""
    epsilon: float = 0.0
    """Probability of a uniformly random action, in addition to the policy's own randomness."""
    seed: int = 0
    num_envs: int = 8
    device: str = "auto"
    threads: int = 0
    """CPU threads; 0 for all cores."""
    folder: Path | None = None
    """Folder of the recording; by default runs/data/ENV-POLICY-FORMAT-sSEED."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "frames", "num_envs")
        check(self, "", within(0, 1), "epsilon")


@dataclass(frozen=True)
class _Collect:
    env: EnvConfig = AtariConfig()
    """The env of random play; a run plays in its own."""
    options: Annotated[CollectOptions, tyro.conf.arg(name="")] = CollectOptions()


def run(argv: list[str]) -> int:
    """Record frames of a policy, and print the size of the recording."""
    player, chosen_env, options = parse_collect(argv)
    device, threads = pick_device(options.device), pick_threads(options.threads)
    policy: Policy
    if chosen_env is None:
        experiment, policy = load(player, device=str(device))
        env, name = experiment.env, Path(player).name
    else:
        env, policy, name = chosen_env, random_policy(chosen_env, options.seed), "random"
    in_format(env, options.format)  # refused before a folder is made
    folder = options.folder or Path("runs/data") / (
        f"{env.env_name}-{name}-{options.format}-s{options.seed}"
    )
    recording = collect(
        policy,
        env,
        folder,
        frames=options.frames,
        format=options.format,
        epsilon=options.epsilon,
        name=name,
        seed=options.seed,
        num_envs=options.num_envs,
        device=device if name != "random" else "cpu",
        threads=threads,
    )
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(
        f"{folder}: {len(recording):,} frames {'x'.join(map(str, recording.frame_shape))} in "
        f"{recording.num_episodes} episodes of {env.env_name}, {size:,.1f} MB"
    )
    return 0


def parse_collect(argv: list[str]) -> tuple[str, EnvConfig | None, CollectOptions]:
    """Parse RUN [--flags], or ``random [env:name] [--flags]``.

    Returns the player, its env (None for a run's own env) and the options.
    """
    argv = import_modules(argv)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        raise UsageError("Name the player first: random, or a run's folder.")
    player, argv = ("random", argv) if argv[0].startswith("-") else (argv[0], argv[1:])
    argv, protocol = take_flag(argv, "--protocol")
    tokens, flags = split_roles(expand_game_flag(argv), _Collect())
    if protocol is not None:
        tokens.append(f"env.protocol:{protocol}")
    if player != "random":
        env_args = [*tokens, *(flag for flag in flags if flag.startswith("--env"))]
        if env_args:
            raise UsageError(f"A run plays in its own env; leave out {', '.join(env_args)}.")
        options = parse_flags(CollectOptions, flags, "reverie collect RUN")
        return player, None, options
    chosen = choose_all(_Collect(), tokens)
    parsed = parse_flags(_Collect, flags, "reverie collect RUN | random", default=chosen)
    return player, parsed.env, parsed.options
