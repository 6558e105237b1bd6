"""Dreams beside what was recorded: every measure of predicted frames and rewards, by horizon.

A dream is an open-loop prediction: the model gets the recorded actions and its own frames.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from ...world_models.inference.hypothesis import two_sample_test
from .frechet import FEATURES, frechet_distance, random_features
from .moving_objects import ANY, NAMED_OBJECTS, lost_objects
from .prediction_error import PredictionErrors
from .reward_ranking import compare_returns

COPY_LAST = "copy-last"
"""Name of the baseline that predicts the last frame, which no model may have."""
SIDE = 42
"""Largest height and width of the frames that the two-sample test's classifier gets."""
LEAST_PAIRS = 4
"""Pairs of frames below which no classifier is trained."""
LARGEST = 100.0
"""In place of an infinite quality, such as the decibels of an exact prediction."""
CHUNK = 32

FrameMeasure = Callable[[UInt8[Tensor, "B C H W"], UInt8[Tensor, "B C H W"]], Float[Tensor, " B"]]
"""A quality of predicted frames, given the true ones first."""


@dataclass(frozen=True, slots=True)
class Dreams:
    """The frames of M segments after some numbers of steps, and the rewards of all steps."""

    frames: dict[int, UInt8[Tensor, "M C H W"]]
    """By horizon."""
    reward: Float[Tensor, "M T"] | None = None
    """None from a baseline that predicts no rewards."""


def prediction_errors(
    truth: Dreams, dreams: Mapping[str, Dreams], median: UInt8[Tensor, "C H W"]
) -> PredictionErrors:
    """Return the squared errors of each model at each horizon."""
    errors = PredictionErrors()
    for name, dream in dreams.items():
        for h, predicted in dream.frames.items():
            errors.add(name, h, predicted, truth.frames[h], median)
    return errors


def measure_dreams(
    truth: Dreams,
    dreams: Mapping[str, Dreams],
    median: UInt8[Tensor, "C H W"],
    *,
    game: str,
    quality: Mapping[str, FrameMeasure],
    report: Callable[[str], object] = lambda text: None,
) -> dict[str, Any]:
    """Return the measures of each model's dreams beyond the squared error, as a table for JSON.

    By measure, model and horizon: ``quality``, the mean over frames of each of these measures;
    ``two_sample``, of a classifier of true and predicted frames; ``objects``, the share of lost
    objects by name; ``frechet``, the distance in random features, in units of their mean variance
    over real frames; ``returns``, sums of rewards up to the horizon beside the recorded ones.
    ``report`` is called with what is measured next.
    """
    table: dict[str, Any] = {
        "features": FEATURES,
        "quality": {name: {} for name in quality},
        "two_sample": {},
        "objects": {name: {} for name in (ANY, *NAMED_OBJECTS.get(game, {}))},
        "frechet": {},
        "returns": {},
    }
    real_features = {h: random_features(x, median) for h, x in truth.frames.items()}
    for name, dream in dreams.items():
        report(f"the dreams of {name} are measured")
        for h, predicted in dream.frames.items():
            key, real = str(h), truth.frames[h]
            for measure, function in quality.items():
                value = _mean(function, real, predicted)
                table["quality"][measure].setdefault(name, {})[key] = value
            table["two_sample"].setdefault(name, {})[key] = _two_sample(real, predicted)
            lost = lost_objects(real, predicted, median, game=game)
            for kind, rows in table["objects"].items():
                rows.setdefault(name, {})[key] = {
                    "lost": lost.share(kind),
                    "erased": lost.erased[kind],
                    "displaced": lost.displaced[kind],
                    "present": lost.present[kind],
                }
            distance = _frechet(real_features[h], random_features(predicted, median))
            table["frechet"].setdefault(name, {})[key] = distance
            if dream.reward is not None and truth.reward is not None:
                sums = (x[:, :h].double().sum(1) for x in (dream.reward, truth.reward))
                table["returns"].setdefault(name, {})[key] = compare_returns(*sums)
    return table


def _mean(
    function: FrameMeasure, real: UInt8[Tensor, "M C H W"], predicted: UInt8[Tensor, "M C H W"]
) -> float:
    """Return the mean of a measure over frames, of infinite ones as ``LARGEST``."""
    pairs = zip(torch.split(real, CHUNK), torch.split(predicted, CHUNK), strict=True)
    values = torch.cat([function(x, y) for x, y in pairs]).double()
    return float(values.clamp(max=LARGEST).mean())


def _frechet(real: Float[Tensor, "M D"], predicted: Float[Tensor, "M D"]) -> float | None:
    """Return the distance in units of a feature's mean variance; None for a single frame."""
    if len(real) < 2:
        return None
    unit = float(real.var(0).mean().sqrt()) or 1.0
    return frechet_distance(real / unit, predicted / unit)


def _two_sample(
    real: UInt8[Tensor, "M C H W"], predicted: UInt8[Tensor, "M C H W"]
) -> dict[str, Any] | None:
    """Return how well a classifier tells predicted from true frames; None for too few.

    It is trained on the first half of the segments, in the order of their start, and tested on the
    second. Larger frames are reduced to ``SIDE`` by means over areas.
    """
    if len(real) < LEAST_PAIRS:
        return None
    size = [min(SIDE, x) for x in real.shape[2:]]
    reduced = (interpolate(x.float(), size=size, mode="area") for x in (real, predicted))
    test = two_sample_test(*reduced, paired=True)
    return asdict(test) | {"accuracy": test.accuracy, "log_bayes_factor": test.log_bayes_factor}
