"""``reverie report``: what runs say, on one page that needs nothing but itself.

Verdicts come first, then what they rest on: curves, every score with its protocol, the same
checkpoints under other protocols, published numbers, configs, videos and figures, provenance.
"""

import json
import os
from pathlib import Path

import numpy as np

from envs.games import HUMAN_RANDOM_TABLE, human_normalised
from experiments.document import (
    Block,
    Chip,
    Download,
    Gallery,
    Heading,
    Media,
    Paragraph,
    Table,
    to_html,
    write_markdown,
)
from experiments.evaluation import conditions
from experiments.figures import comparison_curves
from experiments.findings import Comparison, Verdict, compare, raw_csv
from experiments.numbers import error, interval, number
from experiments.published import published
from experiments.records import WINDOW, Record, read
from experiments.statistics import AGGREGATES, CONFIDENCE, bootstrap, normalised
from experiments.variants import flatten

MOST_VIDEO = 6_000_000
"""Bytes of a video that is shown; a larger one is only named."""
SETTINGS = ("commit", "modified", "device", "cpu", "threads", "precision", "torch", "ale-py")


def write_report(
    folders: list[Path], path: Path, baseline: str = "", *, explore: bool = False
) -> Path:
    """Write the report as HTML to ``path`` and as Markdown beside it; returns the path.

    With ``explore`` it compares scores of agents that explored as in training. Raises UsageError
    for what ``records.read`` refuses.
    """
    records, remarks = read(folders, explore=explore)
    comparisons = compare(records, baseline)
    worlds = list(dict.fromkeys(name for found in comparisons for name in found.world_names))
    title = f"{', '.join(worlds[:4])}{' and others' if len(worlds) > 4 else ''}: what came of it"
    blocks = document(comparisons, remarks)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_html(title, blocks))
    write_markdown(path.with_suffix(".md"), title, blocks)
    return path


def document(comparisons: list[Comparison], remarks: list[str]) -> list[Block]:
    """The report's blocks: all comparisons, then what belongs to all runs."""
    blocks: list[Block] = [Paragraph(sentence, warning=True) for sentence in remarks]
    if len(comparisons) > 1:
        said = "; ".join(found.title for found in comparisons)
        blocks.append(
            Paragraph(
                f"These runs differ in protocol or length and are kept apart: {said}. "
                "No number of one may be compared with a number of another.",
                warning=True,
            )
        )
    for place, found in enumerate(comparisons, 1):
        tail = f" ({place} of {len(comparisons)})" if len(comparisons) > 1 else ""
        blocks += _comparison(found, tail)
    return [*blocks, *_published(comparisons), *_provenance(comparisons)]


def _comparison(found: Comparison, tail: str) -> list[Block]:
    blocks: list[Block] = [Heading(f"Verdict{tail}"), Paragraph(f"{_capital(found.title)}.")]
    return [
        *blocks,
        *_verdicts(found),
        Heading(f"Learning curves{tail}"),
        *_curves(found),
        Heading(f"Scores{tail}"),
        *_aggregates(found),
        *_scores(found),
        *_other_protocols(found),
        *_media(found, tail),
        *_configs(found, tail),
    ]


def _curves(found: Comparison) -> list[Block]:
    if not any(record.episodes for record in found.records):
        return [Paragraph("No episode of training ended.")]
    return [
        Gallery([comparison_curves(found, world) for world in found.world_names]),
        Paragraph(
            f"Mean of the last {WINDOW} training episodes (fewer at first), exploration included, "
            "against agent steps: thin lines are seeds, the band is between the lowest and the "
            "highest, the thick line is their mean."
        ),
    ]


def _verdicts(found: Comparison) -> list[Block]:
    verdicts = found.verdicts()
    if len(found.labels) == 1:
        label = found.labels[found.baseline]
        return [Paragraph(f"All runs are of one variant, {label}: there is nothing to compare.")]
    if not verdicts:
        return [
            Paragraph("No two variants share a world and a seed, so none is judged.", warning=True)
        ]
    words = [x.word for x in verdicts]
    said = ", ".join(
        f"{words.count(word)} {meaning}"
        for word, meaning in (("helps", "help"), ("hurts", "hurt"), ("cannot tell", "cannot tell"))
        if word in words
    )
    caption = (
        f"Against {found.labels[found.baseline]}, by the final scores of n runs each, paired by "
        "world and seed. A variant helps or hurts where the t interval of the mean difference "
        "lies on one side of 0; otherwise these runs cannot tell. One seed never can. Intervals "
        "are not corrected for how many there are."
    )
    plural = "comparison" if len(words) == 1 else "comparisons"
    blocks: list[Block] = []
    if parts := found.part_verdicts():
        each = (
            "Each part against the baseline's choice of it, with runs paired by world, seed and "
            "the choices of all other parts."
        )
        blocks.append(_verdict_table("part", parts, each))
    blocks.append(_verdict_table("variant", verdicts, caption))
    return [Paragraph(f"Of {len(words)} {plural}, {said}."), *blocks]


