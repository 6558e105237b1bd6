"""Action sensitivity of predictors: the player's position after different actions from one start.

For every action the emulator restarts with the same seeds and random actions, so that it reaches
the same states; from there the action is repeated, in the emulator and in the predictor. The
player's position is read from the frames: the center, in rows, of the pixels brighter than the
game's median frame, in columns where usually only the player moves (hence the median error, too).
"""

from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...envs import prng
from ...envs.atari.atari import AtariConfig
from ...envs.batched_env import BatchedEnv
from ...envs.interface import EnvConfig
from ...world_models.interface import Predictor
from ..dreams.dream_measures import COPY_LAST

BRIGHTNESS_MARGIN = 25
"""Gray levels above the median frame from which on a pixel is the player's."""
PLAYER_REGIONS = {
    "freeway": (slice(12, 80), slice(23, 26)),
    "pong": (slice(14, 78), slice(73, 76)),
}
"""Rows and columns of the player in gray frames of 84 x 84."""


@torch.no_grad()
def action_sensitivity(
    models: dict[str, Predictor],
    env: EnvConfig,
    median: UInt8[Tensor, "H W"],
    stack: int,
    *,
    context_length: int,
    num_starts: int = 32,
    warmup: int = 64,
    num_steps: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """Return each model's error of the player's row after ``num_steps`` equal actions, in pixels.

    ``errors`` holds by model the mean and median over starts and actions of predictions that show a
    player; ``lost`` is the share of the others. ``spread`` is the mean over starts of the largest
    distance between the emulator's rows under different actions. Empty for games not in
    ``PLAYER_REGIONS``.
    """
    if not (isinstance(env, AtariConfig) and env.game in PLAYER_REGIONS and env.protocol.grayscale):
        return {}
    if median.shape != (84, 84):
        return {}
    region = PLAYER_REGIONS[env.game]
    env = replace(env, protocol=replace(env.protocol, stack=stack))
    true_rows: list[Tensor] = []
    predicted_rows: dict[str, list[Tensor]] = {name: [] for name in (COPY_LAST, *models)}
    num_actions = 1
    while len(true_rows) < num_actions:
        envs = BatchedEnv(env.build(num_starts, threads=1), seed=seed, purpose=prng.Purpose.EVAL)
        num_actions = envs.spec.num_actions
        action = torch.full((num_starts,), len(true_rows))
        transitions = list(islice(interact(envs, RandomPolicy(num_actions, seed)), warmup))
        for _ in range(num_steps):
            frame = envs.step(action).frame
        envs.close()
        true_rows.append(player_row(frame[:, 0], median, region))
        context = transitions[-context_length:]
        obs = torch.stack([t.next_step.obs for t in context], 1)
        first = torch.stack([t.next_step.first for t in context], 1)
        actions = torch.stack([t.action for t in context], 1)[:, 1:]
        predicted_rows[COPY_LAST].append(player_row(obs[:, -1, -1], median, region))
        for name, model in models.items():
            carry = model.start(obs, actions, first)
            for _ in range(num_steps):
                prediction, carry = model.predict(carry, action.to(carry["obs"].device))
            row = player_row(prediction.obs[:, -1].cpu(), median, region)
            predicted_rows[name].append(row)
    truth = torch.stack(true_rows)  # [A N]
    visible = truth.isfinite().all(0)
    spread = (truth.amax(0) - truth.amin(0))[visible].mean()
    errors: dict[str, dict[str, float | None]] = {}
    for name, rows in predicted_rows.items():
        error = (torch.stack(rows) - truth).abs()[:, visible]
        lost = error.isnan().float().mean()
        values = {"mean": error.nanmean(), "median": error.nanmedian(), "lost": lost}
        errors[name] = {key: _rounded(x) for key, x in values.items()}
    return {
        "timesteps": num_steps,
        "num_starts": int(visible.sum()),
        "spread": _rounded(spread),
        "errors": errors,
    }


def player_row(
    frames: UInt8[Tensor, "B H W"], median: UInt8[Tensor, "H W"], region: tuple[slice, slice]
) -> Float[Tensor, " B"]:
    """Return the center of the player's pixels, in rows; nan if there are none."""
    rows, columns = region
    above_median = frames[:, rows, columns].float() - median[rows, columns].float()
    weight = (above_median - BRIGHTNESS_MARGIN).clamp(min=0).sum(2)
    row = torch.arange(rows.start, rows.stop)
    return (weight * row).sum(1) / weight.sum(1)


def _rounded(x: Tensor) -> float | None:
    return None if bool(x.isnan()) else round(float(x), 3)
