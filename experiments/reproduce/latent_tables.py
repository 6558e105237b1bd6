"""The tables of the documents about representations and their latent-variable models."""

from statistics import fmean, stdev
from typing import Any

from ..reporting.committed import committed_results
from .markdown import markdown_table, unmeasured

STARTS = {"amortized": "the encoder's posterior", "prior": "the prior"}
"""Where gradient steps on a posterior begin, as the tables say it."""


def representations_table() -> str:
    """Return held-out bounds in nats per frame, and the linear probe of keys, by game."""
    rows = []
    for data in committed_results("representations"):
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
    return markdown_table(
        "game | model | updates | ELBO | IWAE, 64 codes | gap | active units "
        "| player's position from keys, R² of x and y | command",
        rows,
    )


def probes_table() -> str:
    """Return R² of the places in a game's memory by representation, the best mean first."""
    results = committed_results("probes")
    if not results:
        return unmeasured("game | representation", "probes")
    (data,) = results
    games = dict.fromkeys(row["env_name"] for row in data["rows"])
    ranked = sorted(data["rows"], key=lambda row: -fmean(row["r2"].values()))
    rows = [probe_cells(row) for game in games for row in ranked if row["env_name"] == game]
    left_out = {f"{row['env_name']} {name}": 0 for row in data["rows"] for name in row["left_out"]}
    return markdown_table(
        "game | representation | updates | numbers of a key | mean R² | player | others "
        "| each place",
        rows,
        f"{data['frames']:,} frames of random play in each game; {data['minutes']:g} minutes of "
        f"one processor for each model that learns (`{data['command']}`). R² is of test episodes. "
        f"Left out, because their entropy is below {data['least_entropy']:g} nats: "
        f"{', '.join(left_out) or 'none'}.",
    )


def probe_cells(row: dict[str, Any]) -> list[str]:
    """Return the cells of a representation in a game."""
    player = [r2 for name, r2 in row["r2"].items() if name.startswith("player_")]
    others = [r2 for name, r2 in row["r2"].items() if not name.startswith("player_")]
    groups = [[*row["r2"].values()], player, others]
    return [
        row["env_name"],
        row["representation"],
        f"{row['num_updates']:,}" if "num_updates" in row else "",
        f"{row['key_length']:,}",
        *(f"{fmean(group):.2f}" if group else "" for group in groups),
        ", ".join(f"{name} {r2:.2f}" for name, r2 in row["r2"].items()),
    ]


def one_shot_table() -> str:
    """Return the bound of glyphs of held-out classes, by model and what it is given."""
    results = committed_results("one-shot")
    if not results:
        return unmeasured("model | updates", "one-shot")
    (data,) = results
    reference = data["rows"][0]["bounds"]["nothing"]["nats"]
    rows = []
    for row in data["rows"]:
        for name, x in row["bounds"].items():
            gains = [a - b for a, b in zip(x["nats"], reference, strict=True)]
            error = stdev(gains) / len(gains) ** 0.5
            gain = f"{fmean(gains):+.1f} ± {error:.1f}" if error else ""
            bound = f"{x['mean']:.1f} ± {x['error']:.1f}"
            rows.append([row["model"], f"{row['num_updates']:,}", name, bound, gain])
    return markdown_table(
        f"model | updates | the example | bound with {data['samples']} codes, nats of a glyph "
        f"| above that of {data['rows'][0]['model']}",
        rows,
        f"{data['held_out']} classes that no model has seen, after fits of {data['minutes']:g} "
        f"minutes of one processor to {data['classes']:,} others (`{data['command']}`); ± is the "
        "standard error over glyphs, of differences between the same glyphs in the last column.",
    )


def amortization_table() -> str:
    """Return the amortization gap by game, and the share of it that few steps close."""
    results = committed_results("amortization")
    if not results:
        return unmeasured("game | ELBO added", "amortization")
    (data,) = results
    few, many = data["steps"]
    frames = " and ".join(str(row["frames"]) for row in data["rows"])
    rows = [
        [
            row["env_name"],
            f"{row['gap']:,.1f}",
            STARTS[svi["start"]],
            f"{svi['learning_rate']:g}",
            f"{svi['nats']:,.1f}",
            f"{svi['share']:,.0%} ± {svi['share_error']:.0%}",
        ]
        for row in data["rows"]
        for svi in row["svi"]
    ]
    return markdown_table(
        f"game | amortization gap, nats of a frame | from | learning rate | added by {few} steps "
        "| share of the gap",
        rows,
        f"A VAE fitted to {data['fitted_to']} by {data['num_updates']:,} updates "
        f"(`{data['command']}`), and {frames} held-out frames; ± "
        f"is the standard error over frames. The gap is what up to {many} steps add.",
    )