def _verdict_table(what: str, verdicts: list[Verdict], caption: str) -> Table:
    header = [what, "world", "verdict", f"difference ({CONFIDENCE:.0%} interval)", "unit", "n"]
    rows = [
        [
            x.variant,
            x.world,
            Chip(x.word),
            interval(x.difference, x.unit),
            x.unit,
            str(x.pairs),
            interval(x.improvement) if x.pairs > 1 else number(x.improvement.estimate),
        ]
        for x in verdicts
    ]
    return Table([*header, "probability of improvement"], rows, caption)


def _aggregates(found: Comparison) -> list[Block]:
    if not found.human:
        return []
    rows = []
    for variant, label in found.labels.items():
        strata = list(normalised(found.scores(variant)).values())
        cells = [interval(bootstrap(statistic, strata)) for statistic in AGGREGATES.values()]
        runs = sum(map(len, strata))
        rows.append([label, *cells, f"{_count(len(strata), 'world')}, {_count(runs, 'run')}"])
    caption = (
        f"Human-normalised by the table of {HUMAN_RANDOM_TABLE}: 0 is random play, 1 a human. "
        f"{CONFIDENCE:.0%} intervals from a bootstrap over runs within each world "
        "(Agarwal et al. 2021); with fewer than five seeds they are too narrow."
    )
    return [Table(["variant", *AGGREGATES, "from"], rows, caption)]


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _scores(found: Comparison) -> list[Block]:
    header = ["world", "variant", "protocol", "agent steps (frames)"]
    header += ["final score of each seed", "mean ± s.e.", *["human-normalised"] * found.human]
    header += [f"last {WINDOW} of training", f"best {WINDOW} of training"]
    rows, episodes = [], set()
    for world in found.world_names:
        for variant, label in found.labels.items():
            runs = found.of(variant, world)
            if not runs:
                continue
            episodes |= {len(run.scores["scores"]) for run in runs}
            scores = [run.score for run in runs]
            best = max((run.best_of_training for run in runs), key=lambda x: (x[1] > 0, x))
            share = human_normalised(world, float(np.mean(scores)))
            rows.append(
                [
                    world,
                    label,
                    f"{conditions(runs[0].scores)}, epsilon {found.epsilon:g}",
                    f"{found.steps:,} ({found.frames:,})",
                    ", ".join(map(number, scores)),
                    number(float(np.mean(scores))) + error(scores),
                    *([] if share is None or not found.human else [f"{share:.3f}"]),
                    number(float(np.mean([run.last_of_training for run in runs]))),
                    f"{number(best[0])} at step {best[1]:,}" if best[1] else "",
                ]
            )
    caption = (
        f"Raw points. A final score is the mean of {' or '.join(map(str, sorted(episodes)))} whole "
        "episodes played by the final checkpoint on streams of its own; ± is the standard error "
        f"over seeds. What training showed stands apart: the mean of its last {WINDOW} episodes, "
        f"and the luckiest {WINDOW} in a row of any seed, which is biased upwards and decides "
        "nothing here."
    )
    return [Table(header, rows, caption)]


def _other_protocols(found: Comparison) -> list[Block]:
    labels = list(dict.fromkeys(conditions(o) for r in found.records for o in r.others))
    if not labels:
        return []
    rows = []
    for world in found.world_names:
        for variant, label in found.labels.items():
            runs = found.of(variant, world)
            columns = [[run.score for run in runs]]
            columns += [
                [float(x["mean"]) for run in runs for x in run.others if conditions(x) == name]
                for name in labels
            ]
            cells = [number(float(np.mean(x))) + error(x) if x else "" for x in columns]
            if runs:
                rows.append([world, label, *cells])
    caption = "The same final checkpoints under each protocol: mean over seeds ± standard error."
    return [Table(["world", "variant", found.protocol, *labels], rows, caption)]


