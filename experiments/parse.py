"""From words to experiments: a preset, parts chosen as role:name, and flags."""

import importlib
import sys
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from envs.atari import AtariConfig
from envs.checks import at_least, check, within
from envs.errors import UsageError
from envs.games import expand_games, near_names
from envs.interface import EnvConfig
from experiments.choices import PRETRAININGS
from experiments.collect import Format
from experiments.config import Experiment, choose_all, fingerprint, roles
from experiments.presets import PRESETS
from experiments.pretraining import Pretraining, PretrainOptions
from experiments.training import TrainOptions

T = TypeVar("T")


@dataclass(frozen=True)
class _Train:
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    options: Annotated[TrainOptions, tyro.conf.arg(name="")] = TrainOptions()


@dataclass(frozen=True)
class CollectOptions:
    """How frames are recorded."""

    frames: int = 100_000
    """Frames in all, over all streams."""
    format: Format = "own"
    """own: as the policy sees them; grey: 84 x 84; rgb: 210 x 160 (both of Atari)."""
    epsilon: float = 0.0
    """Probability of a uniformly drawn action, on top of the policy's own chance."""
    seed: int = 0
    streams: int = 8
    device: str = "auto"
    threads: int = 0
    """CPU threads; 0 takes all cores."""
    folder: Path | None = None
    """Where the recording goes; by default runs/data/WORLD-POLICY-FORMAT-sSEED."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "frames", "streams")
        check(self, "", within(0, 1), "epsilon")


@dataclass(frozen=True)
class _Collect:
    env: EnvConfig = AtariConfig()
    """The world of random play; a run plays in its own."""
    options: Annotated[CollectOptions, tyro.conf.arg(name="")] = CollectOptions()


def parse_collect(words: list[str]) -> tuple[str, EnvConfig | None, CollectOptions]:
    """RUN [--flags], or ``random [env:name] [--flags]``: who plays, where, and how it is kept.

    A run plays in its own world, for which None stands.
    """
    words = import_modules(words)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        raise UsageError("Name who plays: random, or a run's folder.")
    who, words = ("random", words) if words[0].startswith("-") else (words[0], words[1:])
    words, protocol = take(words, "--protocol")
    words = _game_flag(words)
    tokens, flags = split_roles(words, _Collect())
    if protocol is not None:
        tokens.append(f"env.protocol:{protocol}")
    if who != "random":
        own = [*tokens, *(flag for flag in flags if flag.startswith("--env"))]
        if own:
            raise UsageError(f"A run plays in its own world; leave out {', '.join(own)}.")
        options = parse_flags(CollectOptions, flags, "reverie collect RUN")
        return who, None, options
    chosen = choose_all(_Collect(), tokens)
    parsed = parse_flags(_Collect, flags, "reverie collect RUN | random", default=chosen)
    return who, parsed.env, parsed.options


def parse_pretraining(words: list[str]) -> tuple[Pretraining, PretrainOptions]:
    """ROLE:NAME [role:name ...] --data FOLDER [--flags], as on the command line."""
    words = import_modules(words)
    if words[:1] in (["-h"], ["--help"]):
        known = dict(entry for role in PRETRAININGS for entry in roles(PRETRAININGS[role]()))
        names = ", ".join(f"{role}:{name}" for role in PRETRAININGS for name in known[role])
        print(f"reverie pretrain ROLE:NAME --data FOLDER ...; ROLE:NAME is one of {names}.")
        print("`reverie pretrain ROLE:NAME --help` shows every setting of that model.")
        raise SystemExit(0)
    role = words[0].partition(":")[0] if words else ""
    if role not in PRETRAININGS:
        hint = near_names(role, PRETRAININGS) or f" The roles are {', '.join(PRETRAININGS)}."
        raise UsageError(f"Name what to pretrain first, as ROLE:NAME, not '{role}'.{hint}")
    job = PRETRAININGS[role]()
    tokens, flags = split_roles([w for w in words if w != role], job)
    kind = _pretrain_kind(type(job))
    default = kind(choose_all(job, tokens))
    parsed = parse_flags(kind, flags, f"reverie pretrain {words[0]}", default=default)
    return parsed.job, parsed.options


def _pretrain_kind(job: type[Pretraining]) -> Any:
    """A job of this role and its options, as tyro reads them."""
    return make_dataclass(
        "_Pretrain",
        [
            ("job", Annotated[job, tyro.conf.arg(name="")]),
            ("options", Annotated[PretrainOptions, tyro.conf.arg(name="")], PretrainOptions()),
        ],
        frozen=True,
    )


def parse_experiment(words: list[str]) -> tuple[str, list[Experiment], TrainOptions]:
    """PRESET [role:name ...] [--flags], as on the command line: one experiment a game."""
    words = import_modules(words)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        raise UsageError(f"Name a preset first: {', '.join(PRESETS)}.")
    if words[0] in ("-h", "--help"):
        print(f"reverie train PRESET ...; the presets are {', '.join(PRESETS)}.")
        print("`reverie train PRESET --help` shows every setting of a preset's parts.")
        raise SystemExit(0)
    preset, words = words[0], words[1:]
    if preset not in PRESETS:
        hint = near_names(preset, PRESETS) or f" The presets are {', '.join(PRESETS)}."
        raise UsageError(f"There is no preset '{preset}'.{hint}")
    words, games = take(words, "--games")
    words, protocol = take(words, "--protocol")
    words = _game_flag(words)
    tokens, flags = split_roles(words, PRESETS[preset])
    if protocol is not None:
        tokens.append(f"env.protocol:{protocol}")
    chosen = choose_all(PRESETS[preset], tokens)
    parsed = parse_flags(_Train, flags, f"reverie train {preset}", default=_Train(chosen))
    if games is None:
        return preset, [parsed.experiment], parsed.options
    if not isinstance(parsed.experiment.env, AtariConfig):
        raise UsageError("--games needs env:atari; other worlds are one at a time.")
    env = parsed.experiment.env
    each = [replace(parsed.experiment, env=replace(env, game=game)) for game in expand_games(games)]
    return preset, each, parsed.options


def default_folder(preset: str, experiment: Experiment) -> Path:
    """runs/PRESET-WORLD-sSEED, with a fingerprint where the preset was changed."""
    plain = replace(PRESETS[preset], seed=experiment.seed, steps=experiment.steps)
    if isinstance(plain.env, AtariConfig) and isinstance(experiment.env, AtariConfig):
        plain = replace(plain, env=replace(plain.env, game=experiment.env.game))
    suffix = "" if plain == experiment else f"-{fingerprint(experiment)}"
    return Path("runs") / f"{preset}-{experiment.env.title}-s{experiment.seed}{suffix}"


def parse_flags(kind: type[T], flags: list[str], program: str, default: T | None = None) -> T:
    """tyro's flags over a frozen dataclass; a wrong flag ends with its own message, status 2."""
    if default is None:
        return tyro.cli(kind, args=flags, prog=program)
    return tyro.cli(kind, args=flags, prog=program, default=default)


