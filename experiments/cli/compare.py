"""``reverie compare RUN RUN``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ...envs.errors import UsageError
from ..config.arguments import parse_flags
from ..reporting.two_runs import compare_runs
from ..text.terminal_text import paragraph, table


@dataclass(frozen=True)
class CompareOptions:
    """Say what differs between two runs: settings, code, scores and learning curves.

    Example: reverie compare runs/dqn-pong-s0 runs/dqn-pong-s0-n_step=3
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Two run folders."""


def run(argv: list[str]) -> int:
    """Print the differences of two runs."""
    folders = parse_flags(CompareOptions, argv, "reverie compare").folders
    if len(folders) != 2:
        raise UsageError(
            f"compare takes two runs, and got {len(folders)}; `reverie report` compares many."
        )
    tables = compare_runs((folders[0], folders[1]))
    for rows in tables:
        print(table(rows, indent=0), end="\n\n")
    if not tables:
        print("The runs have the same settings, and neither has scores or a finished episode.\n")
    note = "Two runs settle no question about an agent; `reverie ablate` repeats it over seeds."
    print(paragraph(note))
    return 0
