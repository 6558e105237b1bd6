"""The tables of the documents, generated from the committed results."""

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...envs.atari.games import HUMAN_RANDOM_TABLE, human_normalized
from ...envs.errors import UsageError
from ..reporting.committed import RESULTS
from ..reporting.comparison import compare_with_baseline
from ..reporting.intervals import format_interval, format_number, format_standard_error
from ..reporting.published import published
from ..runs.scores import conditions

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "docs/results.md", "docs/speed.md")
LIBRARIES = ("Stable-Baselines3", "EnvPool")
MARK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def verify(*, write: bool = False) -> int:
    """Rebuild the tables of the documents and compare them; return 1 if one differs.

    With ``write`` the documents are updated instead.
    """
    num_tables, differing = 0, []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text()
        rebuilt = MARK.sub(lambda m: f"{m[1]}{table(m[2])}{m[3]}", text)
        num_tables += len(MARK.findall(text))
        if write:
            (ROOT / name).write_text(rebuilt)
        elif rebuilt != text:
            differing.append(name)
    if differing:
        print(
            f"{' and '.join(differing)}: the tables differ from experiments/results/; "
            "update them with `reverie verify --write`."
        )
        return 1
    print(f"{num_tables} tables of {', '.join(DOCUMENTS)} agree with experiments/results/.")
    return 0


def table(name: str) -> str:
    """Return the Markdown of a table; raises UsageError for an unknown name."""
    if name not in TABLES:
        raise UsageError(
            f"There is no table '{name}', which a document contains; "
            f"the tables are {', '.join(TABLES)}."
        )
    return TABLES[name]()


def scores_table() -> str:
    """Return a row per recipe: the final score of every seed beside random play.

    Agents trained in imagination are scored in the game itself.
    """
    lines = [
        "| game | agent | protocol | agent steps (frames) | score of each seed "
        "| mean over seeds | human-normalized | random play | command |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    episodes = set()
    for path in sorted([*RESULTS.glob("*.json"), *RESULTS.glob("dreams/*.json")]):
        data, imagined = json.loads(path.read_text()), path.parent.name == "dreams"
        means = [run["evaluation"]["mean"] for run in data["runs"]]
        episodes |= {run["evaluation"]["episodes"] for run in data["runs"]}
        mean = statistics.fmean(means)
        normalized = human_normalized(data["env_name"], mean)
        frames = "imagined" if imagined else _count(data["frames"])
        cells = [
            data["env_name"],
            _preset(data) + ", in imagination only" * imagined,
            conditions(data["runs"][0]["evaluation"]),
            f"{_count(data['steps'])} ({frames})",
            ", ".join(map(format_number, means)),
            format_number(mean) + format_standard_error(means),
            "" if normalized is None else f"{normalized:.3f}",
            format_number(data["random"]["mean"]),
            f"`{data['command']}`",
        ]
        counts_by_name = {
            name: [run["train"].get(name) for run in data["runs"]]
            for name in ("rooms", "keys", "states")
        }
        visits = [
            f"{name} {', '.join(f'{n:,.0f}' for n in counts)}"
            for name, counts in counts_by_name.items()
            if None not in counts
        ]
        if visits:
            cells[4] += f" (in training, {' and '.join(visits)})"
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Raw game points. A seed's score is the mean of {' or '.join(map(str, sorted(episodes)))} "
        "whole episodes that the final checkpoint plays in separate envs, without exploration or "
        '("as in training") sampling from its policy; ± is the standard error over seeds; '
        f"human-normalized by the table of {HUMAN_RANDOM_TABLE}.",
    ]
    return "\n".join(lines) + "\n"


def predictors_table() -> str:
    """Return errors on moving pixels by horizon, and of the player's position, by game."""
    lines: list[str] = []
    for path in sorted((RESULTS / "predictors").glob("*.json")):
        data = json.loads(path.read_text())
        rows = data["errors"]["moving"]
        horizons, sensitivity = list(rows["copy-last"]), data["action_sensitivity"]
        if not lines:
            titles = [f"{h} step{'s' * (h != '1')}" for h in horizons]
            titles.append(f"player's position after {sensitivity['timesteps']} equal actions")
            lines = [f"| game | model | {' | '.join(titles)} |"]
            lines.append("|---" * (len(titles) + 2) + "|")
        for name, row in rows.items():
            cells = [f"{row[h]:,.0f}" if h in row else "" for h in horizons]
            error = sensitivity[name]
            lost = [f"{error['lost']:.0%} lost"] if error["lost"] else []
            mean = [f"{error['mean']:.1f} pixels off"] if error["lost"] < 1 else []
            cells.append(", ".join(mean + lost))
            model = name.removeprefix(f"{data['env_name']}-")
            lines.append(f"| {data['env_name']} | {model} | {' | '.join(cells)} |")
    return "\n".join(lines or ["There are no results yet."]) + "\n"


