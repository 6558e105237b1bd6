"""The only agent-environment loop: training, evaluation, pretraining and dreaming iterate it."""

from collections.abc import Iterator
from itertools import accumulate, count

import torch

from ..envs.batched_env import BatchedEnv
from ..envs.interface import Carry, TimeStep, Transition, concat_timesteps
from .interface import ActOutput, Policy


def interact(
    envs: BatchedEnv,
    policy: Policy,
    *,
    explore: bool = True,
    start: tuple[TimeStep, Carry] | None = None,
    sync_every: int = 1,
    timestep: int = 0,
) -> Iterator[Transition]:
    """Yield the transitions of a policy in environments, without end.

    Logging, video, evaluation and checkpoints consume the iterator and never enter the loop.
    ``start=(t.next_step, t.next_carry)`` continues after transition t; ``timestep`` is the number
    of timesteps before ``start``.

    With ``sync_every`` above 1 the next actions are chosen and sent, part by part of the pipeline
    as observations arrive, before the consumer learns from the current transition. At every
    ``sync_every``-th timestep no action is pending: there the loop can be restarted, and all
    actions of a rollout that ends there are chosen by one policy.

    Example::

        from itertools import islice
        from reverie.agents.dqn import DQNConfig
        from reverie.agents.loop import interact
        from reverie.envs.batched_env import BatchedEnv
        from reverie.envs.catch import CatchConfig

        envs = BatchedEnv(CatchConfig().build(8), seed=0)
        agent = DQNConfig(buffer_size=10_000).build(envs.spec)
        for t in islice(interact(envs, agent), 100):
            metrics = agent.learn(t)
    """
    parts = envs.parts
    ends = list(accumulate(part.spec.num_envs for part in parts))
    slices = [slice(end - part.spec.num_envs, end) for part, end in zip(parts, ends, strict=True)]

    def act(part: BatchedEnv, step: TimeStep, carry: Carry) -> ActOutput:
        with torch.no_grad():
            output = policy.act(step, carry, explore=explore)
        if output.returns is not None:
            part.return_to(*output.returns)
        part.send(output.action)
        return output

    if start is None:
        start = envs.reset(), policy.initial(envs.spec.num_envs)
    step, carry = start
    no_bonus = torch.zeros_like(step.discount)
    pending: list[ActOutput] = []
    for now in count(timestep + 1):
        if not pending:
            for part, rows in zip(parts, slices, strict=True):
                pending.append(act(part, *_select(step, carry, rows, len(parts))))
        next_steps: list[TimeStep] = []
        next_pending: list[ActOutput] = []
        for part, output in zip(parts, pending, strict=True):
            next_steps.append(part.receive())
            if now % sync_every:
                next_pending.append(act(part, next_steps[-1], output.carry))
        next_step, taken = concat_timesteps(next_steps), _concat_outputs(pending)
        yield Transition(step, carry, taken.action, taken.extras, next_step, taken.carry, no_bonus)
        step, carry, pending = next_step, taken.carry, next_pending


def _select(step: TimeStep, carry: Carry, rows: slice, parts: int) -> tuple[TimeStep, Carry]:
    if parts == 1:
        return step, carry
    return step.select(rows), {name: x[rows] for name, x in carry.items()}


def _concat_outputs(outputs: list[ActOutput]) -> ActOutput:
    first = outputs[0]
    if len(outputs) == 1:
        return first
    return ActOutput(
        torch.cat([x.action for x in outputs]),
        {name: torch.cat([x.carry[name] for x in outputs]) for name in first.carry},
        {name: torch.cat([x.extras[name] for x in outputs]) for name in first.extras},
    )
