"""The tables of the documents, generated from the committed results."""

import itertools
import re
from collections.abc import Callable

from ...agents.episodic.mfec import MFECConfig
from ...envs.minatar import MinAtarConfig
from ..config.compatibility import compatibility
from ..config.descriptions import DESCRIPTIONS
from ..config.presets import PRESETS
from ..reporting.committed import CHECKOUT, committed, committed_results, require_checkout
from ..reporting.published import published
from ..runs.files import write_file
from .count_tables import (
    compression_table,
    deep_sea_table,
    fashion_mnist_table,
    go_explore_table,
    sb3_exploration_table,
)
from .grid_tables import ablations_table, other_protocols_table
from .latent_tables import (
    amortization_table,
    one_shot_table,
    probes_table,
    representations_table,
)
from .markdown import Footnotes, markdown_table
from .prediction_tables import dreams_table, imagined_rounds_table, predictors_table
from .reruns import BENCH_RERUNS
from .result_figures import figure_files
from .score_tables import episodic_table, mazes_table, numpy_mfec_table, scores_table, suites_table
from .trust_tables import durability_table, endurance_table, hostile_folders_table

DOCUMENTS = (
    *("README.md", "docs/concepts/latent_models.md", "docs/concepts/roles.md"),
    "docs/concepts/verdicts.md",
    *("docs/results.md", "docs/speed.md", "docs/howto/gallery.md", "docs/howto/train.md"),
    "docs/tutorials/sb3.md",
)
LIBRARIES = ("Stable-Baselines3", "EnvPool")
MARK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def verify(*, write: bool = False) -> int:
    """Rebuild the tables and figures of the documents and compare; return 1 if one differs.

    With ``write`` the documents and figures are updated instead. The bytes of a figure are those
    of the matplotlib version of constraints.txt.
    """
    require_checkout("reverie verify", writes=write)
    num_tables, rebuilt = 0, dict(figure_files())
    num_figures = len(rebuilt)
    for name in DOCUMENTS:
        text = (CHECKOUT / name).read_text(encoding="utf-8")
        new, count = MARK.subn(lambda m: f"{m[1]}{TABLES[m[2]]()}{m[3]}", text)
        num_tables += count
        rebuilt[name] = new.encode()
    differing = []
    for name, data in rebuilt.items():
        path = CHECKOUT / name
        if write:
            write_file(path, data)
        elif not path.exists() or path.read_bytes() != data:
            differing.append(name)
    if differing:
        remedy = " with the matplotlib of constraints.txt" * differing[0].endswith(".svg")
        print(
            f"{', '.join(differing)}: not what experiments/results/ gives; update by "
            f"`reverie verify --write`{remedy}."
        )
        return 1
    print(
        f"{num_tables} tables of {', '.join(DOCUMENTS)} and {num_figures} figures agree with "
        "experiments/results/."
    )
    return 0


def published_table() -> str:
    """Return published scores in the games that episodic control or an agent of MinAtar played."""
    games = {
        data["env_name"]
        for data in committed_results("training")
        if isinstance((preset := PRESETS[data["preset"]]).agent, MFECConfig)
        or isinstance(preset.env, MinAtarConfig)
    }
    return markdown_table(
        "game | method | score | frames | protocol | source",
        (
            [x.game, x.method, f"{x.score:,.1f}", x.frames, x.protocol, x.source]
            for x in published(games)
        ),
    )


def races_table() -> str:
    """Return the newest comparison of our training with each other library's."""
    newest: dict[tuple[str, str], list[str]] = {}
    for session in itertools.chain(*committed("bench/*.json")):
        sps = {row["name"]: f"{row.get('steps_per_second', 0):,.0f}" for row in session["rows"]}
        for row in session["rows"]:
            name = row["name"]
            for other, ratio in row.get("ratios", {}).items():
                if other.startswith(LIBRARIES) and name.startswith("training"):
                    theirs = next(x for full, x in sps.items() if full.startswith(other))
                    newest[name, other] = [name, sps[name], other, theirs, f"{ratio:.2f}"]
    return markdown_table(
        "ours | agent steps/s | other library | agent steps/s | ratio, rounds in turns",
        newest.values(),
    )


def bench_table() -> str:
    """Return the newest measurement of each row, by machine, without those that failed."""
    rows: list[list[str]] = []
    footnotes = Footnotes()
    for sessions in committed("bench/*.json"):
        newest: dict[str, list[str]] = {}
        for session in sessions:
            about = [session["machine"], f"`{session['provenance']['command']}`"]
            for row in session["rows"]:
                if "error" in row:
                    continue
                changes = [x for name, x in BENCH_RERUNS.items() if row["name"].startswith(name)]
                name = footnotes.marked(row["name"], changes)
                newest[row["name"]] = [name, row["shown"], *about]
        rows += newest.values()
    header = "measurement | value | machine | command"
    return markdown_table(header, rows, footnotes.lines)


