"""The tables of the documents, generated from the committed results."""

import itertools
import json
import re
import statistics
from collections.abc import Callable, Iterable
from typing import Any

from ...agents.episodic.mfec import MFECConfig
from ...envs.atari.games import HUMAN_RANDOM_TABLE, human_normalized
from ..config.compatibility import compatibility
from ..config.presets import PRESETS
from ..reporting.committed import CHECKOUT, RESULTS, require_checkout
from ..reporting.comparison import compare_with_baseline
from ..reporting.intervals import format_count, format_interval, format_mean, format_number
from ..reporting.published import published
from ..runs.files import write_file
from ..runs.scores import Scores

DOCUMENTS = ("README.md", "docs/usage.md", "docs/results.md", "docs/speed.md")
LIBRARIES = ("Stable-Baselines3", "EnvPool")
MARK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def verify(*, write: bool = False) -> int:
    """Rebuild the tables of the documents and compare them; return 1 if one differs.

    With ``write`` the documents are updated instead.
    """
    require_checkout("reverie verify", writes=write)
    num_tables, differing = 0, []
    for name in DOCUMENTS:
        text = (CHECKOUT / name).read_text(encoding="utf-8")
        rebuilt, count = MARK.subn(lambda m: f"{m[1]}{TABLES[m[2]]()}{m[3]}", text)
        num_tables += count
        if write:
            write_file(CHECKOUT / name, rebuilt)
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


def scores_table() -> str:
    """Return a row per recipe: the final score of every seed beside random play.

    Agents trained in imagination are scored in the game itself. Mazes have a table of their own.
    """
    rows, episodes = [], set()
    for data in _of_recipes("training"):
        if "mazes" in data["runs"][0]:
            continue
        evaluations = [Scores.from_json(run["evaluation"]) for run in data["runs"]]
        means = [scores.mean for scores in evaluations]
        episodes |= {scores.episodes for scores in evaluations}
        normalized = human_normalized(data["env_name"], statistics.fmean(means))
        frames = "imagined" if data["imagined"] else format_count(data["frames"])
        visits = [
            f"{name} {', '.join(f'{n:,.0f}' for n in counts)}"
            for name in ("rooms", "keys", "states")
            if None not in (counts := [run["train"][name] for run in data["runs"]])
        ]
        rows.append(
            [
                data["env_name"],
                data["preset"] + ", in imagination only" * data["imagined"],
                evaluations[0].conditions,
                f"{format_count(data['steps'])} ({frames})",
                ", ".join(map(format_number, means))
                + (f" (in training, {' and '.join(visits)})" if visits else ""),
                format_mean(means),
                "" if normalized is None else f"{normalized:.3f}",
                format_number(Scores.from_json(data["random"]).mean),
                f"`{data['command']}`",
            ]
        )
    return _markdown(
        "game | agent | protocol | agent steps (frames) | score of each seed | mean over seeds "
        "| human-normalized | random play | command",
        rows,
        f"Raw game points. A seed's score is the mean of {' or '.join(map(str, sorted(episodes)))} "
        "whole episodes that the final checkpoint plays in separate envs, without exploration or "
        '("as in training") sampling from its policy; ± is the standard error over seeds; '
        f"human-normalized by the table of {HUMAN_RANDOM_TABLE}.",
    )


def predictors_table() -> str:
    """Return errors on moving pixels by horizon, and of the player's position, by game."""
    header, rows = "", []
    for data in _of_recipes("predictors"):
        errors, sensitivity = data["errors"]["moving"], data["action_sensitivity"]
        horizons = list(next(iter(errors.values())))
        titles = " | ".join(f"{h} step{'s' * (h != '1')}" for h in horizons)
        header = f"game | model | {titles} | player's position after {sensitivity['timesteps']} "
        header += "equal actions"
        for name, error in errors.items():
            position = sensitivity["errors"][name]
            mean = [f"{position['mean']:.1f} pixels off"] if position["lost"] < 1 else []
            lost = [f"{position['lost']:.0%} lost"] if position["lost"] else []
            cells = (f"{error[h]:,.0f}" if h in error else "" for h in horizons)
            rows.append([data["env_name"], name, *cells, ", ".join(mean + lost)])
    return _markdown(header, rows)


def representations_table() -> str:
    """Return held-out bounds in nats per frame, and the linear probe of keys, by game."""
    rows = []
    for data in _of_recipes("representations"):
        held_out, probes = data["held_out"], data.get("probe", {})
        command = f"`{data['command']}` at {data['provenance']['commit'][:7]}"
        for name in held_out | probes:
            bounds, probe = held_out.get(name), probes.get(name)
            numbers = [""] * 4
            if bounds:
                numbers = [f"{bounds[key]:,.0f}" for key in ("elbo", "iwae", "gap")]
                numbers.append(f"{bounds['active_units']} of {bounds['latents']}")
            updates = f"{data['num_updates']:,}" if name == "vae" else ""
            position = f"{probe['x']:.2f}, {probe['y']:.2f}" if probe else ""
            rows.append([data["env_name"], name, updates, *numbers, position, command])
    return _markdown(
        "game | model | updates | ELBO | IWAE, 64 codes | gap | active units "
        "| player's position from keys, R² of x and y | command",
        rows,
    )


