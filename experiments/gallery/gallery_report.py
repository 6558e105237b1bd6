"""The report of a gallery: a table and a figure for each game, as HTML, Markdown and JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...envs.errors import UsageError
from ...world_models.inference.hypothesis import log_bayes_factor
from ..reporting.document import Block, Heading, Paragraph, Table, to_html, write_markdown
from ..runs.files import write_file
from .columns import COLUMNS
from .gallery_figure import gallery_figure
from .gallery_task import GalleryTask
from .game_frames import GameFrames, compressed_sizes
from .subject import held_out_frames

BEST = "Bayes factor"
BEST_TEXT = (
    "Bayes factor: nats of the held-out frames together, less those of the best density on these "
    "frames, with the standard error of the difference; ≥ or ≤ if one of the two is a bound"
)


def game_result(
    frames: GameFrames, tasks: Sequence[GalleryTask], errors: Mapping[str, str]
) -> dict[str, Any]:
    """Return the numbers of all densities in a game; ``errors`` are of those that failed."""
    job, sizes = tasks[0].job, tasks[0].sizes
    coded = held_out_frames(job, sizes.held_out)[: sizes.coded]
    models: dict[str, dict[str, Any]] = {}
    for task in tasks:
        cells = {name: cell for name, cell in task.cells.items() if cell is not None}
        models[task.model] = {"error": errors.get(task.model, ""), "cells": cells}
    _add_bayes_factors(models)
    for model in models.values():
        model["cells"].get("bits/pixel", {}).pop("log_probs", None)  # as many as frames
    return {
        "about": frames.about,
        "frame": [*coded.shape[1:]],
        "bytes_per_frame": compressed_sizes(coded),
        "models": models,
    }


def _add_bayes_factors(models: dict[str, dict[str, Any]]) -> None:
    """Compare each density with the one that finds the held-out frames most likely, in place.

    These are frames that both have scored, as a slow density scores fewer of them.
    """
    scored = {
        name: torch.tensor(cell["log_probs"], dtype=torch.float64)
        for name, model in models.items()
        if "log_probs" in (cell := model["cells"].get("bits/pixel", {}))
    }
    fewest = min(map(len, scored.values()), default=0)
    best = max(scored, key=lambda name: float(scored[name][:fewest].sum()), default="")
    bound = {name: models[name]["cells"]["bits/pixel"].get("kind") == "bound" for name in scored}
    for name, log_prob in scored.items():
        count = min(len(log_prob), len(scored[best]))
        sign = "" if bound[name] == bound[best] else "≥ " if bound[name] else "≤ "
        cell = _bayes_factor(log_prob[:count], scored[best][:count], sign)
        models[name]["cells"][BEST] = cell | ({"shown": "best"} if name == best else {})


def _bayes_factor(
    log_p: Float[Tensor, " B"], log_q: Float[Tensor, " B"], sign: str
) -> dict[str, Any]:
    try:
        nats, error = log_bayes_factor(log_p, log_q)
    except UsageError as failure:
        return {"error": f"{type(failure).__name__}: {failure}"}
    return {"shown": f"{sign}{nats:,.0f} ± {error:,.0f}", "nats": nats, "standard_error": error}


TIMES_TEXT = (
    "> 5 s: longer than the column's share of --measure-minutes; no time: the other columns had all"
)


def header() -> list[str]:
    """Return the names of the columns, the comparison after the scores that it compares."""
    first, *others = [column.name for column in COLUMNS]
    return [first, BEST, *others]


def notes() -> list[str]:
    """Return what the columns are, one by one."""
    first, *others = [column.text for column in COLUMNS if column.text]
    return [first, BEST_TEXT, *others, TIMES_TEXT]


def rows(models: Mapping[str, Any]) -> list[list[str]]:
    """Return the cells of all densities: a number, the sentence of a failure, or a hyphen."""
    table = []
    for name, model in models.items():
        cells = [model["cells"].get(column, {}) for column in header()]
        texts = [cell.get("shown") or cell.get("error") or "-" for cell in cells]
        if model["error"]:
            texts[0] = model["error"]
        table.append([name, *texts])
    return table


def blocks(
    protocol: str, games: Mapping[str, dict[str, Any]], tasks: Sequence[GalleryTask]
) -> list[Block]:
    """Return the blocks of the document."""
    found: list[Block] = [Paragraph(protocol)]
    for game, result in games.items():
        of_game = [task for task in tasks if task.game == game]
        job, baselines = of_game[0].job, result["bytes_per_frame"]
        drawn = {task.model: pictures for task in of_game if (pictures := task.pictures)}
        others = ", ".join(f"{name} {size:,.1f}" for name, size in baselines.items())
        found += [
            Heading(game),
            Paragraph(
                f"{result['about']}, as {' x '.join(map(str, result['frame']))} symbols. The same "
                f"held-out frames as the column bytes/frame take, in bytes a frame: {others}."
            ),
            Table(["density", *header()], rows(result["models"]), "; ".join(notes()) + "."),
        ]
        if drawn:
            found.append(gallery_figure(game, drawn, job.quantizer(job.manifest)))
    return found


def write_gallery(
    path: Path, protocol: str, games: Mapping[str, dict[str, Any]], tasks: Sequence[GalleryTask]
) -> None:
    """Write the report as HTML, and as Markdown with its figures beside it."""
    document = blocks(protocol, games, tasks)
    title = f"Densities on {', '.join(games)}"
    write_file(path, to_html(title, document))
    write_markdown(path.with_suffix(".md"), title, document)
