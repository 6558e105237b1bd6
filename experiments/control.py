"""Do actions matter in imagination? The player's position after the same start and other actions.

The emulator is begun anew with the same seeds for every action, so that it plays the same moments;
from there one action is held, in the emulator and in imagination. The player's position is read
from the frames: the centre, in rows, of what is brighter than the game's median frame in the
columns in which it alone moves up and down (now and then something else passes: see the median).
"""

from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from agents.loop import interact
from agents.policies import RandomPolicy
from envs.interface import EnvConfig, Segment
from envs.stream import Stream
from world_models.interface import Predictor

BRIGHTER = 25
"""Grey levels above the median frame from which on a pixel is the player's."""
PLAYERS = {"freeway": (slice(12, 80), slice(23, 26)), "pong": (slice(14, 78), slice(73, 76))}
"""Rows and columns of the player in grey frames of 84 x 84."""


def player_row(
    frames: UInt8[Tensor, "B H W"], median: UInt8[Tensor, "H W"], place: tuple[slice, slice]
) -> Float[Tensor, " B"]:
    """The centre of the player's pixels, in rows; nan where there are none."""
    rows, columns = place
    above = frames[:, rows, columns].float() - median[rows, columns].float()
    weight = (above - BRIGHTER).clamp(min=0).sum(2)
    row = torch.arange(rows.start, rows.stop)
    return (weight * row).sum(1) / weight.sum(1)


@torch.no_grad()
def control(
    models: dict[str, Predictor],
    env: EnvConfig,
    median: UInt8[Tensor, "H W"],
    stack: int,
    *,
    seen: int,
    starts: int = 32,
    warm: int = 64,
    steps: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """Errors of the player's row after ``steps`` times the same action, in pixels, by model.

    ``reach`` is how far apart the emulator's own positions are: the mean over starts of the
    greatest less the smallest. Nothing is known of games that are not in ``PLAYERS``.
    """
    if env.title not in PLAYERS or median.shape != (84, 84):
        return {}
    place = PLAYERS[env.title]
    truths: list[Tensor] = []
    found: dict[str, list[Tensor]] = {name: [] for name in ("copy-last", *models)}
    actions = 1
    while len(truths) < actions:
        stream = Stream(env.build(starts, threads=1), seed=seed, purpose="eval")
        actions = stream.spec.num_actions
        held = torch.full((starts,), len(truths))
        looks: list[Tensor] = []
        for tick, t in enumerate(interact(stream, RandomPolicy(actions, seed)), 1):
            looks.append(t.next_step.frame)
            if tick == warm:
                break
        for _ in range(steps):
            frame = stream.step(held).frame
        stream.close()
        truths.append(player_row(frame[:, 0], median, place))
        context = _context(looks, seen, stack)
        found["copy-last"].append(player_row(looks[-1][:, 0], median, place))
        for name, model in models.items():
            state = model.start(context)
            for _ in range(steps):
                prediction, state = model.predict(state, held.to(state["obs"].device))
            found[name].append(player_row(prediction.obs[:, -1].cpu(), median, place))
    truth = torch.stack(truths)  # [A N]
    known = truth.isfinite().all(0)
    reach = (truth.amax(0) - truth.amin(0))[known].mean()
    table: dict[str, Any] = {"steps": steps, "starts": int(known.sum()), "reach": _short(reach)}
    for name, rows in found.items():
        error = (torch.stack(rows) - truth).abs()[:, known]
        seen_error = error[error.isfinite()]
        table[name] = {
            "mean": _short(seen_error.mean()) if len(seen_error) else None,
            "median": _short(seen_error.median()) if len(seen_error) else None,
            "lost": _short(error.isnan().float().mean()),
        }
    return table


def _context(looks: list[Tensor], seen: int, stack: int) -> Segment:
    """The last ``seen`` looks, each of ``stack`` frames; the actions between are not asked for."""
    frames = torch.cat(looks[-(seen + stack - 1) :], 1)  # [N, seen + stack - 1, H, W]
    obs = frames.unfold(1, stack, 1).movedim(-1, 2).contiguous()
    nothing = torch.zeros(len(obs), seen - 1)
    never = torch.zeros(len(obs), seen, dtype=torch.bool)
    idle: Int64[Tensor, "N T"] = nothing.long()
    return Segment(idle, obs, nothing, nothing, nothing, never, never, {})


def _short(x: Tensor) -> float:
    return round(float(x), 3)