def take(words: list[str], flag: str) -> tuple[list[str], str | None]:
    """Take ``flag VALUE`` out of the words."""
    for i, word in enumerate(words):
        if word == flag:
            if i + 1 == len(words):
                raise UsageError(f"{flag} needs a value.")
            return words[:i] + words[i + 2 :], words[i + 1]
        if word.startswith(flag + "="):
            return words[:i] + words[i + 1 :], word.removeprefix(flag + "=")
    return words, None


def import_modules(words: list[str]) -> list[str]:
    """Import the modules of ``--with``: parts of the user's own."""
    while True:
        words, module = take(words, "--with")
        if module is None:
            return words
        sys.path.insert(0, "")
        try:
            importlib.import_module(module)
        except Exception as error:  # it is the user's code, which may raise anything
            said = f"{type(error).__name__}: {error}"
            raise UsageError(f"--with '{module}' cannot be imported ({said}).") from error


def _game_flag(words: list[str]) -> list[str]:
    return ["--env.game" if w == "--game" else w.replace("--game=", "--env.game=") for w in words]


def split_roles(words: list[str], experiment: Any) -> tuple[list[str], list[str]]:
    """``role:name`` tokens, and the flags with their values (which may hold colons too)."""
    heads = {path.partition(".")[0] for path, _ in roles(experiment)}
    tokens: list[str] = []
    flags: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        known = word.partition(":")[0].partition(".")[0] in heads
        value_of_flag = before.startswith("--") and "=" not in before and not known
        is_role = ":" in word and not word.startswith("-") and not value_of_flag
        (tokens if is_role else flags).append(word)
    return tokens, flags
