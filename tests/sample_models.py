"""Generative models for tests, and the frames and segments they learn from."""

from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.interface import Carry, Segment, Stateful
from reverie.envs.maze import MazeConfig
from reverie.world_models.density import DENSITIES
from reverie.world_models.interface import (
    DensityConfig,
    PlannerConfig,
    Prediction,
    Predictor,
    start_predictor,
)
from reverie.world_models.latents import LATENTS
from reverie.world_models.latents.interface import LatentConfig
from reverie.world_models.prediction.imagination import Imagination

DENSITY_EXAMPLES: dict[str, DensityConfig] = {
    name: (entry() if isinstance(entry, type) else entry).example()
    for name, entry in DENSITIES.items()
}
"""Every density by name, with the settings of its laws; one of a latent-variable model once more
for each other model."""
DENSITY_EXAMPLES |= {
    f"{name}-{latent}": replace(config, latent=kind()).example()  # type: ignore[call-arg]
    for name, config in DENSITY_EXAMPLES.items()
    if isinstance(part := getattr(config, "latent", None), LatentConfig)
    for latent, kind in LATENTS.items()
    if kind is not type(part)
}


def random_frames(
    n: int, shape: tuple[int, int] = (2, 2), levels: int = 3, seed: int = 0
) -> Tensor:
    """Return frames far from uniform: most symbols equal their left neighbor."""
    prng = torch.Generator().manual_seed(seed)
    x = torch.randint(levels, (n, *shape), generator=prng, dtype=torch.uint8)
    keep = torch.rand(n, *shape, generator=prng) < 0.6
    for column in range(1, shape[1]):
        x[..., column] = torch.where(keep[..., column], x[..., column - 1], x[..., column])
    return x