def representations_table() -> str:
    """Return held-out bounds in nats per frame, and the linear probe of keys, by game."""
    lines = [
        "| game | model | updates | ELBO | IWAE, 64 codes | gap | active units "
        "| player's position from keys, R² of x and y | command |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted((RESULTS / "representations").glob("*.json")):
        data = json.loads(path.read_text())
        held_out, probes = data["held_out"], data.get("probe", {})
        for name in {**held_out, **probes}:
            bounds, probe = held_out.get(name), probes.get(name)
            numbers = [""] * 4
            if bounds:
                numbers = [f"{bounds[key]:,.0f}" for key in ("elbo", "iwae", "gap")]
                numbers.append(f"{bounds['active_units']} of {bounds['latents']}")
            position = f"{probe['x']:.2f}, {probe['y']:.2f}" if probe else ""
            updates = f"{data['num_updates']:,}" if name == "vae" else ""
            command = f"`{data['command']}` at {data['provenance']['commit'][:7]}"
            cells = [data["env_name"], name, updates, *numbers, position, command]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def mazes_table() -> str:
    """Return a row per planner: returns in held-out mazes, and where it replans."""
    lines = [
        "| agent | agent steps | share of the shortest path's return, held-out mazes "
        "| larger mazes | timesteps a plan is followed "
        "| plans made at junctions (by chance), p | command |",
        "|---|---|---|---|---|---|---|",
    ]
    for path in sorted((RESULTS / "mazes").glob("*.json")):
        data = json.loads(path.read_text())
        mazes = data["runs"][0]["mazes"]
        held_out, larger = mazes["held_out"], mazes["larger"]
        length, junctions = held_out["mean_plan_length"], held_out["junctions"]
        plans = (
            f"{junctions['share_of_plans']:.1%} ({junctions['share_by_chance']:.1%}), "
            f"{junctions['p']:.1g}"
        )
        cells = [
            data["name"].removeprefix("maze-"),
            _count(data["steps"]),
            f"{held_out['share_of_best_return']:.1%}",
            f"{larger['share_of_best_return']:.1%}",
            f"{length:.1f}" if length else "",
            plans if length else "",
            f"`{data['command']}`",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def ablations_table() -> str:
    """Return the verdicts of each committed grid, computed from its raw scores."""
    lines = [
        "| grid | variant | env | verdict | difference (95% interval) | n |",
        "|---|---|---|---|---|---|",
    ]
    commands = []
    for path in sorted((RESULTS / "ablations").glob("*.json")):
        data = json.loads(path.read_text())
        scores: dict[str, dict[tuple[str, int], float]] = {x: {} for x in data["variants"]}
        for run in data["runs"]:
            mean = statistics.fmean(run["scores"])
            scores[run["variant"]][run["env_name"], run["seed"]] = mean
        lines += [
            f"| {data['name']}, {_count(data['steps'])} agent steps | {verdict.variant} "
            f"| {verdict.env_name} | {verdict.label} "
            f"| {format_interval(verdict.difference, verdict.unit)} {verdict.unit} "
            f"| {verdict.pairs} |"
            for verdict in compare_with_baseline(scores)
        ]
        commands += ["", f"{data['name']}: `{data['command']}`"]
    lines += [
        "",
        "Against each grid's first variant, by final scores paired by env and seed: a variant "
        "helps or hurts if the t interval of the mean difference is on one side of 0.",
        *commands,
    ]
    return "\n".join(lines) + "\n"


def published_table() -> str:
    """Return published scores in the games of which there are results of episodic control."""
    results = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    games = {data["env_name"] for data in results if _preset(data).startswith("mfec")}
    rows = [
        f"| {x.game} | {x.method} | {x.score:,.1f} | {x.frames} | {x.protocol} | {x.source} |"
        for x in published(games)
    ]
    head = ["| game | method | score | frames | protocol | source |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def races_table() -> str:
    """Return the newest comparison of our training with each other library's."""
    lines = [
        "| ours | agent steps/s | other library | agent steps/s | ratio, rounds in turns |",
        "|---|---|---|---|---|",
    ]
    newest: dict[tuple[str, str], str] = {}
    for path in sorted((RESULTS / "bench").glob("*.json")):
        for session in json.loads(path.read_text()):
            for row in session["rows"]:
                for other, ratio in row.get("ratios", {}).items():
                    if not other.startswith(LIBRARIES) or not row["name"].startswith("training"):
                        continue
                    other_row = next(x for x in session["rows"] if x["name"].startswith(other))
                    cells = (
                        row["name"],
                        f"{row['steps_per_second']:,.0f}",
                        other,
                        f"{other_row['steps_per_second']:,.0f}",
                        f"{ratio:.2f}",
                    )
                    newest[row["name"], other] = f"| {' | '.join(cells)} |"
    return "\n".join([*lines, *newest.values()]) + "\n"


def bench_table() -> str:
    """Return the newest measurement of each row, by machine."""
    lines = ["| measurement | value | machine | command |", "|---|---|---|---|"]
    for path in sorted((RESULTS / "bench").glob("*.json")):
        sessions: list[dict[str, Any]] = json.loads(path.read_text())
        newest = {
            row["name"]: f"| {row['name']} | {row['shown']} | {session['machine']} "
            f"| `{session['provenance']['command']}` |"
            for session in sessions
            for row in session["rows"]
        }
        lines += newest.values()
    return "\n".join(lines) + "\n"


def _preset(data: dict[str, Any]) -> str:
    """Return the preset of a result's training command, ``reverie train PRESET ...``."""
    return str(data["train"].split()[2])


def _count(number: int) -> str:
    return f"{number / 1e6:g}M" if number >= 1_000_000 else f"{number / 1e3:g}k"


TABLES: dict[str, Callable[[], str]] = {
    "scores": scores_table,
    "ablations": ablations_table,
    "published": published_table,
    "races": races_table,
    "bench": bench_table,
    "predictors": predictors_table,
    "representations": representations_table,
    "mazes": mazes_table,
}
