"""The only agent-environment loop: training, evaluation, pretraining and dreaming iterate it."""

from collections.abc import Iterator
from itertools import accumulate, count

import torch
from jaxtyping import Int64
from torch import Tensor

from ..envs.batched_env import BatchedEnv
from ..envs.interface import Carry, TimeStep, Transition, concat_timesteps
from ..envs.pipeline import Pipeline
from .interface import Policy


def interact(
    envs: BatchedEnv | Pipeline,
    policy: Policy,
    *,
    explore: bool = True,
    start: tuple[TimeStep, Carry] | None = None,
    sync_every: int = 1,
    timestep: int = 0,
) -> Iterator[Transition]:
    """Yield the transitions of a policy in environments, without end.

    Logging, video, evaluation and checkpoints consume the iterator and never enter the loop::

        for t in islice(interact(envs, agent), 1000):
            metrics = agent.learn(t)

    ``start=(t.next_step, t.next_carry)`` continues after transition t; ``timestep`` is the number
    of timesteps before ``start``.

    With ``sync_every`` above 1 the next actions are chosen and sent, part by part of the pipeline
    as observations arrive, before the consumer learns from the current transition. At every
    ``sync_every``-th timestep no action is pending: there the loop can be restarted, and all
    actions of a rollout that ends there are chosen by one policy.
    """
    parts = envs.parts
    ends = list(accumulate(part.spec.num_envs for part in parts))
    slices = [slice(end - part.spec.num_envs, end) for part, end in zip(parts, ends, strict=True)]

    def act(part: BatchedEnv, step: TimeStep, carry: Carry) -> tuple[Int64[Tensor, " N"], Carry]:
        with torch.no_grad():
            action, next_carry = policy.act(step, carry, explore=explore)
        part.send(action)
        return action, next_carry

    if start is None:
        start = envs.reset(), policy.initial(envs.spec.num_envs)
    step, carry = start
    no_bonus = torch.zeros_like(step.reward)
    pending: list[tuple[Int64[Tensor, " N"], Carry]] = []
    for now in count(timestep + 1):
        if not pending:
            for part, rows in zip(parts, slices, strict=True):
                pending.append(act(part, *_select(step, carry, rows, len(parts))))
        next_steps: list[TimeStep] = []
        next_pending: list[tuple[Int64[Tensor, " N"], Carry]] = []
        for part, (_, part_carry) in zip(parts, pending, strict=True):
            next_steps.append(part.receive())
            if now % sync_every:
                next_pending.append(act(part, next_steps[-1], part_carry))
        next_step, next_carry = (
            concat_timesteps(next_steps),
            _join_carries([carry for _, carry in pending]),
        )
        action = torch.cat([action for action, _ in pending])
        yield Transition(step, carry, action, next_step, next_carry, no_bonus)
        step, carry, pending = next_step, next_carry, next_pending


def _select(step: TimeStep, carry: Carry, rows: slice, parts: int) -> tuple[TimeStep, Carry]:
    if parts == 1:
        return step, carry
    return step.select(rows), {name: x[rows] for name, x in carry.items()}


def _join_carries(carries: list[Carry]) -> Carry:
    if len(carries) == 1:
        return carries[0]
    return {name: torch.cat([carry[name] for carry in carries]) for name in carries[0]}
