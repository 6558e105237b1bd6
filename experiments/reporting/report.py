"""``reverie report``: a comparison of runs as one self-contained page.

Verdicts come first, then learning curves, all scores with their protocols, published scores,
configs, videos and figures, and provenance.
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...envs.errors import UsageError
from ..runs.files import own_files, read_own, to_json, write_file
from ..runs.names import safe_name, unique_names
from ..runs.outputs import check_writable
from ..text.terminal_text import printable
from ..verdicts.verdict_rule import Delta, Score, VerdictRule, read_rule
from .comparison import Comparison, compare, raw_csv
from .document import Block, Heading, Media, Paragraph, Table, to_html, write_markdown
from .figures import comparison_curves, performance_profiles
from .report_tables import (
    aggregate_tables,
    other_protocol_tables,
    published_tables,
    score_table,
    subset_table,
)
from .run_results import WINDOW, RunResult, read_results, warn
from .verdict_tables import verdict_blocks

MAX_VIDEO_BYTES = 6_000_000
"""Larger videos and figures are named instead of embedded."""
VIDEO, FIGURE = re.compile(r".+\.mp4", re.DOTALL), re.compile(r".+\.png", re.DOTALL)
PROVENANCE_COLUMNS = (
    "commit", "modified", "device", "cpu", "threads", "precision", "torch", "ale-py",
)  # fmt: skip


def write_report(
    folders: list[Path],
    path: Path,
    baseline: str = "",
    *,
    stochastic: bool = False,
    flag: str = "--out",
    score: Score | None = None,
    delta: Delta | None = None,
) -> Path:
    """Write the report as HTML to ``path`` and as Markdown beside it; return the path.

    With ``stochastic`` it compares the scores of agents that acted as in training. ``score`` and
    ``delta`` replace those of the rule in the grid's folder, or of the default rule. Raises
    UsageError for folders that ``run_results.read_results`` refuses, and for a path that cannot be
    written, which ``flag`` chooses.
    """
    check_writable(path, path.with_suffix(".md"), remedy=f"name another with {flag}")
    results, warnings = read_results(folders, stochastic=stochastic)
    rule, deviation = _rule({x.folder.parent: None for x in results}, score, delta)
    comparisons = compare(results, baseline, rule)
    names = list(dict.fromkeys(name for each in comparisons for name in each.env_names))
    title = f"Comparison on {_first_four(names)}"
    blocks = document(comparisons, [*warnings, *deviation])
    page = to_html(title, blocks)
    try:
        write_file(path, page)
        write_markdown(path.with_suffix(".md"), title, blocks)
    except OSError as error:
        raise UsageError(
            f"The report cannot be written ({error}); choose another place with {flag}."
        ) from error
    return path


def _rule(
    grids: Iterable[Path], score: Score | None, delta: Delta | None
) -> tuple[VerdictRule, list[str]]:
    """Return the rule of all grids that hold runs, with changes, and warnings about them."""
    rules: set[VerdictRule | None] = set()
    unusable: list[str] = []
    for grid in grids:
        try:
            rules.add(read_rule(grid))
        except UsageError as error:
            unusable.append(warn(f"{printable(str(error))} The default rule is used."))
            rules.add(None)
    fixed = rules.pop() if len(rules) == 1 else None
    different = ["These runs are of grids with different rules; the default is used."]
    warnings = unusable + different * bool(rules)
    start = fixed or VerdictRule()
    rule = replace(start, score=score or start.score, delta=delta or start.delta)
    if fixed is not None and rule != fixed:
        warnings.append(
            f"Before its first run this grid fixed the rule: {fixed}. The verdicts below are by "
            "another rule, so that their false discoveries are not controlled."
        )
    return rule, warnings


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
    results = [result for comparison in comparisons for _, result in comparison.results]
    names = unique_names([result.folder for result in results])
    for number, comparison in enumerate(comparisons, 1):
        suffix = f" ({number} of {len(comparisons)})" if len(comparisons) > 1 else ""
        blocks += [
            Heading(f"Verdict{suffix}"),
            Paragraph(f"Under {comparison.title}."),
            *verdict_blocks(comparison),
            Heading(f"Learning curves{suffix}"),
            *_curves(comparison),
            Heading(f"Scores{suffix}"),
            *aggregate_tables(comparison),
            *_profiles(comparison),
            *subset_table(comparison),
            score_table(comparison),
            *other_protocol_tables(comparison),
            *_media(comparison, names, suffix),
            *_settings(comparison, suffix),
        ]
    configs = {names[result.folder]: result.config for result in results}
    return [
        *blocks,
        *published_tables(comparisons),
        Heading("Raw data and provenance"),
        Media("scores.csv", raw_csv(comparisons).encode(), "Raw scores of every episode (CSV)"),
        Media("configs.json", to_json(configs, indent=1).encode(), "All configs (JSON)"),
        *_provenance(results),
    ]


def _curves(comparison: Comparison) -> list[Block]:
    if not any(result.episodes.size for _, result in comparison.results):
        return [Paragraph("No training episode has ended.")]
    return [
        *(comparison_curves(comparison, name) for name in comparison.env_names),
        Paragraph(
            f"Mean of the last {WINDOW} training episodes (fewer at first), with exploration, "
            "against agent steps. Thin lines are seeds, the band is their range, the thick line is "
            "their mean."
        ),
    ]


def _profiles(comparison: Comparison) -> list[Block]:
    """Return performance profiles, if all scores are finite and human-normalized."""
    scores = [x for each in comparison.scores.values() for x in each.values()]
    drawn = comparison.has_human_scores and np.isfinite(scores).all()
    return [performance_profiles(comparison)] if drawn else []


def _media(comparison: Comparison, names: dict[Path, str], suffix: str) -> list[Block]:
    """Return the newest video and the other figures of the first run of each row."""
    blocks: list[Block] = []
    for env_name, label, (result, *_) in comparison.rows():
        videos = own_files(result.folder / "videos", VIDEO)
        videos.sort(key=lambda path: path.stat().st_mtime)
        figures = own_files(result.folder / "figures", FIGURE)
        for path in videos[-1:] + [x for x in figures if x.stem != "learning_curve"]:
            kind = path.stem.replace("_", " ").replace("-", " ")
            caption = f"{kind}: {env_name}, {label}, seed {result.seed}"
            try:
                data = read_own(path, MAX_VIDEO_BYTES)
            except OSError as error:
                blocks.append(Paragraph(f"Not embedded: {caption}, in {path} ({error.strerror})."))
            else:
                name = f"{names[result.folder].replace('/', '-')}-{path.name}"
                blocks.append(Media(safe_name(name), data, caption))
    return [Heading(f"Videos and figures{suffix}"), *blocks] if blocks else []


def _settings(comparison: Comparison, suffix: str) -> list[Block]:
    flats = [variant.settings for variant in comparison.variants]
    rows = [
        [path, *(str(flat.get(path, "")) for flat in flats)]
        for path in dict.fromkeys(itertools.chain(*flats))
        if len({str(flat.get(path)) for flat in flats}) > 1
    ]
    caption = (
        "Settings that differ between variants; an empty cell is a setting of a part that the "
        "variant does not have."
    )
    table = Table(["setting", *comparison.labels], rows, caption)
    return [Heading(f"Configs{suffix}"), table] if rows else []


def _provenance(results: list[RunResult]) -> list[Block]:
    groups: dict[tuple[str, ...], list[str]] = {}
    for result in results:
        key = tuple(str(result.provenance.get(name, "unknown")) for name in PROVENANCE_COLUMNS)
        groups.setdefault(key, []).append(result.folder.name)
    rows = [
        [commit[:12], *rest, f"{len(names)}: {_first_four(names)}"]
        for (commit, *rest), names in groups.items()
    ]
    blocks: list[Block] = [Table([*PROVENANCE_COLUMNS, "runs"], rows)]
    if len(groups) > 1:
        blocks.append(Paragraph("The runs differ in the code or the machine they were made with."))
    if any(modified == "True" for _, modified, *_ in groups):
        blocks.append(
            Paragraph("Runs marked as modified were made with uncommitted changes.", warning=True)
        )
    return blocks


def _first_four(names: list[str]) -> str:
    return ", ".join(names[:4]) + (" and others" if len(names) > 4 else "")
