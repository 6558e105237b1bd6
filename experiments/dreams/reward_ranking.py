"""Predicted rewards and ends beside the recorded ones: ranks of rare events, means, and returns."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from scipy.special import ndtri
from torch import Tensor

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class RankedEvents:
    """How well a score ranks events above other steps."""

    auc: float | None
    """Probability that an event has a higher score than another step, a tie half; None without an
    event, or if every step is one."""
    low: float | None
    high: float | None
    """Ends of the AUC's 95% interval; None if the AUC is, and with one event or one other step."""
    events: int
    steps: int
    mean_predicted: float
    mean_true: float
    """Means over all steps, which agree if predictions are calibrated on average."""


def rank_auc(
    score: Float[Tensor, " M"], event: Bool[Tensor, " M"]
) -> tuple[float, float | None, float | None] | None:
    """Return the area under the ROC curve and its 95% interval, from ranks.

    None without an event, or if every step is one. The interval is DeLong's (DeLong et al. 1988),
    of the placements of the m events among the n other steps; without it for m or n of 1. Where
    the two are ranked apart without an error that would be empty, and its end is that of
    min(m, n) successes without a failure, (1 - 0.95) / 2 to the power of 1 / min(m, n). Steps
    count as independent.
    """
    from scipy.stats import rankdata  # slow to import

    m, n = int(event.sum()), int((~event).sum())
    if not m or not n:
        return None
    is_event, scores = event.numpy(), score.double().numpy()
    ranks = rankdata(scores)  # mean ranks of ties
    of_events = (ranks[is_event] - rankdata(scores[is_event])) / n
    of_others = 1 - (ranks[~is_event] - rankdata(scores[~is_event])) / m
    auc = float(of_events.mean())
    if min(m, n) < 2:
        return auc, None, None
    if auc in (0.0, 1.0):
        bound = ((1 - CONFIDENCE) / 2) ** (1 / min(m, n))
        return (auc, bound, 1.0) if auc else (auc, 0.0, 1 - bound)
    error = math.sqrt(of_events.var(ddof=1) / m + of_others.var(ddof=1) / n)
    margin = float(ndtri((1 + CONFIDENCE) / 2)) * error
    return auc, max(0.0, auc - margin), min(1.0, auc + margin)


def ranked_events(
    reward: Float[Tensor, " M"],
    discount: Float[Tensor, " M"],
    true_reward: Float[Tensor, " M"],
    true_discount: Float[Tensor, " M"],
) -> dict[str, dict[str, Any]]:
    """Return how predictions of one step rank positive and negative rewards, and terminations.

    A positive reward is scored by the predicted reward, a negative one by its negative, and a
    termination by one minus the predicted discount.
    """
    kinds = {
        "positive reward": (reward, true_reward, true_reward > 0),
        "negative reward": (-reward, true_reward, true_reward < 0),
        "termination": (1 - discount, 1 - true_discount, true_discount == 0),
    }
    table = {}
    for name, (score, truth, event) in kinds.items():
        auc, low, high = rank_auc(score, event) or (None, None, None)
        predicted = -score if name == "negative reward" else score
        means = float(predicted.double().mean()), float(truth.double().mean())
        table[name] = asdict(RankedEvents(auc, low, high, int(event.sum()), len(event), *means))
    return table


def compare_returns(
    imagined: Float[Tensor, " M"], real: Float[Tensor, " M"]
) -> dict[str, float | None]:
    """Return the bias of imagined returns, their correlation with the real ones, and both means.

    The correlation is None where one of the two is constant.
    """
    x, y = imagined.double(), real.double()
    constant = bool((x == x[0]).all() or (y == y[0]).all())
    correlation = None if constant else float(torch.corrcoef(torch.stack([x, y]))[0, 1])
    return {
        "correlation": correlation,
        "bias": float((x - y).mean()),
        "mean_imagined": float(x.mean()),
        "mean_real": float(y.mean()),
    }
