"""The tables of the documents about predictors: errors by horizon, and measures of their dreams."""

import statistics
from typing import Any

from ..reporting.committed import committed_results
from .markdown import Footnotes, markdown_table, unmeasured
from .reruns import RERUNS

STEPS = "10"
"""After how many steps dreams are compared in the table."""


def predictors_table() -> str:
    """Return errors on moving pixels by horizon, and of the player's position, by game."""
    header, rows = "", []
    for data in committed_results("predictors"):
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
    return markdown_table(header, rows)


def dreams_table() -> str:
    """Return the measures of dreams after ten steps, and of single steps, by game and model."""
    rows = []
    for data in committed_results("predictors"):
        if "dreams" not in data:
            command = f"`reverie reproduce {data['name']}`"
            rows.append([data["env_name"], "not measured yet", command, *[""] * 6])
            continue
        dreams = data["dreams"]
        rows += [[data["env_name"], x, *_cells(dreams, x)] for x in dreams["two_sample"]]
    return markdown_table(
        "game | model | PSNR, dB | SSIM | told apart from real frames | lost "
        "| Fréchet distance, random features | imagined and real return, correlation "
        "| AUC of rare events of single steps",
        rows,
        f"All but the last column are after {STEPS} steps.",
    )


def imagined_rounds_table() -> str:
    """Return the real scores of agents that learn in imagination alone, after each round."""
    header = "env | agent in predictor | seeds | imagined steps | real steps: mean score | "
    header += "random play | command"
    rows, footnotes = [], Footnotes()
    for data in committed_results("imagined-rounds"):
        rounds = list(zip(*(run["rounds"] for run in data["runs"]), strict=True))
        scores = [
            f"{x[0]['real_steps']:,}: {statistics.fmean(y['score'] for y in x):,.2f}"
            for x in rounds
        ]
        rows.append(
            [
                data["env_name"],
                footnotes.marked(
                    f"{data['agent']} in {data['predictor']}", RERUNS.get(data["name"], ())
                ),
                str(len(data["runs"])),
                f"{rounds[-1][0]['imagined_steps']:,}",
                ", ".join(scores),
                f"{data['random']['mean']:,.2f}",
                f"`{data['command']}`",
            ]
        )
    note = "The agent never learns from a real step; each round it plays whole real episodes."
    if not rows:
        return unmeasured(header, "catch-imagined")
    return markdown_table(header, rows, note, footnotes.lines)


def _cells(dreams: dict[str, Any], name: str) -> list[str]:
    """Return the cells of a model; empty where a measure is undefined."""

    def number(rows: dict[str, Any], form: str, key: str = "") -> str:
        cell = rows.get(name, {}).get(STEPS)
        value = cell[key] if key and cell else cell
        return "" if value is None else form.format(value)

    objects = {kind: number(rows, "{:.0%}", "lost") for kind, rows in dreams["objects"].items()}
    ranked = {
        event: f"{x['auc']:.2f} ({x['events']:,} of {x['steps']:,})"
        for event, x in dreams["single_steps"].get(name, {}).items()
        if x["auc"] is not None
    }
    return [
        number(dreams["quality"]["psnr"], "{:.1f}"),
        number(dreams["quality"]["ssim"], "{:.3f}"),
        number(dreams["two_sample"], "{:.0%}", "accuracy"),
        ", ".join(f"{kind} {share}" for kind, share in objects.items() if share),
        number(dreams["frechet"], "{:.2f}"),
        number(dreams["returns"], "{:+.2f}", "correlation"),
        ", ".join(f"{event} {text}" for event, text in ranked.items()),
    ]
