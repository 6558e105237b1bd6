"""Open-loop predictions of recorded segments, and predictions of single recorded steps."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ...envs.interface import Segment
from ...world_models.interface import Prediction, Predictor
from ..dreams.dream_measures import COPY_LAST, Dreams
from .dataset import Recording

HORIZONS = (1, 5, 10, 30, 50, 100)
CONTEXT_LENGTH = 11
"""Observations that a predictor receives before the first prediction, as for recurrent nets; fewer
where episodes are short."""
CHUNK = 32
"""Segments per minibatch."""
STEPS = 256
"""Single steps per minibatch."""


def dream(
    models: Mapping[str, Predictor],
    recording: Recording,
    starts: Int64[Tensor, " M"],
    stack: int,
    horizons: tuple[int, ...],
) -> tuple[Dreams, dict[str, Dreams]]:
    """Return the recorded future of context segments, and what each model predicts of it.

    The models are named; ``copy-last`` repeats the last frame of each context, which is that of
    ``starts``.
    """
    longest = max(horizons)
    future = future_rows(recording, starts, longest)
    reward = recording.columns["reward"][future[:, :-1]].float()
    last = recording.frames(future[:, 0])
    truth = Dreams({h: recording.frames(future[:, h]) for h in horizons}, reward)
    dreams = {COPY_LAST: Dreams(dict.fromkeys(horizons, last))}
    for name, model in models.items():
        frames: dict[int, list[Tensor]] = {h: [] for h in horizons}
        rewards: list[Tensor] = []
        for rows in torch.split(starts, CHUNK):
            steps: list[Tensor] = []
            for h, prediction in enumerate(predictions(model, recording, rows, stack, longest), 1):
                steps.append(prediction.reward.float().cpu())
                if h in horizons:
                    frames[h].append(newest_frame(prediction, recording))
            rewards.append(torch.stack(steps, 1))
        dreams[name] = Dreams({h: torch.cat(x) for h, x in frames.items()}, torch.cat(rewards))
    return truth, dreams


def future_rows(
    recording: Recording, rows: Int64[Tensor, " B"], num_steps: int
) -> Int64[Tensor, "B T"]:
    """Return these rows, and the ``num_steps`` after each."""
    return rows[:, None] + recording.columns["stride"][rows][:, None] * torch.arange(num_steps + 1)


def context_before(
    recording: Recording, rows: Int64[Tensor, " B"], stack: int, length: int
) -> Segment:
    """Return the segments of ``length`` observations that end at these rows.

    Where the episode has fewer, its first observation is repeated, and each is marked as the first.
    """
    back, step = torch.arange(length - 1, -1, -1), recording.columns["episode_step"][rows]
    stride = recording.columns["stride"][rows][:, None]
    index = rows[:, None] - torch.minimum(back, step[:, None]) * stride
    before: dict[str, Any] = {
        x: recording.columns[x][index[:, :-1]] for x in ("action", "reward", "discount")
    }
    first = recording.columns["first"][index]
    return Segment(
        **before,
        obs=recording.observations(index, stack),
        bonus=torch.zeros_like(before["reward"]),
        first=first,
        last=torch.zeros_like(first),
    )


@torch.no_grad()
def predictions(
    model: Predictor, recording: Recording, rows: Int64[Tensor, " B"], stack: int, num_steps: int
) -> Iterator[Prediction]:
    """Yield the predictions after the observations at ``rows``, for recorded actions."""
    context = context_before(recording, rows, stack, CONTEXT_LENGTH)
    carry = model.start(context.obs, context.action, context.first)
    future = future_rows(recording, rows, num_steps)[:, :-1]
    for action in recording.columns["action"][future].long().to(carry["obs"].device).unbind(1):
        prediction, carry = model.predict(carry, action)
        yield prediction


def newest_frame(prediction: Prediction, recording: Recording) -> UInt8[Tensor, "B C H W"]:
    """Return the newest predicted frames."""
    return prediction.obs[:, -recording.frame_shape[0] :].cpu()


@torch.no_grad()
def single_steps(
    model: Predictor, recording: Recording, rows: Int64[Tensor, " M"], stack: int
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Return the rewards and discounts that are predicted of the steps from ``rows`` on.

    The model receives the recorded observations up to each row, as many as it starts from.
    """
    rewards, discounts = [], []
    for chunk in torch.split(rows, STEPS):
        context = context_before(recording, chunk, stack, model.context)
        carry = model.start(context.obs, context.action, context.first)
        action = recording.columns["action"][chunk].long().to(carry["obs"].device)
        prediction, _ = model.predict(carry, action)
        rewards.append(prediction.reward.float().cpu())
        discounts.append(prediction.discount.float().cpu())
    return torch.cat(rewards), torch.cat(discounts)


def median_frame(recording: Recording, rows: Int64[Tensor, " M"]) -> UInt8[Tensor, "C H W"]:
    """Return the per-pixel median of up to 501 of these frames."""
    return recording.frames(evenly_spaced(rows, 501)).median(0).values


def evenly_spaced(rows: Int64[Tensor, " M"], count: int) -> Int64[Tensor, " m"]:
    """Return up to ``count`` of the rows, evenly spaced."""
    return rows[torch.linspace(0, len(rows) - 1, min(count, len(rows))).long()]
