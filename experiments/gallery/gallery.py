"""``reverie gallery``: every density trained on the same frames, measured and shown.

Latent-variable models are densities, too, by the bound on their evidence.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...envs.atari.games import did_you_mean
from ...envs.errors import UsageError
from ...world_models.density.bound import BoundConfig
from ...world_models.interface import DensityConfig
from ...world_models.latents.interface import LatentConfig
from ..config.registry import TABLES
from ..config.roles import entry_config, part_name
from ..reporting.committed import RESULTS, require_checkout, write_result
from ..runs.names import safe_name
from ..runs.outputs import check_writable
from ..runs.progress_text import duration
from ..runs.provenance import provenance
from ..runs.run import refuse_links
from ..runs.runtime import raising_interrupted
from ..sessions.executor import Executor
from ..sessions.local_pool import LocalPool
from ..training.densities import DensityPretraining
from .gallery_options import GalleryOptions
from .gallery_report import game_result, header, notes, write_gallery
from .gallery_task import GalleryTask
from .game_frames import GameFrames, frames_of_games

NO_LIMIT = 10**9
"""Updates of a model that time alone limits."""
PROVENANCE = ("commit", "modified", "cpu", "torch", "numpy", "ale-py")


def gallery(options: GalleryOptions, command: str) -> int:
    """Train and measure what is not finished, write the report, and return the exit status.

    That is 0, or 1 if a density failed; its row has the sentence. The report and the committed
    results are written whenever a game is finished. ``command`` repeats the gallery.
    Raises KeyboardInterrupt if interrupted, and UsageError for invalid input.
    """
    games = frames_of_games(options)
    models = chosen_models(options.models)
    tasks = make_tasks(options, games, models)
    places = [task.folder for task in tasks] + [task.folder.parent for task in tasks]
    refuse_links(Path(), map(str, places))
    if options.dry_run:
        print_plan(options, games, models)
        return 0
    if options.save:
        require_checkout("reverie gallery --save")
        check_writable(result_file(options.save), remedy="leave out --save, or make it writable")
    report = options.folder / "report.html"
    check_writable(report, report.with_suffix(".md"), remedy="choose another --folder")
    for frames in games:
        frames.collect(options.frames, options.seed)
    protocol, results = describe(options, len(tasks)), dict[str, Any]()
    failed = False
    try:
        for frames, own, errors in _finished_games(_executor(options), games, tasks):
            results[frames.name] = game_result(frames, own, errors)
            failed = failed or bool(errors)
            write_gallery(report, protocol, results, tasks)
            print(f"wrote {report} and {report.with_suffix('.md')}", flush=True)
            if options.save:
                save(options, command, protocol, results)
    except KeyboardInterrupt:
        print("Interrupted: the same command continues.")
        raise
    return int(failed)


def all_models() -> dict[str, DensityConfig]:
    """Return every density, and every latent-variable model as one, by name.

    A density that is the bound of a latent-variable model has the name of the latter.
    """
    latents: dict[str, LatentConfig] = _configs(LatentConfig)
    models: dict[str, DensityConfig] = {}
    for name, config in _configs(DensityConfig).items():
        latent = part_name(config.latent) if isinstance(config, BoundConfig) else ""
        models[latent if latent and latent not in models else name] = config
    bounds = {name: BoundConfig(latent=latent) for name, latent in latents.items()}
    return models | {name: config for name, config in bounds.items() if name not in models}


def _configs(role: type) -> dict[str, Any]:
    """Return the parts of a role with their settings, by name."""
    return {name: entry_config(entry) for name, entry in TABLES[role].items()}


def chosen_models(names: str) -> dict[str, DensityConfig]:
    """Return the named densities with their settings, by default all.

    Raises UsageError for a name that is none.
    """
    models = all_models()
    chosen = [*filter(None, map(str.strip, names.split(",")))] if names else [*models]
    for name in chosen:
        if name not in models:
            hint = did_you_mean(name, models) or f" The densities are {', '.join(models)}."
            raise UsageError(f"There is no density '{name}'.{hint}")
    if not chosen:
        raise UsageError(f"--models is '{names}', which names no density; give some, with commas.")
    return {name: models[name] for name in chosen}


def make_tasks(
    options: GalleryOptions, games: Sequence[GameFrames], models: Mapping[str, DensityConfig]
) -> list[GalleryTask]:
    """Return a task for every density in every game, game by game."""
    minutes, measure_minutes = options.limits(len(games) * len(models))
    length: dict[str, Any] = {"minutes": minutes, "num_updates": NO_LIMIT}
    if options.updates:
        length = {"num_updates": options.updates}
    return [
        GalleryTask(
            frames.name,
            name,
            DensityPretraining(data=frames.folders, density=config, seed=options.seed, **length),
            options.folder.resolve() / safe_name(frames.name) / name,
            options.sizes,
            measure_minutes,
            options.imports,
        )
        for frames in games
        for name, config in models.items()
    ]


def describe(options: GalleryOptions, num_tasks: int) -> str:
    """Return how the densities were trained and measured, in two sentences."""
    minutes, measure_minutes = options.limits(num_tasks)
    length = f"{minutes:.3g} minutes of updates"
    if options.updates:
        length = f"{options.updates:,} updates"
    job = DensityPretraining()
    return (
        f"Each density is trained by {length} on one thread, in batches of {job.batch_size} frames "
        f"of at most {job.resolution} x {job.resolution} pixels of {job.levels} levels, and one "
        "that counts by one pass. "
        f"{job.held_out:.0%} of the frames, in whole episodes, are held out, and a density is "
        f"measured in at most {measure_minutes:.3g} minutes."
    )


def print_plan(
    options: GalleryOptions, games: Sequence[GameFrames], models: Mapping[str, DensityConfig]
) -> None:
    """Print the densities, the games and the hours that the gallery takes at most."""
    count = len(games) * len(models)
    minutes, measure_minutes = options.limits(count)
    print(f"{len(models)} densities: {', '.join(models)}")
    for frames in games:
        state = f"{options.frames:,} frames to collect" if frames.missing else "frames are there"
        print(f"  {frames.name}: {state}")
    print(describe(options, count))
    if options.updates:
        print("The time is not known, as --updates was given.")
        return
    seconds = 60 * count * (minutes + measure_minutes)
    print(
        f"At most {duration(seconds)} of one thread in all, "
        f"{duration(seconds / options.num_workers)} with {options.num_workers} at a time, beside "
        "the collection."
    )


def result_file(name: str) -> Path:
    """Return the committed file of a gallery."""
    return RESULTS / "gallery" / f"{name}.json"


def save(options: GalleryOptions, command: str, protocol: str, results: Mapping[str, Any]) -> None:
    """Write the numbers of a gallery among the committed results."""
    about = provenance(torch.device("cpu"), 1)
    data = {
        "name": options.save,
        "kind": "gallery",
        "command": command,
        "protocol": protocol,
        "columns": header(),
        "notes": notes(),
        "provenance": {name: about[name] for name in PROVENANCE},
        "games": results,
    }
    write_result(result_file(options.save), data)


def _executor(options: GalleryOptions) -> Executor[GalleryTask]:
    """Return the processes that execute the tasks."""
    return LocalPool(options.num_workers)


def _finished_games(
    executor: Executor[GalleryTask], games: Sequence[GameFrames], tasks: Sequence[GalleryTask]
) -> Iterator[tuple[GameFrames, list[GalleryTask], dict[str, str]]]:
    """Execute the tasks; yield each game when all of its own are done.

    With them are the sentences of those that failed, by model.
    """
    waiting = Counter(task.game for task in tasks)
    errors: dict[str, dict[str, str]] = {frames.name: {} for frames in games}
    with raising_interrupted():
        try:
            for number, result in enumerate(executor.execute(tasks), 1):
                print(f"[{number}/{len(tasks)}] {result}", flush=True)
                game = result.task.game
                waiting[game] -= 1
                if result.error:
                    errors[game][result.task.model] = result.error
                if not waiting[game]:
                    frames = next(frames for frames in games if frames.name == game)
                    yield frames, [task for task in tasks if task.game == game], errors[game]
        finally:
            executor.stop()
