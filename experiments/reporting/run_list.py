"""The runs below a folder: what each is, how far it is, what it scored, how much space it takes.

A folder is a run if it has a ``config.json``. Nothing is decoded, so runs of parts that are not
imported are listed too, and a damaged one is listed as such.
"""

import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...envs.errors import FolderBusy, UsageError
from ..config.roles import part_name
from ..config.serialization import with_defaults
from ..runs.config_differences import flatten
from ..runs.files import remove_partial_files
from ..runs.folder_lock import is_locked, locked
from ..runs.jsonl import is_number
from ..runs.progress_text import duration
from ..runs.run import EVENT_NAME, PARTS, UNREADABLE, Run, find_runs
from ..runs.scores import Scores, find_scores, scores_file
from ..text.formatting import format_number, with_error

State = Literal["finished", "interrupted", "running", "damaged"]

CUT_OFF = "!"
"""Mark of a score with episodes that ``--max-steps`` cut off."""


@dataclass(frozen=True)
class RunSummary:
    """One run folder."""

    folder: Path
    state: State
    settings: dict[str, Any]
    """Its config's settings, and the names of its parts, by dotted path; empty if damaged."""
    step: int
    """Agent steps, or updates, of the newest checkpoint."""
    length: int
    """Agent steps, or updates, that are planned."""
    scores: Scores | None
    """The scores of its evaluation; None without one."""
    training_score: float | None
    """The mean score of the last training episodes; None without any."""
    size: int
    """Bytes on disk."""
    changed: float
    """Seconds since the epoch at which a file of it was last written."""

    @property
    def score(self) -> float | None:
        """The mean score of the evaluation, or else of the last training episodes."""
        return self.scores.mean if self.scores else self.training_score

    def matches(self, conditions: Iterable[tuple[str, str]]) -> bool:
        """Return whether the settings have these values, as texts.

        A condition names a setting by the end of its dotted path, as in ``n_step``.
        """
        return all(
            any(str(x) == value for path, x in self.settings.items() if name in ends(path))
            for name, value in conditions
        )

    def to_json(self) -> dict[str, Any]:
        """Return the run as JSON values."""
        scores = self.scores
        return {
            "folder": str(self.folder),
            "state": self.state,
            "step": self.step,
            "length": self.length,
            "mean": scores.mean if scores else None,
            "standard_error": scores.standard_error if scores else None,
            "episodes": scores.episodes if scores else None,
            "cut_off": scores.num_capped if scores else None,
            "training_score": self.training_score,
            "bytes": self.size,
            "changed": self.changed,
        }


def ends(path: str) -> list[str]:
    """Return the ends of a dotted path, by which a condition names a setting."""
    names = path.split(".")
    return [".".join(names[i:]) for i in range(len(names))]


def summarize_runs(folder: Path) -> list[RunSummary]:
    """Return the runs in or below a folder, by name; raises UsageError if there is none."""
    return [_summarize(path) for path in find_runs(folder)]


def table_rows(runs: Iterable[RunSummary], root: Path) -> list[tuple[str, ...]]:
    """Return a header, and a row for each run with its folder's path below ``root``."""
    rows: list[tuple[str, ...]] = [("run", "state", "steps", "score", "MB", "age")]
    for run in runs:
        done = f"{100 * min(1.0, run.step / run.length):.0f}%"
        score = "" if run.training_score is None else f"{format_number(run.training_score)}*"
        if run.scores:
            score = with_error(run.scores.mean, run.scores.standard_error)
            score += CUT_OFF * (run.scores.num_capped > 0)
        rows.append(
            (
                str(run.folder.relative_to(root)) if run.folder != root else str(root),
                run.state if run.state in ("finished", "damaged") else f"{run.state} {done}",
                f"{run.length:,}",
                score,
                f"{run.size / 1e6:,.1f}",
                duration(max(0.0, time.time() - run.changed)),
            )
        )
    return rows


OWN = re.compile(
    r"(config|provenance|tracking|evaluation|held_out)\.json|scores(-.+)?\.json|finished|lock|log\.txt"
    rf"|(metrics|episodes|evaluations)\.jsonl|{EVENT_NAME.pattern}|.+{re.escape(UNREADABLE)}(-\d+)?"
    rf"|{'|'.join(PARTS)}|wandb"
)
"""Names of the files and folders that a run writes into its folder."""


def delete_run(run: RunSummary) -> list[str]:
    """Delete what a run has written, and its folder if nothing else is in it.

    Returns the names of what else is there, which stays: other runs, recordings, files of the user.
    Raises UsageError if a process works in the folder, or a link leads to it.
    """
    if run.folder.is_symlink():
        raise UsageError(f"{run.folder} is a link, and only whole folders are deleted; remove it.")
    try:
        with locked(run.folder, "working"):
            remove_partial_files(run.folder)
            own = [path for path in run.folder.iterdir() if OWN.fullmatch(path.name)]
            # While the config is there, the same command deletes the rest.
            for path in sorted(own, key=lambda path: path.name in ("config.json", "lock")):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        left = sorted(path.name for path in run.folder.iterdir())
        if not left:
            with suppress(OSError):  # it is a mount, or the working folder
                run.folder.rmdir()
        return left
    except FolderBusy as error:
        raise UsageError(
            f"A process works in {run.folder}; stop it before its run is deleted."
        ) from error


def _summarize(folder: Path) -> RunSummary:
    run, files = Run(folder), [path for path in folder.rglob("*") if path.is_file()]
    stats = [path.stat() for path in files if not path.is_symlink()]
    state: State = "damaged"
    last_row: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    step, length = 0, 1
    try:
        config = with_defaults(run.config())
        settings = {path or "class": x for path, x in flatten(config, part_name).items()}
        length = max(1, int(config.get("total_timesteps", config.get("num_updates", 1))))
        step = max(run.checkpoints.steps(), default=0)
        last_row = run.last_line("metrics.jsonl")
        state = "finished" if (folder / "finished").exists() else "interrupted"
    except (UsageError, OSError, ValueError, TypeError, AttributeError):
        pass
    score = last_row.get("charts/mean_episodic_return")
    return RunSummary(
        folder=folder,
        state="running" if is_locked(folder) else state,
        settings=settings,
        step=step,
        length=length,
        scores=find_scores(folder / scores_file(stochastic=False)),
        training_score=score if is_number(score) else None,
        size=sum(x.st_size for x in stats),
        changed=max((x.st_mtime for x in stats), default=0.0),
    )
