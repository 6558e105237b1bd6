"""The commands behind ``reverie``: from words to experiments, and from experiments to runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from agents.interface import Policy
from envs.atari import AtariConfig
from envs.errors import UsageError
from envs.games import expand_games
from experiments.ablation import ablate
from experiments.bench import GROUPS, bench
from experiments.bench.sitting import BenchOptions
from experiments.collect import collect, in_format
from experiments.config import TABLES, choose, roles
from experiments.doctor import doctor
from experiments.endurance import ENDURANCE
from experiments.evaluation import evaluate_run, load, random_play, random_policy
from experiments.horizons import shown
from experiments.machine import pick_device, pick_threads
from experiments.parse import (
    default_folder,
    import_modules,
    parse_collect,
    parse_experiment,
    parse_flags,
    parse_pretraining,
)
from experiments.predictors import compare
from experiments.presets import PRESETS
from experiments.pretraining import Pretraining, default_pretrain_folder, pretrain
from experiments.recipes import PREDICTION_RECIPES, RECIPES
from experiments.remembering import MEASUREMENTS
from experiments.report import write_report
from experiments.reproduce import (
    measure,
    outlast,
    reproduce,
    reproduce_prediction,
)
from experiments.run import Run
from experiments.tables import verify
from experiments.training import train


@dataclass(frozen=True)
class _Evaluate:
    game: str = ""
    """Of random play: the one game, by default ms_pacman; a run is evaluated on its own."""
    games: str = ""
    """Of random play: atari26, atari57, hard or names with commas."""
    protocol: str = ""
    """Of random play: the one protocol, by default mfec."""
    protocols: str | None = None
    """Some with commas, as in mfec,machado; a run's agent is evaluated under each in turn."""
    episodes: int = 30
    """Whole episodes to play; pretrained predictors are compared on held-out moments instead."""
    seed: int = 0
    """Seed of the evaluation's own streams and dice."""
    streams: int = 32
    """Games in flight at most."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""
    threads: int = 0
    """CPU threads; 0 takes all cores."""
    explore: bool = False
    """Act as in training, without the protocol's epsilon: an actor-critic by draws."""
    video: bool = False
    """Write an MP4 of one episode."""


@dataclass(frozen=True)
class _Report:
    out: Path = Path("report.html")
    """The HTML file; the Markdown and its figures stand beside it."""
    baseline: str = ""
    """Name of the run folder whose settings the others are compared with; by default those with
    the fewest settings, as of a twin without a bonus."""
    explore: bool = False
    """Compare the scores of agents that explored as in training."""


@dataclass(frozen=True)
class _Reproduce:
    all: bool = False
    """Every recipe."""
    folder: Path = Path("runs/reproduce")
    """Where the runs go; finished ones are not run again."""


@dataclass(frozen=True)
class _Verify:
    write: bool = False
    """Write the tables instead of checking them."""