def presets_table() -> str:
    """Return what each preset is, with the protocol and the length of its training."""
    rows = [
        [f"`{name}`", DESCRIPTIONS[name].text, job.env.protocol_label, f"{job.total_timesteps:,}"]
        for name, job in PRESETS.items()
    ]
    return markdown_table("preset | what it is | protocol | agent steps", rows)


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
    return markdown_table(
        " | ".join(["agent", *map("`{}`".format, columns)]),
        rows,
        "Refused:",
        "\n".join(f"- {', '.join(map('`{}`'.format, x))}: {why}" for why, x in refusals.items()),
        f"`make test-long` trains all {total} pairs of parts that fit for a few updates.",
    )


def gallery_table() -> str:
    """Return the measurements of every density, by game; a row that says so if there are none."""
    results = committed("gallery/*.json")
    if not results:
        command = "`reverie gallery --save NAME`"
        return markdown_table("game | density", [["not measured yet", command]])
    columns = list(dict.fromkeys(name for data in results for name in data["columns"]))
    rows, notes = [], ["; ".join(dict.fromkeys(x for data in results for x in data["notes"])) + "."]
    for data in results:
        for game, result in data["games"].items():
            for name, model in result["models"].items():
                cells = [model["cells"].get(column, {}) for column in columns]
                texts = [cell.get("shown") or cell.get("error") or "-" for cell in cells]
                rows.append([game, name, model["error"] or texts[0], *texts[1:]])
            sizes = result["bytes_per_frame"].items()
            others = ", ".join(f"{name} {size:,.1f}" for name, size in sizes)
            notes.append(f"{game}: {result['about']}; the same frames in bytes a frame: {others}.")
        notes.append(f"{data['protocol']} (`{data['command']}`)")
    return markdown_table(" | ".join(["game | density", *columns]), rows, *notes)


def verdict_errors_table() -> str:
    """Return the error rates and the power of simulated grids, by design and shape of scores."""
    (data,) = committed_results("verdict-errors")
    rows = [
        [
            ", ".join(map(str, row["analyses"])),
            row["scores"],
            *(f"{row[rate]:.1%}" for rate in ("false_differences", "false_equivalences", "power")),
        ]
        for row in data["rows"]
    ]
    return markdown_table(
        "analyses after | scores | false differences | false equivalences | power",
        rows,
        f"{data['grids']:,} grids of {data['comparisons']} comparisons each "
        f"(`{data['command']}`); promised are at most 5% false ones and a power of 80%.",
    )


def sprites_table() -> str:
    """Return the share of frames whose sprites AIR counts right, by seed."""
    (data,) = committed_results("sprites")
    rows = [
        [
            str(row["seed"]),
            *(f"{share:.1%}" for share in (row["accuracy"], *row["accuracy_by_count"])),
            f"{row['processor_seconds'] / 60:.1f}",
        ]
        for row in data["rows"]
    ]
    return markdown_table(
        "seed | counted right | of no sprite | of one | of two | minutes",
        rows,
        f"{data['held_out']:,} unseen frames of {data['size']} x {data['size']} pixels after "
        f"{data['num_updates']:,} updates (`{data['command']}`); minutes are of one processor.",
    )


TABLES: dict[str, Callable[[], str]] = {
    "scores": scores_table,
    "episodic": episodic_table,
    "numpy-mfec": numpy_mfec_table,
    "suites": suites_table,
    "ablations": ablations_table,
    "other-protocols": other_protocols_table,
    "published": published_table,
    "races": races_table,
    "bench": bench_table,
    "predictors": predictors_table,
    "dreams": dreams_table,
    "imagined-rounds": imagined_rounds_table,
    "compression": compression_table,
    "deep-sea": deep_sea_table,
    "fashion-mnist": fashion_mnist_table,
    "representations": representations_table,
    "probes": probes_table,
    "one-shot": one_shot_table,
    "amortization": amortization_table,
    "gallery": gallery_table,
    "mazes": mazes_table,
    "endurance": endurance_table,
    "go-explore": go_explore_table,
    "durability": durability_table,
    "hostile-folders": hostile_folders_table,
    "verdict-errors": verdict_errors_table,
    "sb3-exploration": sb3_exploration_table,
    "sprites": sprites_table,
    "compatibility": compatibility_table,
    "presets": presets_table,
}