def _published(comparisons: list[Comparison]) -> list[Block]:
    rows = [
        [x.game, x.method, number(x.score), x.frames, x.protocol, x.source]
        for x in published({name for found in comparisons for name in found.world_names})
    ]
    if not rows:
        return []
    header = ["game", "method", "score", "frames", "protocol", "source"]
    caption = "Their protocols, lengths and evaluations differ from these runs' and one another's."
    return [Heading("Published scores"), Table(header, rows, caption)]


def _media(found: Comparison, tail: str) -> list[Block]:
    names = _names(found)
    shown: list[Media] = []
    named: list[str] = []
    for variant, label in found.labels.items():
        for world in found.world_names:
            for run in found.of(variant, world)[:1]:
                about = f"{world}, {label}, seed {run.seed}"
                where = names[run.folder].replace("/", "-")
                for path in _media_of(run):
                    what = f"{path.stem.replace('_', ' ').replace('-', ' ')}: {about}"
                    if path.stat().st_size <= MOST_VIDEO:
                        shown.append(Media(f"{where}-{path.name}", path.read_bytes(), what))
                    else:
                        named.append(f"{what} is in {path}")
    if not (shown or named):
        return []
    blocks: list[Block] = [Heading(f"Videos and figures{tail}")]
    blocks += [Gallery(shown)] if shown else []
    return blocks + [Paragraph(f"{_capital(text)}.") for text in named]


def _media_of(run: Record) -> list[Path]:
    """The newest video, and the figures of the run's components."""
    videos = sorted(run.folder.glob("videos/*.mp4"), key=lambda path: path.stat().st_mtime)
    figures = sorted(run.folder.glob("figures/*.png"))
    return videos[-1:] + [path for path in figures if path.stem != "learning_curve"]


def _configs(found: Comparison, tail: str) -> list[Block]:
    flats = [flatten(found.of(variant)[0].choices) for variant in found.labels]
    paths = [path for path in dict.fromkeys(p for flat in flats for p in flat) if path]
    rows = [
        [path, *(str(flat.get(path, "")) for flat in flats)]
        for path in paths
        if len({str(flat.get(path)) for flat in flats}) > 1
    ]
    blocks: list[Block] = [Heading(f"Configs{tail}")]
    if rows:
        caption = (
            "Settings that differ between variants; an empty cell is a part that is not there."
        )
        blocks.append(Table(["setting", *found.labels.values()], rows, caption))
    names = _names(found)
    configs = {names[run.folder]: run.config for run in found.records}
    data = json.dumps(configs, indent=1).encode()
    name = f"configs{tail.replace(' ', '-').strip('()-')}.json".replace("(", "")
    return [*blocks, Download(name, data, "All configs (JSON)")]


def _names(found: Comparison) -> dict[Path, str]:
    """Each run's folder, from where those of one name part."""
    folders = [run.folder for run in found.records]
    if len({folder.name for folder in folders}) == len(folders):
        return {folder: folder.name for folder in folders}
    above = os.path.commonpath(folders)
    return {folder: str(folder.relative_to(above)) for folder in folders}


def _provenance(comparisons: list[Comparison]) -> list[Block]:
    kinds: dict[tuple[str, ...], list[str]] = {}
    for found in comparisons:
        for run in found.records:
            key = tuple(str(run.provenance.get(name, "unknown")) for name in SETTINGS)
            kinds.setdefault(key, []).append(run.folder.name)
    rows = [[key[0][:12], *key[1:], f"{len(names)}: {_few(names)}"] for key, names in kinds.items()]
    blocks: list[Block] = [
        Heading("Raw data and provenance"),
        Download("scores.csv", raw_csv(comparisons).encode(), "Raw scores of every episode (CSV)"),
        Table([*SETTINGS, "runs"], rows),
    ]
    if len(kinds) > 1:
        blocks.append(
            Paragraph("These runs were not all made by the same code on the same kind of machine.")
        )
    if any(key[1] == "True" for key in kinds):
        blocks.append(
            Paragraph("Runs marked as modified were made by code that no commit holds.", True)
        )
    return blocks


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (" and others" if len(names) > 4 else "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
