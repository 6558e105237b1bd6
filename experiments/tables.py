"""Tables of the documents, generated from the committed results: no number is typed by hand."""

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from envs.errors import UsageError
from envs.games import HUMAN_RANDOM_TABLE, human_normalised
from experiments.evaluation import conditions
from experiments.findings import judge
from experiments.numbers import error, interval, number
from experiments.published import published
from experiments.reproduce import RESULTS

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "docs/speed.md")
LIBRARIES = ("Stable-Baselines3", "EnvPool")
MARK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def verify(*, write: bool = False) -> int:
    """Rebuild every table of the documents; 1 where one differs from what stands there."""
    tables, differing = 0, []
    for name in DOCUMENTS:
        text = (ROOT / name).read_text()
        built = MARK.sub(lambda m: f"{m[1]}{table(m[2])}{m[3]}", text)
        tables += len(MARK.findall(text))
        if write:
            (ROOT / name).write_text(built)
        elif built != text:
            differing.append(name)
    if differing:
        print(
            f"{' and '.join(differing)}: the results give other tables; run "
            "`reverie verify --write`."
        )
        return 1
    print(f"{tables} tables of {' and '.join(DOCUMENTS)} agree with experiments/results/.")
    return 0


def table(name: str) -> str:
    """The Markdown of one table by its name in the documents."""
    if name not in TABLES:
        raise UsageError(f"A document asks for a table '{name}'; there are {', '.join(TABLES)}.")
    return TABLES[name]()


def scores_table() -> str:
    """One row a recipe: final scores of every seed beside random play, under one protocol.

    What was trained in dreams of a game is scored in the game itself.
    """
    lines = [
        "| game | agent | protocol | agent steps (frames) | score of each seed "
        "| mean over seeds | human-normalised | random play | command |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    episodes = set()
    for path in sorted([*RESULTS.glob("*.json"), *RESULTS.glob("dreams/*.json")]):
        data, dreamed = json.loads(path.read_text()), path.parent.name == "dreams"
        means = [run["evaluation"]["mean"] for run in data["runs"]]
        episodes |= {run["evaluation"]["episodes"] for run in data["runs"]}
        mean = statistics.fmean(means)
        normalised = human_normalised(data["world"], mean)
        cells = [
            data["world"],
            data["train"].split()[2] + ", in dreams alone" * dreamed,
            conditions(data["runs"][0]["evaluation"]),
            f"{_count(data['steps'])} ({'dreamed' if dreamed else _count(data['frames'])})",
            ", ".join(map(number, means)),
            number(mean) + error(means),
            "" if normalised is None else f"{normalised:.3f}",
            number(data["random"]["mean"]),
            f"`{data['command']}`",
        ]
        visits = {
            what: [run["train"].get(what) for run in data["runs"]]
            for what in ("rooms", "keys", "states")
        }
        seen = [
            f"{what} {', '.join(f'{n:,.0f}' for n in numbers)}"
            for what, numbers in visits.items()
            if None not in numbers
        ]
        if seen:
            cells[4] += f" (in training, {' and '.join(seen)})"
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Raw game points; a seed's score is the mean of {' or '.join(map(str, sorted(episodes)))} "
        "whole episodes played by the final checkpoint on streams of their own, without exploring "
        "or as in training, where policies are drawn from; ± is the standard "
        f"error over seeds; human-normalised by the table of {HUMAN_RANDOM_TABLE}.",
    ]
    return "\n".join(lines) + "\n"


def predictors_table() -> str:
    """Errors on moving pixels by horizon, and of the player under one action held, by game."""
    lines: list[str] = []
    for path in sorted((RESULTS / "predictors").glob("*.json")):
        data = json.loads(path.read_text())
        rows = data["errors"]["moving"]
        horizons, control = list(rows["copy-last"]), data["control"]
        if not lines:
            titles = [f"{h} step{'s' * (h != '1')}" for h in horizons]
            titles.append(f"player's place after {control['steps']} equal actions")
            lines = [f"| game | model | {' | '.join(titles)} |"]
            lines.append("|---" * (len(titles) + 2) + "|")
        for name, row in rows.items():
            cells = [f"{row[h]:,.0f}" if h in row else "" for h in horizons]
            place = control[name]
            lost = [f"{place['lost']:.0%} lost"] if place["lost"] else []
            seen = [f"{place['mean']:.1f} pixels off"] if place["lost"] < 1 else []
            cells.append(", ".join(seen + lost))
            model = name.removeprefix(f"{data['world']}-")
            lines.append(f"| {data['world']} | {model} | {' | '.join(cells)} |")
    return "\n".join(lines or ["Nothing has been measured yet."]) + "\n"


