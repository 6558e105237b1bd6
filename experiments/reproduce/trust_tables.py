"""Tables of what the software keeps its promises under, generated from the committed results."""

from collections.abc import Sequence

from ..reporting.committed import committed, committed_results
from .markdown import markdown_table


def endurance_table() -> str:
    """Return the growth of memory and the slowdown of long runs, and the number of kills."""
    (soak,), (storm,) = committed_results("soak"), committed_results("kill-storm")
    rows = [
        [
            name,
            f"{run['minutes']:.0f}",
            f"{run['megabytes_per_minute']:+.2f} MB",
            f"{run['slowdown']:+.1%}",
            " to ".join(map(str, run["open_files"])),
        ]
        for name, run in soak["runs"].items()
    ]
    minute = next(iter(soak["runs"].values()))["from_minute"]
    return markdown_table(
        "agent | minutes of training | growth of memory per minute | slowdown | open files",
        rows,
        f"From minute {minute:g} on; the growth is a fit by least squares, the slowdown compares "
        f"the halves (`{soak['command']}`).",
        f"A run that was killed {storm['kills']} times at random moments, also while it wrote "
        f"checkpoints, ended bit for bit as an uninterrupted one (`{storm['command']}`).",
    )


def durability_table() -> str:
    """Return how many failures, losses of power and kills the commands were tried with."""
    trials = [data for data in committed("trials/*.json") if data["kind"] == "durability"]
    kinds = ("power-loss", "single-faults", "kills", "problems")
    counts = {name: count for data in trials for name, count in data["scenarios"].items()}
    presets = {name: count for name, count in counts.items() if "/" in name}
    rows = [
        [name, *(f"{count.get(kind, 0):,}" for kind in ("operations", "sites", *kinds))]
        for name, count in counts.items()
        if name not in presets
    ]
    pipelines = {name.partition("/")[2] for name in presets}
    names = {name.partition("/")[0] for name in presets}
    about = f"train, {len(names)} presets, pipeline {' and '.join(sorted(pipelines))}"
    rows.append([about, *_totals(presets, ("operations",)), "", *_totals(presets, kinds)])
    rows.append(["all", "", "", *_totals(counts, kinds)])
    commands = ", ".join(f"`{data['command'].partition(' --out')[0]}`" for data in trials)
    return markdown_table(
        "command | operations on files | their places in the code | losses of power "
        "| failing operations | kills | broken promises",
        rows,
        "A failing operation ends with an error (EIO, ENOSPC, EACCES, EMFILE, ENOMEM) once or from "
        "then on, or is a short write. After a loss of power, any part of what was not synced is "
        "on the disk. The promises: no traceback, no complete checkpoint lost, and the same "
        f"command, repeated, ends as if nothing had failed ({commands}).",
    )


def _totals(counts: dict[str, dict[str, int]], kinds: Sequence[str]) -> list[str]:
    return [f"{sum(count.get(kind, 0) for count in counts.values()):,}" for kind in kinds]


def hostile_folders_table() -> str:
    """Return how many mutated folders each command was tried with."""
    (data,) = committed("trials/hostile-folders.json")
    rows = [
        [name, str(part["commands"]), f"{part['cases']:,}", f"{part['problems']:,}"]
        for name, part in data["parts"].items()
    ]
    rows.append(["all", *_totals(data["parts"], ("commands", "cases", "problems"))])
    return markdown_table(
        "folder | commands that read it | cases | broken promises",
        rows,
        "A case mutates one or two files of a whole folder, or puts links, pipes or others' files "
        "into it, and runs a command. The promises: no uncaught exception, nothing read, written "
        "or embedded from outside, 10 s of processor time, twice the size of the files and 1 GB of "
        f"memory (`{data['command']}`).",
    )