def mazes_table() -> str:
    """Return a row per planner: returns in held-out mazes, and where it replans."""
    rows = []
    for data in _of_recipes("training"):
        if "mazes" not in data["runs"][0]:
            continue
        held_out, larger = (data["runs"][0]["mazes"][x] for x in ("held_out", "larger"))
        length, junctions = held_out["mean_plan_length"], held_out["junctions"]
        plans = (
            f"{junctions['share_of_plans']:.1%} ({junctions['share_by_chance']:.1%}), "
            f"{junctions['p']:.1g}"
        )
        rows.append(
            [
                "-".join(filter(None, [data["preset"], data["variation"]])),
                format_count(data["steps"]),
                f"{held_out['share_of_best_return']:.1%}",
                f"{larger['share_of_best_return']:.1%}",
                *([f"{length:.1f}", plans] if length else ["", ""]),
                f"`{data['command']}`",
            ]
        )
    return _markdown(
        "agent | agent steps | share of the shortest path's return, held-out mazes | larger mazes "
        "| timesteps a plan is followed | plans made at junctions (by chance), p | command",
        rows,
    )


def ablations_table() -> str:
    """Return the verdicts of each committed grid, computed from its raw scores."""
    rows, commands = [], []
    for data in _read("ablations/*.json"):
        scores: dict[str, dict[tuple[str, int], float]] = {x: {} for x in data["variants"]}
        for run in data["runs"]:
            mean = statistics.fmean(run["scores"])
            scores[run["variant"]][run["env_name"], run["seed"]] = mean
        rows += [
            [
                f"{data['name']}, {format_count(data['steps'])} agent steps",
                verdict.variant,
                verdict.env_name,
                verdict.label,
                f"{format_interval(verdict.difference, verdict.unit)} {verdict.unit}",
                str(verdict.pairs),
            ]
            for verdict in compare_with_baseline(scores)
        ]
        commands.append(f"{data['name']}: `{data['command']}`")
    return _markdown(
        "grid | variant | env | verdict | difference (95% interval) | n",
        rows,
        "Against each grid's first variant, by final scores paired by env and seed: a variant "
        "helps or hurts if the t interval of the mean difference is on one side of 0.",
        *commands,
    )


def published_table() -> str:
    """Return published scores in the games of which there are results of episodic control."""
    games = {
        data["env_name"]
        for data in _of_recipes("training")
        if isinstance(PRESETS[data["preset"]].agent, MFECConfig)
    }
    return _markdown(
        "game | method | score | frames | protocol | source",
        (
            [x.game, x.method, f"{x.score:,.1f}", x.frames, x.protocol, x.source]
            for x in published(games)
        ),
    )


def races_table() -> str:
    """Return the newest comparison of our training with each other library's."""
    newest: dict[tuple[str, str], list[str]] = {}
    for session in itertools.chain(*_read("bench/*.json")):
        sps = {row["name"]: f"{row.get('steps_per_second', 0):,.0f}" for row in session["rows"]}
        for row in session["rows"]:
            name = row["name"]
            for other, ratio in row.get("ratios", {}).items():
                if other.startswith(LIBRARIES) and name.startswith("training"):
                    theirs = next(x for full, x in sps.items() if full.startswith(other))
                    newest[name, other] = [name, sps[name], other, theirs, f"{ratio:.2f}"]
    return _markdown(
        "ours | agent steps/s | other library | agent steps/s | ratio, rounds in turns",
        newest.values(),
    )


def bench_table() -> str:
    """Return the newest measurement of each row, by machine."""
    rows: list[list[str]] = []
    for sessions in _read("bench/*.json"):
        newest: dict[str, list[str]] = {}
        for session in sessions:
            about = [session["machine"], f"`{session['provenance']['command']}`"]
            newest |= {row["name"]: [row["name"], row["shown"], *about] for row in session["rows"]}
        rows += newest.values()
    return _markdown("measurement | value | machine | command", rows)


def compatibility_table() -> str:
    """Return the parts of each role that every agent accepts, and why it refuses others."""
    fitting: dict[tuple[str, str], list[str]] = {}
    refusals: dict[str, list[str]] = {}
    total = 0
    for combination in compatibility():
        agent, (role, _, name) = combination.parts[0], combination.parts[1].partition(":")
        total += combination.experiment is not None
        if agent.startswith("agent:"):
            cell = fitting.setdefault((agent, role), [])
            if combination.experiment:
                cell.append(name)
            else:
                refusals.setdefault(combination.refusal, []).append(f"{agent} {role}:{name}")
    columns = dict.fromkeys(role for _, role in fitting)
    rows = [
        [f"`{agent}`", *(", ".join(fitting.get((agent, role), ())) for role in columns)]
        for agent in dict.fromkeys(agent for agent, _ in fitting)
    ]
    return _markdown(
        " | ".join(["agent", *map("`{}`".format, columns)]),
        rows,
        "Refused:",
        "\n".join(f"- {', '.join(map('`{}`'.format, x))}: {why}" for why, x in refusals.items()),
        f"`make test-long` trains all {total} pairs of parts that fit for a few updates.",
    )


TABLES: dict[str, Callable[[], str]] = {
    "scores": scores_table,
    "ablations": ablations_table,
    "published": published_table,
    "races": races_table,
    "bench": bench_table,
    "predictors": predictors_table,
    "representations": representations_table,
    "mazes": mazes_table,
    "compatibility": compatibility_table,
}


def _of_recipes(kind: str) -> list[dict[str, Any]]:
    """Return the results of the recipes of a kind, by name."""
    return [data for data in _read("*.json") if data["kind"] == kind]


def _read(pattern: str) -> list[Any]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob(pattern))]


def _markdown(header: str, rows: Iterable[list[str]], *notes: str) -> str:
    """Return a table whose header is written with its bars, and paragraphs below it."""
    lines = [f"| {header} |", "|---" * (header.count(" | ") + 1) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    for note in notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"