def representations_table() -> str:
    """Held-out bounds in nats a frame, and what a linear probe reads from keys, game by game."""
    lines = [
        "| game | model | updates | ELBO | IWAE, 64 codes | gap | active units "
        "| player's place read from keys, R² of x and y | command |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted((RESULTS / "representations").glob("*.json")):
        data = json.loads(path.read_text())
        held_out, probes = data["held_out"], data.get("probe", {})
        for name in {**held_out, **probes}:
            bounds, read = held_out.get(name), probes.get(name)
            numbers = [""] * 4
            if bounds:
                numbers = [f"{bounds[key]:,.0f}" for key in ("elbo", "iwae", "gap")]
                numbers.append(f"{bounds['active_units']} of {bounds['latents']}")
            place = f"{read['x']:.2f}, {read['y']:.2f}" if read else ""
            updates = f"{data['steps']:,}" if name == "vae" else ""
            command = f"`{data['command']}` at {data['provenance']['commit'][:7]}"
            cells = [data["world"], name, updates, *numbers, place, command]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def mazes_table() -> str:
    """One row a planner: held-out mazes beside the shortest path, and where plans were made."""
    lines = [
        "| agent | agent steps | of the shortest path's return, held-out mazes | larger mazes "
        "| ticks a plan is followed | plans made at junctions (by chance), p | command |",
        "|---|---|---|---|---|---|---|",
    ]
    for path in sorted((RESULTS / "mazes").glob("*.json")):
        data = json.loads(path.read_text())
        walks = data["runs"][0]["walks"]
        kept, larger = walks["held_out"], walks["larger"]
        made, where = kept["mean_commitment"], kept["junctions"]
        plans = f"{where['share_of_plans']:.1%} ({where['share_by_chance']:.1%}), {where['p']:.1g}"
        cells = [
            data["name"].removeprefix("maze-"),
            _count(data["steps"]),
            f"{kept['share_of_best_return']:.1%}",
            f"{larger['share_of_best_return']:.1%}",
            f"{made:.1f}" if made else "",
            plans if made else "",
            f"`{data['command']}`",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def ablations_table() -> str:
    """What each committed grid says of its parts: verdicts from the raw scores."""
    lines = [
        "| grid | variant | world | verdict | difference (95% interval) | n |",
        "|---|---|---|---|---|---|",
    ]
    commands = []
    for path in sorted((RESULTS / "ablations").glob("*.json")):
        data = json.loads(path.read_text())
        scores: dict[str, dict[tuple[str, int], float]] = {x: {} for x in data["variants"]}
        for run in data["runs"]:
            mean = statistics.fmean(run["scores"])
            scores[run["variant"]][run["world"], run["seed"]] = mean
        lines += [
            f"| {data['name']}, {_count(data['steps'])} agent steps | {x.variant} | {x.world} "
            f"| {x.word} | {interval(x.difference, x.unit)} {x.unit} | {x.pairs} |"
            for x in judge(scores)
        ]
        commands += ["", f"{data['name']}: `{data['command']}`"]
    lines += [
        "",
        "Against each grid's first variant, by final scores paired by world and seed: a variant "
        "helps or hurts where the t interval of the mean difference lies on one side of 0.",
        *commands,
    ]
    return "\n".join(lines) + "\n"


def published_table() -> str:
    """Published scores in the games of which there are results of episodic control."""
    data = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    games = {x["world"] for x in data if x["train"].split()[2].startswith("episodic")}
    rows = [
        f"| {x.game} | {x.method} | {x.score:,.1f} | {x.frames} | {x.protocol} | {x.source} |"
        for x in published(games)
    ]
    head = ["| game | method | score | frames | protocol | source |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def races_table() -> str:
    """Our loops beside other libraries' at the same settings, newest measurement of each."""
    lines = [
        "| ours | agent steps/s | theirs | agent steps/s | ratio, rounds in turns |",
        "|---|---|---|---|---|",
    ]
    newest: dict[tuple[str, str], str] = {}
    for path in sorted((RESULTS / "bench").glob("*.json")):
        for sitting in json.loads(path.read_text()):
            for row in sitting["rows"]:
                for other, ratio in row.get("ratios", {}).items():
                    if not other.startswith(LIBRARIES) or not row["name"].startswith("training"):
                        continue
                    theirs = next(x for x in sitting["rows"] if x["name"].startswith(other))
                    cells = (
                        row["name"],
                        f"{row['steps_per_second']:,.0f}",
                        other,
                        f"{theirs['steps_per_second']:,.0f}",
                        f"{ratio:.2f}",
                    )
                    newest[row["name"], other] = f"| {' | '.join(cells)} |"
    return "\n".join([*lines, *newest.values()]) + "\n"


def bench_table() -> str:
    """The newest measurement of each row, on each device."""
    lines = ["| what | measured | machine | command |", "|---|---|---|---|"]
    for path in sorted((RESULTS / "bench").glob("*.json")):
        history: list[dict[str, Any]] = json.loads(path.read_text())
        newest = {
            row["name"]: f"| {row['name']} | {row['shown']} | {sitting['machine']} "
            f"| `{sitting['provenance']['command']}` |"
            for sitting in history
            for row in sitting["rows"]
        }
        lines += newest.values()
    return "\n".join(lines) + "\n"


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
