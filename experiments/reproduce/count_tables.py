"""The tables of densities and of exploration: code lengths, and the sizes of DeepSea solved."""

from ..reporting.committed import committed_results
from ..runs.scores import Scores
from ..text.formatting import format_number
from ..verdicts.intervals import format_count
from .markdown import markdown_table, unmeasured


def compression_table() -> str:
    """Return the size of the same frames by codec and game, and the speed of coding them."""
    (data,) = committed_results("compression")
    frames, best = data["frames"], dict[str, int]()
    for row in data["rows"]:
        best[row["env_name"]] = min(row["bytes"], best.get(row["env_name"], row["bytes"]))
    rows = [
        [
            row["env_name"],
            row["codec"],
            row["form"],
            f"{row['bytes']:,}",
            f"{8 * row['bytes'] / frames:,.1f}",
            f"{row['bytes'] / best[row['env_name']]:.2f}",
            *(f"{frames / row[name]:,.0f}" for name in ("encode_seconds", "decode_seconds")),
        ]
        for row in sorted(data["rows"], key=lambda row: (row["env_name"], row["bytes"]))
    ]
    side = data["resolution"]
    return markdown_table(
        "game | codec | smallest form | bytes | bits a frame | against the smallest | frames coded "
        "a second | frames decoded a second",
        rows,
        f"{frames:,} frames of random play in one env, {side} x {side} pixels of {data['levels']} "
        f"levels (`{data['command']}`); seconds are of one processor.",
    )


def sb3_exploration_table() -> str:
    """Return the seeds with which Stable-Baselines3's PPO finds DeepSea's treasure, by bonus."""
    rows, note = [], ""
    for data in committed_results("sb3-exploration"):
        for bonus in dict.fromkeys(row["bonus"] for row in data["rows"]):
            runs = [row for row in data["rows"] if row["bonus"] == bonus]
            first = sorted(row["first"] for row in runs if row["first"])
            found, episodes = (sum(row[x] for row in runs) for x in ("found", "episodes"))
            cells = [f"{len(first)} of {len(runs)}", ", ".join(map(str, first))]
            rows.append([bonus, *cells, f"{found / episodes:.0%}"])
        size, episodes = data["size"], data["rows"][0]["episodes"]
        note = f"Size {size}, {episodes:,} episodes of each seed (`{data['command']}`)."
    header = "bonus | seeds that find it | at episode | episodes with the treasure"
    return markdown_table(header, rows, note)


def deep_sea_table() -> str:
    """Return the seeds that solve DeepSea by bsuite's rule, by agent and size."""
    rows = []
    for data in committed_results("deep-sea"):
        keys = dict.fromkeys((row["agent"], row["size"]) for row in data["rows"])
        for agent, size in keys:
            found = [x for x in data["rows"] if (x["agent"], x["size"]) == (agent, size)]
            solved = [x["solved"] for x in found if x["solved"]]
            rows.append(
                [
                    agent,
                    str(size),
                    f"{len(solved)} of {len(found)}",
                    ", ".join(f"{n:,}" for n in sorted(solved)),
                    f"`{data['command']}`",
                ]
            )
    return markdown_table(
        "agent | size | seeds that solve it | at episode | command",
        rows,
        "Solved: less than 90% of the episodes so far missed the treasure, within 10,000 episodes "
        "(bsuite's rule).",
    )


def go_explore_table() -> str:
    """Return what Go-Explore finds with each seed, and what its best trajectory scores again."""
    rows, commands = [], list[str]()
    for data in committed_results("exploration"):
        commands.append(f"`{data['command']}`")
        for run in data["runs"]:
            exact, sticky = (Scores.from_json(x) for x in run["evaluations"])
            train = run["train"]
            key = next((step for step, keys in train["keys"] if keys >= 1), None)
            rows.append(
                [
                    data["env_name"],
                    data["representation"],
                    format_count(data["steps"]),
                    str(run["seed"]),
                    f"{key:,}" if key else "none",
                    f"{train['rooms'][-1][1]:.0f}",
                    f"{train['cells'][-1][1]:,.0f}",
                    f"{train['snapshot_mb'][-1][1]:.1f} MB",
                    format_number(exact.mean),
                    f"{format_number(sticky.mean)} (median {format_number(sticky.median)}, "
                    f"{sticky.episodes} episodes)",
                ]
            )
    return markdown_table(
        "game | cells of | agent steps | seed | first key at step | rooms | cells "
        "| their snapshots | score, deterministic | score, sticky",
        rows,
        "Agent steps are without sticky actions, with returns to snapshots of the emulator. The "
        "best trajectory is repeated from the start: without chance, and with sticky actions. A "
        "learned representation is trained on random play before, whose frames count as agent "
        "steps.",
        *commands,
    )


def fashion_mnist_table() -> str:
    """Return the nats of test images by density, after equal times of training."""
    header = "density | binarization | nats an image | updates | epochs | command"
    rows = [
        [
            row["density"],
            data["binarization"],
            f"{'≤ ' * (row['kind'] == 'bound')}{row['nats']:.2f} ± {row['standard_error']:.2f}",
            f"{row['updates']:,}",
            f"{row['epochs']:.1f}",
            f"`{data['command']}`",
        ]
        for data in committed_results("fashion-mnist")
        for row in sorted(data["rows"], key=lambda row: float(row["nats"]))
    ]
    return markdown_table(header, rows) if rows else unmeasured(header, "fashion-mnist")
