"""``reverie report``: a comparison of runs as one self-contained page.

Verdicts come first, then learning curves, all scores with their protocols, published scores,
configs, videos and figures, and provenance.
"""

import json
import os
from pathlib import Path

from .comparison import Comparison, compare, raw_csv
from .document import (
    Block,
    Download,
    Gallery,
    Heading,
    Media,
    Paragraph,
    Table,
    to_html,
    write_markdown,
)
from .figures import comparison_curves
from .report_tables import (
    aggregate_tables,
    other_protocol_tables,
    published_tables,
    score_table,
    verdict_blocks,
)
from .run_results import WINDOW, RunResult, read_results
from .variants import flatten

MAX_VIDEO_BYTES = 6_000_000
"""Larger videos are named instead of embedded."""
PROVENANCE_COLUMNS = (
    "commit", "modified", "device", "cpu", "threads", "precision", "torch", "ale-py",
)  # fmt: skip


def write_report(
    folders: list[Path], path: Path, baseline: str = "", *, stochastic: bool = False
) -> Path:
    """Write the report as HTML to ``path`` and as Markdown beside it; return the path.

    With ``stochastic`` it compares the scores of agents that acted as in training. Raises
    UsageError for folders that ``run_results.read_results`` refuses.
    """
    results, warnings = read_results(folders, stochastic=stochastic)
    comparisons = compare(results, baseline)
    names = list(dict.fromkeys(name for each in comparisons for name in each.env_names))
    title = f"Comparison on {', '.join(names[:4])}{' and others' if len(names) > 4 else ''}"
    blocks = document(comparisons, warnings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_html(title, blocks))
    write_markdown(path.with_suffix(".md"), title, blocks)
    return path


def document(comparisons: list[Comparison], warnings: list[str]) -> list[Block]:
    """Return the blocks of the report: each comparison, then the sections about all runs."""
    blocks: list[Block] = [Paragraph(sentence, warning=True) for sentence in warnings]
    if len(comparisons) > 1:
        titles = "; ".join(comparison.title for comparison in comparisons)
        blocks.append(
            Paragraph(
                f"These runs differ in protocol or length and are compared separately: {titles}. "
                "Scores of different comparisons are not comparable.",
                warning=True,
            )
        )
    for number, comparison in enumerate(comparisons, 1):
        suffix = f" ({number} of {len(comparisons)})" if len(comparisons) > 1 else ""
        blocks += _comparison(comparison, suffix)
    return [*blocks, *published_tables(comparisons), *_provenance(comparisons)]


def _comparison(comparison: Comparison, suffix: str) -> list[Block]:
    title = comparison.title
    return [
        Heading(f"Verdict{suffix}"),
        Paragraph(f"{_capitalized(title)}."),
        *verdict_blocks(comparison),
        Heading(f"Learning curves{suffix}"),
        *_curves(comparison),
        Heading(f"Scores{suffix}"),
        *aggregate_tables(comparison),
        score_table(comparison),
        *other_protocol_tables(comparison),
        *_media(comparison, suffix),
        *_configs(comparison, suffix),
    ]


def _curves(comparison: Comparison) -> list[Block]:
    if not any(result.episodes for result in comparison.results):
        return [Paragraph("No training episode has ended.")]
    return [
        Gallery([comparison_curves(comparison, name) for name in comparison.env_names]),
        Paragraph(
            f"Mean of the last {WINDOW} training episodes (fewer at first), with exploration, "
            "against agent steps. Thin lines are seeds, the band is their range, the thick line is "
            "their mean."
        ),
    ]


def _media(comparison: Comparison, suffix: str) -> list[Block]:
    names = _folder_names(comparison)
    media: list[Media] = []
    omitted: list[str] = []
    for variant, label in comparison.labels.items():
        for env_name in comparison.env_names:
            for result in comparison.results_of(variant, env_name)[:1]:
                run_label = f"{env_name}, {label}, seed {result.seed}"
                prefix = names[result.folder].replace("/", "-")
                for path in _media_files(result):
                    kind = path.stem.replace("_", " ").replace("-", " ")
                    caption = f"{kind}: {run_label}"
                    if path.stat().st_size <= MAX_VIDEO_BYTES:
                        media.append(Media(f"{prefix}-{path.name}", path.read_bytes(), caption))
                    else:
                        omitted.append(f"{caption} is in {path}")
    if not (media or omitted):
        return []
    blocks: list[Block] = [Heading(f"Videos and figures{suffix}")]
    blocks += [Gallery(media)] if media else []
    return blocks + [Paragraph(f"{_capitalized(text)}.") for text in omitted]


def _media_files(result: RunResult) -> list[Path]:
    """Return the newest video, and the figures of the run's components."""
    videos = sorted(result.folder.glob("videos/*.mp4"), key=lambda path: path.stat().st_mtime)
    figures = sorted(result.folder.glob("figures/*.png"))
    return videos[-1:] + [path for path in figures if path.stem != "learning_curve"]


def _configs(comparison: Comparison, suffix: str) -> list[Block]:
    flats = [
        flatten(comparison.results_of(variant)[0].variant_config) for variant in comparison.labels
    ]
    paths = [path for path in dict.fromkeys(p for flat in flats for p in flat) if path]
    rows = [
        [path, *(str(flat.get(path, "")) for flat in flats)]
        for path in paths
        if len({str(flat.get(path)) for flat in flats}) > 1
    ]
    blocks: list[Block] = [Heading(f"Configs{suffix}")]
    if rows:
        caption = (
            "Settings that differ between variants; an empty cell is a setting of a part that the "
            "variant does not have."
        )
        blocks.append(Table(["setting", *comparison.labels.values()], rows, caption))
    names = _folder_names(comparison)
    configs = {names[result.folder]: result.config for result in comparison.results}
    data = json.dumps(configs, indent=1).encode()
    name = f"configs{suffix.replace(' ', '-').strip('()-')}.json".replace("(", "")
    return [*blocks, Download(name, data, "All configs (JSON)")]


def _folder_names(comparison: Comparison) -> dict[Path, str]:
    """Return a unique name for each run folder: its name, or its path below their common parent."""
    folders = [result.folder for result in comparison.results]
    if len({folder.name for folder in folders}) == len(folders):
        return {folder: folder.name for folder in folders}
    parent = os.path.commonpath(folders)
    return {folder: str(folder.relative_to(parent)) for folder in folders}


def _provenance(comparisons: list[Comparison]) -> list[Block]:
    groups: dict[tuple[str, ...], list[str]] = {}
    for comparison in comparisons:
        for result in comparison.results:
            key = tuple(str(result.provenance.get(name, "unknown")) for name in PROVENANCE_COLUMNS)
            groups.setdefault(key, []).append(result.folder.name)
    rows = [
        [key[0][:12], *key[1:], f"{len(names)}: {_first_names(names)}"]
        for key, names in groups.items()
    ]
    blocks: list[Block] = [
        Heading("Raw data and provenance"),
        Download("scores.csv", raw_csv(comparisons).encode(), "Raw scores of every episode (CSV)"),
        Table([*PROVENANCE_COLUMNS, "runs"], rows),
    ]
    if len(groups) > 1:
        blocks.append(Paragraph("The runs differ in the code or the machine they were made with."))
    if any(key[1] == "True" for key in groups):
        blocks.append(
            Paragraph("Runs marked as modified were made with uncommitted changes.", warning=True)
        )
    return blocks


def _first_names(names: list[str]) -> str:
    return ", ".join(names[:4]) + (" and others" if len(names) > 4 else "")


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