@dataclass(frozen=True)
class _Doctor:
    folder: Path = Path("runs")
    """Where runs will be kept: its disk is tried."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""


def _train(words: list[str]) -> int:
    preset, experiments, options = parse_experiment(words)
    if options.folder and len(experiments) > 1:
        raise UsageError("--folder names one run and --games asks for several; leave it out.")
    for experiment in experiments:
        run = train(experiment, options.folder or default_folder(preset, experiment), options)
        if run.interrupted:
            return 130
    return 0


def _evaluate(words: list[str]) -> int:
    words = import_modules(words)
    targets = []
    while words and not words[0].startswith("-"):
        targets.append(words.pop(0))
    options = parse_flags(_Evaluate, words, "reverie evaluate RUN ... | random")
    if not targets:
        raise UsageError("Name what to evaluate: run folders, or the word random.")
    named = [name.strip() for name in (options.protocols or "").split(",") if name.strip()]
    if options.protocols is not None and (not named or options.protocol):
        raise UsageError("--protocols names some with commas, as in mfec,machado; no --protocol.")
    device, threads = pick_device(options.device), pick_threads(options.threads)
    if targets == ["random"]:
        if options.explore or options.video:
            raise UsageError(
                "Random play has no other way to act and no folder for a film; leave out "
                "--explore and --video."
            )
        for name in expand_games(options.games or options.game or "ms_pacman"):
            for each in named or [options.protocol or "mfec"]:
                env = choose(AtariConfig(name), "protocol", each)
                scores = random_play(
                    env,
                    episodes=options.episodes,
                    seed=options.seed,
                    streams=options.streams,
                    threads=threads,
                )
                print(f"random play, {scores}")
        return 0
    if options.game or options.games or options.protocol:
        raise UsageError(
            "A run is evaluated on its own game and protocol; leave out --game(s) and --protocol, "
            "or name others beside its own by --protocols."
        )
    if isinstance(Run(targets[0]).job(), Pretraining):
        if options.explore or named:
            raise UsageError(
                f"{targets[0]} is a pretraining, which plays nothing; leave out --explore and "
                "--protocols."
            )
        folders = [Path(target) for target in targets]
        print(shown(compare(folders, device=device, video=options.video)))
        return 0
    for target in targets:
        for each in named or [""]:
            tail = each and f"-{each}"
            video = Run(target).folder / "videos" / f"evaluation{tail}.mp4"
            scores = evaluate_run(
                target,
                protocol=each,
                episodes=options.episodes,
                seed=options.seed,
                streams=options.streams,
                device=device,
                threads=threads,
                explore=options.explore,
                video=video if options.video else None,
                figure=Run(target).folder / "figures" / f"plan{tail}.png",
            )
            print(scores)
            if options.video:
                print(f"  video: {video}")
    return 0


def _report(words: list[str]) -> int:
    folders = []
    while words and not words[0].startswith("-"):
        folders.append(Path(words.pop(0)))
    options = parse_flags(_Report, words, "reverie report DIR ...")
    if not folders:
        raise UsageError("Name run folders, or folders that hold some.")
    try:
        path = write_report(folders, options.out, options.baseline, explore=options.explore)
    except OSError as error:
        raise UsageError(
            f"The report cannot be written ({error}); name another file with --out."
        ) from error
    print(f"wrote {path} and {path.with_suffix('.md')}")
    return 0


def _collect(words: list[str]) -> int:
    who, world, options = parse_collect(words)
    device, threads = pick_device(options.device), pick_threads(options.threads)
    if world is None:
        experiment, agent = load(who, device=str(device))
        env, policy, name = experiment.env, cast(Policy, agent), Path(who).name
    else:
        env, policy, name = world, random_policy(world, options.seed), "random"
    in_format(env, options.format)  # refused before a folder is made
    folder = options.folder or Path("runs/data") / (
        f"{env.title}-{name}-{options.format}-s{options.seed}"
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
        streams=options.streams,
        device=device if name != "random" else "cpu",
        threads=threads,
    )
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(
        f"{folder}: {len(recording):,} frames {'x'.join(map(str, recording.frame_shape))} in "
        f"{recording.num_episodes} episodes of {env.title}, {size:,.1f} MB"
    )
    return 0


def _pretrain(words: list[str]) -> int:
    job, options = parse_pretraining(words)
    run = pretrain(job, options.folder or default_pretrain_folder(job), options)
    return 130 if run.interrupted else 0


def _list(words: list[str]) -> int:
    topics = ("games", "presets", "roles")
    if {"-h", "--help"} & set(words):
        print(f"reverie list [{' | '.join(topics)}]; without a word, presets and roles.")
        return 0
    for word in words:
        if word not in topics:
            raise UsageError(f"There is no list of '{word}'; the lists are {', '.join(topics)}.")
    if not words or "presets" in words:
        for name, preset in PRESETS.items():
            print(f"preset {name}: {type(preset.agent).__name__}, {preset.steps:,} steps")
    if not words or "roles" in words:
        for base, table in TABLES.items():
            role = base.__name__.removesuffix("Config").removeprefix("Atari").lower()
            print(f"{role}: {', '.join(table)}")
        for name, preset in PRESETS.items():
            paths = ", ".join(path for path, _ in roles(preset))
            print(f"roles in preset {name}: {paths}")
    return 0


def _reproduce(words: list[str]) -> int:
    names = []
    while words and not words[0].startswith("-"):
        names.append(words.pop(0))
    options = parse_flags(_Reproduce, words, "reverie reproduce NAME ... | --all")
    recipes = dict.fromkeys(RECIPES, reproduce)
    recipes |= dict.fromkeys(PREDICTION_RECIPES, reproduce_prediction)
    recipes |= dict.fromkeys(MEASUREMENTS, measure)
    recipes |= dict.fromkeys(ENDURANCE, outlast)
    unknown = [name for name in names if name not in recipes]
    if unknown or not (names or options.all):
        raise UsageError(
            f"Name what to reproduce{' instead of ' + unknown[0] if unknown else ''}: "
            f"{', '.join(recipes)}, or --all."
        )
    for name in recipes if options.all else names:
        if not recipes[name](name, options.folder):
            return 130
    return 0


def _verify(words: list[str]) -> int:
    return verify(write=parse_flags(_Verify, words, "reverie verify").write)


def _doctor(words: list[str]) -> int:
    options = parse_flags(_Doctor, words, "reverie doctor")
    return doctor(options.folder, options.device)


def _bench(words: list[str]) -> int:
    options = parse_flags(BenchOptions, words, "reverie bench")
    if not any(options.only in group for group in GROUPS):
        raise UsageError(
            f"No group of the benchmark is called '{options.only}'; there are {', '.join(GROUPS)}."
        )
    bench(options)
    return 0


def _play(words: list[str]) -> int:
    from experiments.play.command import play  # its page needs the extra `play`

    return play(words)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "evaluate": _evaluate,
    "ablate": ablate,
    "report": _report,
    "collect": _collect,
    "pretrain": _pretrain,
    "list": _list,
    "reproduce": _reproduce,
    "verify": _verify,
    "bench": _bench,
    "doctor": _doctor,
    "play": _play,
}
