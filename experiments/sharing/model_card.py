"""Model cards: a page about an exported run, with the front matter that Hugging Face reads."""

from collections.abc import Iterator, Sequence
from typing import Any

from ..dreams.dream_measures import COPY_LAST
from ..runs.files import to_json
from ..runs.scores import Scores
from ..text.formatting import with_error

Row = tuple[str, str, str]

USES = {
    "agent": "Watch it play with `reverie play`, score it with `reverie evaluate`, or train from "
    "it with `--init-from`.",
    "predictor": "Dream with it in `reverie play`, or give it to an agent that plans or dreams "
    "with `--init-from`.",
    "density": "See what surprises it, and let it complete erased pixels, in `reverie play`, or "
    "give it to a bonus with `--init-from`.",
    "representation": "See it in `reverie play`, or give it to an agent with `--init-from`.",
}
"""What an exported run is for, by its kind."""


def model_card(about: dict[str, Any]) -> str:
    """Return the page of a run by its description, as Markdown with YAML front matter."""
    title = f"{about['model']} on {about['env_name']}"
    sections = [
        "\n".join(["---", *_front_matter(about, title), "---"]),
        f"# {title}",
        about["description"] or f"A run of reverie: the {about['kind']} `{about['model']}`.",
        USES[about["kind"]],
        "```\nreverie import FILE --folder runs/imported\nreverie play runs/imported\n```",
        "It holds weights and tables, and neither the replay nor the optimizer, so training cannot "
        "be resumed from it. It is a safetensors file with a checksum: nothing is unpickled.",
        "## Data and training",
        "\n".join(["| | |", "|---|---|", *map(_cells, _facts(about))]),
        "## Results",
        _results(about),
    ]
    return "\n\n".join(sections) + "\n"


def result_rows(about: dict[str, Any]) -> list[Row]:
    """Return the results of a run as rows: the measure, its value, and how it was measured."""
    rows: list[Row] = []
    for name, data in about["results"].items():
        if name.startswith("scores"):
            scores = Scores.from_json(data)
            how = (
                f"{scores.episodes} episodes from {scores.distinct_starts} distinct starts, "
                f"protocol {scores.conditions}, seed {scores.seed}"
            )
            rows.append(("mean score", with_error(scores.mean, scores.standard_error), how))
        elif name == "evaluation.json":
            rows += _prediction_rows(data)
        else:
            how = f"{data['frames']} held-out frames" if "frames" in data else "held-out frames"
            rows += [
                (key.replace("_", " "), f"{data[key]:.4g}", how)
                for key in ("bits_per_pixel", "elbo", "iwae")
                if key in data
            ]
    return rows


def _prediction_rows(data: dict[str, Any]) -> Iterator[Row]:
    """Yield the squared errors of a pixel, 1 and 10 steps ahead, and of copying the last frame."""
    errors = data["errors"]["all"]
    name = next(x for x in errors if x != COPY_LAST)
    for steps in ("1", "10"):
        if steps not in errors[name]:
            continue
        copied = f"copying the last frame has {errors[COPY_LAST][steps]}"
        how = f"{data['num_segments']} held-out segments; {copied}"
        ahead = f"{steps} step{'s' * (steps != '1')} ahead"
        yield f"squared error, {ahead}", f"{errors[name][steps]}", how


def _results(about: dict[str, Any]) -> str:
    rows = result_rows(about)
    if not rows:
        return "Not measured after the export."
    return "\n".join(["| measure | value | how |", "|---|---|---|", *map(_cells, rows)])


def _cells(row: Sequence[str]) -> str:
    """Return a row of a table; a text from elsewhere cannot end its cell."""
    return f"| {' | '.join(' '.join(x.split()).replace('|', '&#124;') for x in row)} |"


def _facts(about: dict[str, Any]) -> Iterator[tuple[str, str]]:
    provenance, plain = about["provenance"], about["plain"]
    sessions = provenance.get("sessions", [provenance])
    yield "env", about["env_name"]
    yield "protocol", about["protocol"]
    if recording := plain.get("recording"):
        policy = about["manifest"]["policy"]
        yield "data", f"{recording['frames']:,} frames, policy {policy}"
        yield "updates", f"{plain['step']:,}"
    else:
        yield "agent steps", f"{plain['step']:,}"
    for command in dict.fromkeys(x.get("command", "unknown") for x in sessions):
        yield "command", f"`{command}`"
    modified = " (modified)" if provenance.get("modified") else ""
    yield "commit", f"{provenance.get('commit') or 'unknown'}{modified}"
    yield "version", str(provenance.get("package_version"))
    yield "weights", about["dtype"]
    if about["dropped_keys"]:
        yield "keys left out", f"{about['dropped_keys']:,}"
    yield "license", about["license"] or "none given"


def _front_matter(about: dict[str, Any], title: str) -> Iterator[str]:
    """Yield lines of YAML; a text in JSON's quotation marks is one in YAML too."""
    yield "library_name: reverie"
    if about["license"]:
        yield f"license: {_quoted(about['license'])}"
    yield "tags:"
    kinds = ["reinforcement-learning", "deep-reinforcement-learning", "reverie", about["kind"]]
    yield from (f"- {_quoted(tag)}" for tag in [*kinds, about["model"], about["env_name"]])
    scores = [Scores.from_json(x) for k, x in about["results"].items() if k.startswith("scores")]
    if scores:
        name = _quoted(about["env_name"])
        yield from ("model-index:", f"- name: {_quoted(title)}", "  results:")
    for each in scores:
        error = each.standard_error
        yield from (
            "  - task: {type: reinforcement-learning, name: reinforcement-learning}",
            f"    dataset: {{name: {name}, type: {name}}}",
            "    metrics:",
            "    - type: mean_reward",
            f"      name: {_quoted(f'mean score, protocol {each.conditions}')}",
            f"      value: {_quoted(f'{each.mean:.2f}' + (f' +/- {error:.2f}' if error else ''))}",
            "      verified: false",
        )


def _quoted(text: Any) -> str:
    return to_json(str(text))
