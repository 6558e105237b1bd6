"""Data parallel training: one run in several processes, which ``torchrun`` starts.

Each rank plays its share of the envs, and all of them make the updates that one process would make
with all envs. The first rank writes the run folder and the messages.
"""

from dataclasses import replace
from typing import Any

from ...agents.interface import Agent
from ...envs.errors import UsageError
from ...envs.interface import TimeStep, Transition
from ...envs.ranks import DataParallel, Ranks
from ..config.experiment import Experiment
from .options import TrainOptions


def data_parallel(
    agent: Agent, experiment: Experiment, options: TrainOptions, ranks: Ranks
) -> Agent:
    """Return the agent of a rank; raises UsageError for what several processes cannot train."""
    name = type(experiment.agent).__name__.removesuffix("Config")
    alone = "or train in one process, without torchrun"
    if not isinstance(agent, DataParallel):
        raise UsageError(
            f"The agent {name} learns in one process: it has no rollout whose updates several "
            f"processes could share; choose ppo or pqn, {alone}."
        )
    refused = {
        "init_from": (experiment.init_from is not None, "the start from a trained agent"),
        "resume": (options.resume == "fresh-episodes", "the start of new episodes"),
        "count_rooms": (options.count_rooms, "the count of rooms"),
        "count_states": (options.count_states, "the count of observations"),
    }
    for field, (is_set, what) in refused.items():
        if is_set:
            raise UsageError(
                f"{what.capitalize()} needs all envs in one process; leave out "
                f"--{field.replace('_', '-')}, {alone}."
            )
    agent.ranks = ranks
    return agent


def gather_transition(t: Transition, ranks: Ranks) -> Transition:
    """Return a transition of the envs of all ranks, without carries and extras."""
    if ranks.alone:
        return t
    step, next_step = (_gather_step(x, ranks) for x in (t.step, t.next_step))
    action, bonus = ranks.gather(t.action), ranks.gather(t.bonus)
    return replace(
        t, step=step, carry={}, action=action, extras={}, next_step=next_step, next_carry={},
        bonus=bonus,
    )  # fmt: skip


def _gather_step(step: TimeStep, ranks: Ranks) -> TimeStep:
    columns: dict[str, Any] = {name: ranks.gather(x) for name, x in step.columns().items()}
    return replace(step, **columns)