def flat(state: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested state as a flat dict, for comparison."""
    if not isinstance(state, dict | list | tuple):
        return {prefix: state}
    items = state.items() if isinstance(state, dict) else enumerate(state)
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}.{key}").items()}


def assert_same_state(a: Stateful, b: Stateful) -> None:
    torch.testing.assert_close(flat(a.state_dict()), flat(b.state_dict()), rtol=0, atol=0)


def planner_features(
    config: PlannerConfig, timesteps: int, n: int = 8, seed: int = 1, width: int = 6
) -> Tensor:
    """Return random features [T N D]; for a privileged reference those of walks in mazes."""
    if not config.needs_privileged:
        return torch.randn(timesteps, n, width, generator=torch.Generator().manual_seed(seed))
    envs = BatchedEnv(MazeConfig(rooms=3, loops=0.5).build(n), seed=seed)
    columns = config.privileged_columns(envs.spec.privileged)
    walks = islice(interact(envs, RandomPolicy(envs.spec.num_actions, seed)), timesteps)
    return torch.stack([t.step.columns()["privileged"][:, columns] for t in walks]).float()


OBS_SHAPE, NUM_ACTIONS = (2, 24, 28), 3  # two gray frames


def segment(
    batch: int, timesteps: int, shape: tuple[int, int, int] = OBS_SHAPE, seed: int = 0
) -> Segment:
    """An env in which a bright square moves by the action, and the reward is its position."""
    generator = torch.Generator().manual_seed(seed)
    action = torch.randint(NUM_ACTIONS, (batch, timesteps), generator=generator)
    begin = torch.randint(4, shape[2] - 8, (batch, 1), generator=generator)
    position = torch.cat([begin, begin + (action - 1).cumsum(1)], 1).clamp(0, shape[2] - 4)
    columns = torch.arange(shape[2])
    inside = (columns >= position[..., None]) & (columns < position[..., None] + 4)  # [B T+1 W]
    frame = (inside[:, :, None, :] & (torch.arange(shape[1]) < 4)[:, None]).to(torch.uint8) * 200
    older = torch.cat([frame[:, :1], frame[:, :-1]], 1)
    obs = torch.stack([older, frame], 2) if shape[0] == 2 else frame[:, :, None]
    reward = position[:, 1:] / 10
    never = torch.zeros(batch, timesteps + 1, dtype=torch.bool)
    return Segment(
        action=action, obs=obs, reward=reward, bonus=torch.zeros_like(reward),
        discount=(position[:, 1:] > 5).float(), first=never, last=never,
    )  # fmt: skip


def still_segment(obs: Tensor, timesteps: int, seed: int = 0) -> Segment:
    """Segments in which nothing moves; each timestep has a reward of -1, 0 or 1, or is a death."""
    generator = torch.Generator().manual_seed(seed)
    shape = len(obs), timesteps
    action = torch.randint(NUM_ACTIONS, shape, generator=generator)
    reward = torch.randint(-1, 2, shape, generator=generator).float()
    never = torch.zeros(len(obs), timesteps + 1, dtype=torch.bool)
    return Segment(
        action=action, obs=torch.stack([obs] * (timesteps + 1), 1), reward=reward,
        bonus=torch.zeros_like(reward), discount=(reward > -1).float(), first=never, last=never,
    )  # fmt: skip


def coin_flips(count: int, seed: int) -> Segment:
    """Equal observations, after each of which the frame is dark or bright with probability 1/2."""
    generator = torch.Generator().manual_seed(seed)
    bright = torch.randint(2, (count,), generator=generator).to(torch.uint8) * 200
    obs = torch.full((count, 2, 1, 4, 4), 100, dtype=torch.uint8)
    obs[:, 1] = bright[:, None, None, None]
    zeros, never = torch.zeros(count, 1), torch.zeros(count, 2, dtype=torch.bool)
    return Segment(zeros.long(), obs, zeros, zeros, zeros + 1, never, never)


def first_context(segment: Segment) -> Segment:
    """The first observation of a segment, as a context."""
    empty = torch.zeros(len(segment.obs), 0)
    return Segment(
        action=empty.long(), obs=segment.obs[:, :1], reward=empty, bonus=empty,
        discount=empty, first=segment.first[:, :1], last=segment.last[:, :1],
    )  # fmt: skip


def start(predictor: Predictor, context: Segment) -> Carry:
    """The predictor's state at the end of a segment."""
    snapshot = None if context.snapshot is None else context.snapshot[:, -1]
    return start_predictor(predictor, context.obs, context.action, context.first, snapshot)


SMALL_SHAPE = (1, 2, 3)


class CountingPredictor:
    """The first pixel counts steps, the second is the action, and so is the reward."""

    obs_shape, channels, num_actions, context, batch_shape = SMALL_SHAPE, 1, 3, 1, (1, 1)

    def __init__(self, termination: float = 0.0) -> None:
        self.termination = termination

    def start(self, obs: Tensor, action: Tensor, first: Tensor) -> Carry:
        return {"obs": obs[:, -1]}

    def predict(self, carry: Carry, action: Tensor) -> tuple[Prediction, Carry]:
        obs = carry["obs"].clone()
        obs[:, 0, 0, 0] += 1
        obs[:, 0, 0, 1] = action.to(torch.uint8)
        discount = torch.full((len(obs),), 1 - self.termination)
        return Prediction(obs, action.float(), discount), {"obs": obs}

    def update(self, segment: Segment) -> dict[str, Any]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def starts(count: int = 5) -> Segment:
    """Contexts of one observation, whose last pixel is their index."""
    context = first_context(segment(count, 1, (1, 24, 28)))
    obs = torch.zeros(count, 1, *SMALL_SHAPE, dtype=torch.uint8)
    obs[:, 0, 0, -1, -1] = torch.arange(count)
    return replace(context, obs=obs)


def imagination(num_envs: int = 4, termination: float = 0.0, **options: Any) -> Imagination:
    predictor = CountingPredictor(termination)
    return Imagination(predictor, starts(), num_envs, **{"horizon": 6} | options)
