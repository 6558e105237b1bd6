"""The comparison of predictors as a table for the terminal, and the bars of its measures."""

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from ..text.terminal_text import paragraph, width
from .moving_objects import ANY

BAR_STEPS, BAR_GAME = "10", "pong"
"""Where the bars hold: after this many steps in this game."""
REFERENCE = "small"
"""The predictor whose dreams another must make harder to tell from real frames."""
MOST_LOST = {"ball": 0.2, "paddle": 0.1}
"""Share of dreams below which an object must be lost."""


@dataclass(frozen=True, slots=True)
class Section:
    """A measure of every model by horizon, as texts."""

    title: str
    rows: dict[str, dict[str, str]]


def sections(result: dict[str, Any]) -> Iterator[Section]:
    """Yield the measures of a comparison, by horizon."""
    for kind, rows in result["errors"].items():
        yield _section(f"squared error, {kind} pixels (gray levels²)", rows, "{:,.1f}")
    if "dreams" not in result:
        return
    dreams = result["dreams"]
    yield _section("PSNR (dB; higher is better)", dreams["quality"]["psnr"], "{:.1f}")
    yield _section("SSIM (at most 1; higher is better)", dreams["quality"]["ssim"], "{:.3f}")
    tests = dreams["two_sample"]
    title = "told apart from real frames by a classifier (accuracy; 0.5 is best)"
    yield _section(title, _values(tests, "accuracy"), "{:.2f}")
    title = "log Bayes factor of dreams that differ (nats; negative: the same)"
    yield _section(title, _values(tests, "log_bayes_factor"), "{:+.0f}")
    for name, rows in dreams["objects"].items():
        title = f"{name}{'s' * (name == ANY)} lost (share)"
        yield _section(title, _values(rows, "lost"), "{:.0%}")
    yield _section(f"Fréchet distance in {dreams['features']}", dreams["frechet"], "{:.2f}")
    for key, title in (
        ("correlation", "imagined and real return of the recorded actions: correlation"),
        ("bias", "imagined less real return (points)"),
    ):
        yield _section(title, _values(dreams["returns"], key), "{:+.2f}")


def _section(title: str, rows: dict[str, Any], form: str) -> Section:
    texts = {
        name: {h: "-" if x is None else form.format(x) for h, x in row.items()}
        for name, row in rows.items()
    }
    return Section(title, texts)


def _values(rows: dict[str, Any], key: str) -> dict[str, Any]:
    """Return one number of every cell; None where a cell is None."""
    return {name: {h: x and x[key] for h, x in row.items()} for name, row in rows.items()}


def format_table(result: dict[str, Any]) -> str:
    """Return the result of a comparison of predictors as text, as wide as the terminal."""
    about = f"{result['env_name']}, {result['num_segments']} held-out segments of the policy "
    about += result["policy"]
    lines, found = [about], list(sections(result))
    cells = [x for each in found for row in each.rows.values() for x in row.items()]
    cell = 2 + max((len(x) for pair in cells for x in pair), default=0)
    horizons = list(dict.fromkeys(h for h, _ in cells))
    room = width() - cell * len(horizons)

    def row(name: str, texts: list[str]) -> list[str]:
        return _labeled(name, "".join(f"{x:>{cell}}" for x in texts), room)

    lines += row("steps predicted", horizons) if horizons else []
    for each in found:
        lines += ["", each.title]
        for name, texts in each.rows.items():
            lines += row(f"  {name}", [texts.get(h, "") for h in horizons])
    if "dreams" in result:
        lines += ["", *_single_steps(result["dreams"]["single_steps"])]
    if sensitivity := result["action_sensitivity"]:
        text = (
            f"the player's row after {sensitivity['timesteps']} equal actions, from "
            f"{sensitivity['num_starts']} starts, in pixels; different actions lead "
            f"{sensitivity['spread']:.1f} pixels apart"
        )
        lines += ["", *paragraph(text).splitlines()]
        for name, numbers in sensitivity["errors"].items():
            shown = [f"lost in {numbers['lost']:.0%}"]
            if numbers["lost"] < 1:
                shown = [
                    f"mean error {numbers['mean']:.2f}", f"median {numbers['median']:.2f}", *shown
                ]  # fmt: skip
            lines += _labeled(f"  {name}", ", ".join(shown), 32)
    if bars := bar_lines(result):
        lines += ["", *bars]
    return "\n".join(lines)


def _labeled(name: str, text: str, column: int) -> list[str]:
    """Return a line with a name and a text from a column on, or more for a long name."""
    if len(name) <= column:
        return [f"{name:<{column}}{text}"]
    indent = len(name) - len(name.lstrip())
    return [*wrap(name, width(), subsequent_indent=" " * indent), " " * column + text]


def _single_steps(table: dict[str, Any]) -> Iterator[str]:
    """Yield the ranks of rare events and the means, by event and model."""
    yield "single held-out steps from recorded frames: AUC of rare events (95% interval)"
    for event in next(iter(table.values())):
        first = next(iter(table.values()))[event]
        count, steps = first["events"], first["steps"]
        yield f"  {event}: {count:,} of {steps:,} steps, true mean {first['mean_true']:+.4f}"
        for name, events in table.items():
            numbers = events[event]
            auc = f"undefined, as {'every' if count else 'no'} step is one"
            if numbers["auc"] is not None:
                auc = f"{numbers['auc']:.3f}"
                if numbers["low"] is not None:
                    auc += f" ({numbers['low']:.3f} to {numbers['high']:.3f})"
            text = f"{auc}, predicted mean {numbers['mean_predicted']:+.4f}"
            yield from _labeled(f"    {name}", text, 26)


def bar_lines(result: dict[str, Any]) -> list[str]:
    """Return how the predictors of Pong meet each bar after ten steps; empty for other envs."""
    tests = result.get("dreams", {}).get("two_sample", {})
    names = result.get("predictors", {})
    if result["env_name"] != BAR_GAME or not any(BAR_STEPS in tests[name] for name in names):
        return []
    lines = [f"bars of {BAR_GAME} after {BAR_STEPS} steps"]
    told = {name: tests[name][BAR_STEPS]["accuracy"] for name in names if tests[name][BAR_STEPS]}
    references = [name for name, part in names.items() if part == REFERENCE and name in told]
    for reference in references[:1]:
        others = [name for name in told if names[name] != REFERENCE]
        text = f"two-sample accuracy below {told[reference]:.2f} of {reference}: "
        best = min(others, key=lambda name: told[name], default="")
        text += f"best {best} {told[best]:.2f}, {_met(told[best] < told[reference])}" if best else (
            "no other predictor is compared"
        )  # fmt: skip
        lines.append(text)
    for kind, most in MOST_LOST.items():
        shares = {
            name: result["dreams"]["objects"][kind][name][BAR_STEPS]["lost"] for name in names
        }
        shown = [f"{name} {x:.0%}, {_met(x < most)}" for name, x in shares.items() if x is not None]
        lines.append(
            f"{kind} lost below {most:.0%}: {'; '.join(shown) or 'no true frame shows it'}"
        )
    return [lines[0], *(x for text in lines[1:] for x in paragraph(text, 2).splitlines())]


def _met(passed: bool) -> str:
    return "met" if passed else "not met"
