"""Action sensitivity of predictors: the player's position after different actions from one start.

For every action the emulator restarts with the same seeds and random actions, so that it reaches
the same states; from there the action is repeated, in the emulator and in the predictor. The
player's position is read from the frames: the center, in rows, of the pixels brighter than the
game's median frame, in columns where usually only the player moves (hence the median error, too).
"""

from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...envs.batched_env import BatchedEnv
from ...envs.interface import EnvConfig, Segment
from ...world_models.interface import Predictor

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

    The errors are the mean and median over starts and actions of predictions that show a player;
    ``lost`` is the share of the others. ``spread`` is the mean over starts of the largest distance
    between the emulator's rows under different actions. Empty for games not in ``PLAYER_REGIONS``.
    """
    if env.env_name not in PLAYER_REGIONS or median.shape != (84, 84):
        return {}
    region = PLAYER_REGIONS[env.env_name]
    true_rows: list[Tensor] = []
    predicted_rows: dict[str, list[Tensor]] = {name: [] for name in ("copy-last", *models)}
    num_actions = 1
    while len(true_rows) < num_actions:
        envs = BatchedEnv(env.build(num_starts, threads=1), seed=seed, purpose="eval")
        num_actions = envs.spec.num_actions
        action = torch.full((num_starts,), len(true_rows))
        frames: list[Tensor] = []
        for timestep, t in enumerate(interact(envs, RandomPolicy(num_actions, seed)), 1):
            frames.append(t.next_step.frame)
            if timestep == warmup:
                break
        for _ in range(num_steps):
            frame = envs.step(action).frame
        envs.close()
        true_rows.append(player_row(frame[:, 0], median, region))
        context = _context(frames, context_length, stack)
        predicted_rows["copy-last"].append(player_row(frames[-1][:, 0], median, region))
        for name, model in models.items():
            carry = model.start(context)
            for _ in range(num_steps):
                prediction, carry = model.predict(carry, action.to(carry["obs"].device))
            row = player_row(prediction.obs[:, -1].cpu(), median, region)
            predicted_rows[name].append(row)
    truth = torch.stack(true_rows)  # [A N]
    visible = truth.isfinite().all(0)
    spread = (truth.amax(0) - truth.amin(0))[visible].mean()
    table: dict[str, Any] = {
        "timesteps": num_steps,
        "num_starts": int(visible.sum()),
        "spread": _rounded(spread),
    }
    for name, rows in predicted_rows.items():
        error = (torch.stack(rows) - truth).abs()[:, visible]
        finite_error = error[error.isfinite()]
        table[name] = {
            "mean": _rounded(finite_error.mean()) if len(finite_error) else None,
            "median": _rounded(finite_error.median()) if len(finite_error) else None,
            "lost": _rounded(error.isnan().float().mean()),
        }
    return table


def player_row(
    frames: UInt8[Tensor, "B H W"], median: UInt8[Tensor, "H W"], region: tuple[slice, slice]
) -> Float[Tensor, " B"]:
    """Return the center of the player's pixels, in rows; nan if there are none."""
    rows, columns = region
    above_median = frames[:, rows, columns].float() - median[rows, columns].float()
    weight = (above_median - BRIGHTNESS_MARGIN).clamp(min=0).sum(2)
    row = torch.arange(rows.start, rows.stop)
    return (weight * row).sum(1) / weight.sum(1)


def _context(frames: list[Tensor], context_length: int, stack: int) -> Segment:
    """Return the last observations, each of ``stack`` frames; actions are zeros."""
    recent = torch.cat(frames[-(context_length + stack - 1) :], 1)
    obs = recent.unfold(1, stack, 1).movedim(-1, 2).contiguous()
    zeros = torch.zeros(len(obs), context_length - 1)
    false = torch.zeros(len(obs), context_length, dtype=torch.bool)
    no_action: Int64[Tensor, "N T"] = zeros.long()
    return Segment(no_action, obs, zeros, zeros, zeros, false, false, {})


def _rounded(x: Tensor) -> float:
    return round(float(x), 3)
