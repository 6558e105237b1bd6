"""Count fidelity: whether the pseudo-counts of a density order states as their true visits do."""

import math

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...agents.bonuses.density_bonus import PseudoCountConfig
from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...envs.batched_env import BatchedEnv
from ...envs.deep_sea import DeepSeaConfig
from ...envs.errors import RunError
from ...world_models.density.capabilities import TrainableDensity
from .subject import Cell, Subject, of_frames

SIZE = 10
"""Rows and columns of the sea."""


def count_fidelity(subject: Subject) -> Cell:
    """Return the rank correlation of pseudo-counts and true visits, over the states of DeepSea.

    An untrained density of the same settings observes the frames of random play one by one, as in a
    bonus. Then each visited state is observed once more, and has the pseudo-count of that moment:
    by the decayed gain for a density that takes gradient steps, else by both probabilities.
    """
    from scipy.stats import spearmanr  # slow to import

    envs = BatchedEnv(DeepSeaConfig(size=SIZE).build(1), seed=subject.job.seed)
    trains = isinstance(subject.density(), TrainableDensity)
    config = PseudoCountConfig(
        subject.job.density, form="gain" if trains else "bellemare", resolution=SIZE, levels=2
    )
    bonus = config.build(envs.spec, seed=subject.job.seed)
    visits: dict[tuple[int, ...], int] = {}
    frames: dict[tuple[int, ...], UInt8[Tensor, "1 1 h w"]] = {}
    policy = RandomPolicy(envs.spec.num_actions, subject.job.seed)
    played, most = 0, subject.sizes.visits
    for rows, t in zip(subject.in_time(most, 1), interact(envs, policy), strict=False):
        played = rows.stop
        if t.valid.all():
            step = t.next_step
            assert step.privileged is not None
            state = tuple(step.privileged[0].tolist())
            visits[state] = visits.get(state, 0) + 1
            frames[state] = step.frame
            bonus.density.observe(step.frame)
    counts = [float(bonus.count(*bonus.density.observe(frame))) for frame in frames.values()]
    finite = torch.tensor(counts).nan_to_num(posinf=torch.finfo(torch.float32).max)
    correlation = float(spearmanr(finite.numpy(), [*visits.values()]).statistic)
    if math.isnan(correlation):
        raise RunError("too few frames")
    numbers = {"rank_correlation": correlation, "states": len(visits), "frames": played}
    return Cell(f"{correlation:.2f}" + of_frames(played, most), numbers)
