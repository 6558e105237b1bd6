"""The share of a privileged reference's gain that a model captures.

With the null (the baseline), the model and the reference it is
``(model - null) / (reference - null)``, over runs paired by seed, with Fieller's interval. It can
exceed 1: a reference reads the true state, and need not use it as well as a model uses pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .intervals import MIN_RUNS, Array, Interval, Key, constant
from .paired_test import paired_means
from .verdict import Verdict


@dataclass(frozen=True)
class ReferenceShare:
    """The means of null, model and reference in an env, over the seeds that all three have."""

    role: str
    env_name: str
    model: str
    """Label of the variant, like those of the null and of the reference."""
    reference: str
    means: tuple[float, float, float]
    """Of the null, the model and the reference."""
    share: Interval
    """At the level of the reference's own interval; without bounds if its gain is not told from
    0."""
    pairs: int


def reference_shares(
    scores: Mapping[str, Mapping[Key, float]],
    choices: Mapping[str, Mapping[str, str]],
    references: Mapping[str, Mapping[str, str]],
    verdicts: Sequence[Verdict],
) -> list[ReferenceShare]:
    """Match models with references that differ from the null, the first variant, in one same role.

    All arguments are by the label of the variant: scores by env and seed, the choice of each part
    that varies, and the parts that read the true state by role. Envs in which not all three have a
    run of one seed are left out.
    """
    null, *others = scores
    roles = {label: _only_difference(choices[label], choices[null]) for label in others}
    read = {label: any(f"{x}.".startswith(f"{roles[label]}.") for x in references[label])
            for label in others}  # fmt: skip
    shares = []
    for verdict in verdicts:
        if not read[verdict.variant]:
            continue
        for model in others:
            if roles[model] != roles[verdict.variant] or read[model]:
                continue
            sides = [scores[x] for x in (null, model, verdict.variant)]
            paired = sorted(key for key in sides[0] if key[0] == verdict.env_name)
            keys = [key for key in paired if key in sides[2]][: verdict.pairs]
            keys = [key for key in keys if key in sides[1]]
            if keys:
                nulls, models, gains = (np.array([side[key] for key in keys]) for side in sides)
                share = _share(models - nulls, gains - nulls, verdict)
                means = float(nulls.mean()), float(models.mean()), float(gains.mean())
                shares.append(
                    ReferenceShare(
                        *(roles[model], verdict.env_name, model, verdict.variant),
                        *(means, share, len(keys)),
                    )
                )
    return shares


def _only_difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Return the part in which two variants differ, with the parts in it; empty for several."""
    parts = [part for part in {**ours, **theirs} if ours.get(part) != theirs.get(part)]
    outer = min(parts, key=len, default="")
    return outer if all(f"{part}.".startswith(f"{outer}.") for part in parts) else ""


def _share(gain: Array, of_reference: Array, verdict: Verdict) -> Interval:
    """Return the ratio of mean gains, or why there is none."""
    if verdict.label != "helps":
        told = {"hurts": "the reference hurts", "no difference": "the reference gains nothing"}
        return Interval(np.nan, missing=told.get(verdict.label, "the reference's gain is not told"))
    if len(gain) < MIN_RUNS:
        return Interval(np.nan, missing=f"n = {len(gain)}")
    if not np.isfinite(gain).all():
        return Interval(np.nan, missing="a score is not finite")
    if constant(gain) or constant(of_reference):
        return Interval(np.nan, missing="all differences from the null are equal")
    share = paired_means([(gain, of_reference)]).ratio(verdict.level / 2)
    if share.missing:
        return Interval(np.nan, missing="the reference's gain is not told over these pairs")
    return share
