"""The only loop: training, evaluation, pre-training and dreaming all consume its iterator."""

from collections.abc import Iterator
from itertools import accumulate, count

import torch
from jaxtyping import Int64
from torch import Tensor

from agents.interface import Policy
from envs.interface import Memory, Step, Transition, join
from envs.pipeline import Pipeline
from envs.stream import Stream


def interact(
    stream: Stream | Pipeline,
    policy: Policy,
    *,
    explore: bool = True,
    start: tuple[Step, Memory] | None = None,
    ahead: int = 1,
    ticks: int = 0,
) -> Iterator[Transition]:
    """Every tick of a policy in a world, for ever; ``start`` continues from a tick's end.

    Logging, video, evaluation and checkpoints consume the iterator and never enter the loop:
    ``(t.next_step, t.next_memory)`` is all that is needed to start it again.

    With ``ahead`` above 1 the next tick is under way while the consumer has this one: its actions
    are chosen before the consumer learns, part by part of the stream as each arrives. At every
    ``ahead``-th tick nothing is under way, so there the loop can be started again, and actions of
    a segment that ends there are all of one policy. ``ticks`` is how many came before ``start``.
    """
    parts = stream.parts
    ends = list(accumulate(part.spec.num_envs for part in parts))
    places = [slice(end - part.spec.num_envs, end) for part, end in zip(parts, ends, strict=True)]

    def act(part: Stream, step: Step, memory: Memory) -> tuple[Int64[Tensor, " N"], Memory]:
        with torch.no_grad():
            action, following = policy.act(step, memory, explore=explore)
        part.send(action)
        return action, following

    if start is None:
        start = stream.reset(), policy.initial(stream.spec.num_envs)
    step, memory = start
    no_bonus = torch.zeros_like(step.reward)
    acted: list[tuple[Int64[Tensor, " N"], Memory]] = []
    for tick in count(ticks + 1):
        if not acted:
            for part, place in zip(parts, places, strict=True):
                acted.append(act(part, *_cut(step, memory, place, len(parts))))
        arrived: list[Step] = []
        following: list[tuple[Int64[Tensor, " N"], Memory]] = []
        for part, (_, remembered) in zip(parts, acted, strict=True):
            arrived.append(part.receive())
            if tick % ahead:
                following.append(act(part, arrived[-1], remembered))
        next_step, next_memory = join(arrived), _join([memory for _, memory in acted])
        action = torch.cat([chosen for chosen, _ in acted])
        yield Transition(step, memory, action, next_step, next_memory, no_bonus)
        step, memory, acted = next_step, next_memory, following


def _cut(step: Step, memory: Memory, place: slice, parts: int) -> tuple[Step, Memory]:
    if parts == 1:
        return step, memory
    return step.rows(place), {name: x[place] for name, x in memory.items()}


def _join(memories: list[Memory]) -> Memory:
    if len(memories) == 1:
        return memories[0]
    return {name: torch.cat([memory[name] for memory in memories]) for name in memories[0]}
