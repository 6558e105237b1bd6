"""What agents that learn from rollouts share: when they learn, and from which minibatches.

A rollout is played by the present network, the agent makes it a batch, passes over it several times
in shuffled minibatches, and forgets it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..envs import prng
from ..envs.checks import above, at_least, check, within
from ..envs.interface import Carry, EnvSpec, Metrics, Segment, TimeStep, Transition
from ..envs.ranks import ALONE
from ..world_models.precision import InferenceCopy, run_with_oom_hint
from ..world_models.state import HasState
from .interface import AgentConfig
from .networks import AutoConfig, NetworkConfig
from .rollout import B, Rollout, select
from .schedules import linear


@dataclass(frozen=True)
class OnPolicyConfig(AgentConfig):
    """Base of the configs of agents that learn from rollouts; steps are summed over all envs."""

    on_policy: ClassVar[bool] = True
    """Whether the agent can learn only from actions that it chose itself."""

    network: NetworkConfig = AutoConfig()
    """Feature extractor of stacked frames."""
    num_steps: int = 128
    """Timesteps per env in a rollout."""
    update_epochs: int = 4
    """Passes over a rollout."""
    num_minibatches: int = 4
    """Minibatches per epoch, one update each; at most one per row. Rows are timesteps, or sequences
    where the network is recurrent."""
    gamma: float = 0.99
    """Discount factor."""
    reward_clip: float | None = 1.0
    """Clip rewards to plus or minus this value before a bonus is added; None for no clip."""
    total_clip: float | None = None
    """Clip the sum of reward and bonus to plus or minus this value; None for no clip."""
    learning_rate: float = 2.5e-4
    """Initial learning rate of the optimizer."""
    anneal_steps: int = 10_000_000
    """Steps in which the learning rate decays to 0; 0 keeps it constant."""
    max_grad_norm: float = 0.5
    """Gradients are clipped to this norm."""

    def __post_init__(self) -> None:
        check(self, "agent", at_least(1), "num_steps", "update_epochs", "num_minibatches")
        check(self, "agent", at_least(0), "anneal_steps")
        check(self, "agent", within(0, 1), "gamma")
        check(self, "agent", above(0), "learning_rate", "max_grad_norm")
        check(self, "agent", above(0), "reward_clip", "total_clip")

    @property
    def rollout_length(self) -> int:
        return self.num_steps

    def first_update(self, num_envs: int) -> int:
        return self.num_steps * num_envs

    def last_update(self, num_envs: int) -> float:
        return self.anneal_steps or math.inf


class OnPolicyAgent(HasState, Generic[B]):
    """Base of agents that learn from a rollout of all envs whenever it is full."""

    STATE: ClassVar[tuple[str, ...]] = ("rollout", "optimizer", "rng", "steps")
    BUFFERS = ("rollout",)

    config: OnPolicyConfig
    inference_copy: InferenceCopy[Any]
    """Its source is the network that is trained."""
    rollout: Rollout
    optimizer: torch.optim.Optimizer
    _loss: Callable[[B], tuple[Float[Tensor, ""], dict[str, Tensor]]]
    """Returns the loss of a minibatch, and its metrics."""

    def __init__(
        self, config: OnPolicyConfig, spec: EnvSpec, *, seed: int, device: torch.device | str
    ) -> None:
        self.config, self.spec, self.seed = config, spec, seed
        self.device = torch.device(device)
        self.rng = prng.initial_rng(seed, prng.Purpose.REPLAY, 1)
        self.steps = 0
        self.ranks = ALONE
        """The processes that it learns in; an update is that of all their envs."""

    def learn(self, t: Transition) -> Metrics:
        """Store a transition, and learn from the rollout if it is full.

        Raises UsageError if a minibatch does not fit in memory.
        """
        self.rollout.append(t)
        self.steps += self.ranks.size * self.spec.num_envs
        if len(self.rollout) < self.config.num_steps:
            return {}
        learning_rate = self.anneal_learning_rate()
        metrics = self.train_on(self.rollout.pop(), self.value(t.next_step, t.next_carry))
        return {"charts/learning_rate": learning_rate, **metrics}

    def value(self, step: TimeStep, carry: Carry) -> Float[Tensor, "N ..."]:
        """Return the value of each env's observation, or its several values."""
        raise NotImplementedError

    def train_on(self, segment: Segment, next_value: Float[Tensor, "B ..."]) -> Metrics:
        """Learn from a segment collected by the present network.

        ``next_value`` is the value of the observation after the last action. Raises UsageError if a
        minibatch does not fit in memory.
        """
        raise NotImplementedError

    def fit(self, batch: B) -> Metrics:
        """Update for several epochs on a batch, and return the means of the updates' metrics.

        Raises UsageError if a minibatch does not fit in memory.
        """
        updates, size = [], len(batch)
        for _ in range(self.config.update_epochs):
            bits = prng.bits(self.rng, self.ranks.size * size, prng.Purpose.SAMPLE)[0]
            order = bits.argsort().to(self.device)
            self.rng = prng.next_rng(self.rng)
            minibatches = order.tensor_split(min(self.config.num_minibatches, len(order)))
            updates += [self.update(select(batch, self.ranks.own(x, size))) for x in minibatches]
        self.inference_copy.refresh()
        return {name: torch.stack([x[name] for x in updates]).mean() for name in updates[0]}

    def update(self, batch: B) -> dict[str, Tensor]:
        """Make one gradient step on a minibatch and return its metrics.

        Raises UsageError if the minibatch does not fit in memory.
        """
        size, rows = len(batch), torch.arange(len(batch), device=self.device)

        def backward(n: int) -> dict[str, Tensor]:
            if n == size:
                return self._backward(batch)
            self.ranks = ALONE  # the others do not take part in a search for what fits
            return self._backward(select(batch, rows[:n]))

        metrics = run_with_oom_hint(
            backward, size, lambda fits: self._out_of_memory_message(size, fits)
        )
        metrics = {name: x.clone() for name, x in metrics.items()}
        parameters = list(self.inference_copy.source.parameters())
        gradients = [x.grad for x in parameters if x.grad is not None]
        self.ranks.sum_([*gradients, *metrics.values()])
        nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        self.optimizer.step()
        return metrics

    def _backward(self, batch: B) -> dict[str, Tensor]:
        loss, metrics = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        return metrics

    def _out_of_memory_message(self, size: int, fits: int) -> str:
        remedy = "nor does a smaller one; lower --num-envs or choose a smaller agent.network"
        if fits:
            minibatches = math.ceil(self.config.num_minibatches * size / fits)
            remedy = f"but {fits} rows fit; choose --agent.num_minibatches {minibatches}"
        return f"A minibatch of {size} rows does not fit in the memory of {self.device}, {remedy}."

    def anneal_learning_rate(self) -> float:
        """Set and return the learning rate at the first step of the rollout just collected."""
        config, learning_rate = self.config, self.config.learning_rate
        if config.anneal_steps:
            step = self.steps - self.ranks.size * self.spec.num_envs * config.num_steps
            learning_rate = linear(step, begin=learning_rate, end=0.0, over=config.anneal_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        return learning_rate

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.inference_copy.refresh()
