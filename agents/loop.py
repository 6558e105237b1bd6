"""The only loop: training, evaluation, pre-training and dreaming all consume its iterator."""

from collections.abc import Iterator

import torch

from agents.interface import Policy
from envs.interface import Memory, Step, Transition
from envs.stream import Stream


def interact(
    stream: Stream,
    policy: Policy,
    *,
    explore: bool = True,
    start: tuple[Step, Memory] | None = None,
) -> Iterator[Transition]:
    """Every tick of a policy in a world, for ever; ``start`` continues from a tick's end.

    Logging, video, evaluation and checkpoints consume the iterator and never enter the loop:
    ``(t.next_step, t.next_memory)`` is all that is needed to start it again.
    """
    if start is None:
        start = stream.reset(), policy.initial(stream.spec.num_envs)
    step, memory = start
    no_bonus = torch.zeros_like(step.reward)
    while True:
        with torch.no_grad():
            action, next_memory = policy.act(step, memory, explore=explore)
        next_step = stream.step(action)
        yield Transition(step, memory, action, next_step, next_memory, no_bonus)
        step, memory = next_step, next_memory
