"""Dreamer: an agent that learns from imagined experience alone, between real steps.

Sutton 1990 ("Dyna"), as far as learning from nothing but imagination goes as in Hafner et al. 2020
("Dream to Control"). Any agent may be inside: it acts in the real world, which teaches the
predictor, and learns in the predictor's dreams, through the loop it always learns in.
"""

import math
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from agents.dqn import DQNConfig
from agents.interface import AgentConfig
from agents.loop import interact
from agents.simulator import ImaginingConfig, Simulator
from envs import dice
from envs.checks import at_least, check
from envs.errors import UsageError
from envs.interface import EnvSpec, Memory, Metrics, Step, Transition
from envs.stream import Stream
from world_models.prediction.imagination import Imagination


@dataclass(frozen=True)
class DreamerConfig(ImaginingConfig):
    """An agent and the dreams it learns in."""

    refuses_bonus: ClassVar[str] = "a bonus is paid for real visits, and it learns from dreams"

    inner: AgentConfig = DQNConfig(monte_carlo_weight=0.0, learning_starts=1_000)
    """Who acts and learns; its steps are imagined ones."""
    dreams: int = 32
    """Dreams at a time."""
    horizon: int = 15
    """Imagined steps of a dream."""
    dream_every: int = 64
    """Real steps between two rounds of dreams."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "agent", at_least(1), "dreams", "horizon", "dream_every")
        if isinstance(self.inner, ImaginingConfig):
            raise UsageError(
                f"A dreamer cannot dream of {type(self.inner).__name__.removesuffix('Config')}, "
                "which imagines itself; choose another agent.inner."
            )

    def build(
        self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "Dreamer":
        return Dreamer(self, spec, seed=seed, device=device)


class Dreamer:
    """Acts as its inner agent does, which never sees a real transition."""

    def __init__(
        self, config: DreamerConfig, spec: EnvSpec, *, seed: int, device: torch.device | str
    ) -> None:
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self.simulator = Simulator(config, spec, seed=seed, device=device)
        self.inner = config.inner.build(
            replace(spec, num_envs=config.dreams), seed=seed, device=device
        )
        self.rounds = 0

    def initial(self, n: int) -> Memory:
        return self.inner.initial(n)

    def act(
        self, step: Step, memory: Memory, *, explore: bool = True
    ) -> tuple[Int64[Tensor, " N"], Memory]:
        return self.inner.act(step, memory, explore=explore)

    def learn(self, t: Transition) -> Metrics:
        """Let the predictor learn from the tick, and dream when it is time."""
        metrics = self.simulator.learn(t)
        since = self.simulator.steps - self.config.model_starts
        if self.simulator.ready and math.floor(since / self.config.dream_every) >= self.rounds:
            metrics |= self.dream()
        return metrics

    def dream(self) -> Metrics:
        """One round of dreams, from their beginnings to the horizon."""
        n = self.config.dreams
        world = Imagination(
            self.simulator.predictor,
            self.simulator.moments(4 * n),
            n,
            horizon=self.config.horizon,
            tensors=True,
        )
        night = (self.seed << 32) + self.rounds
        stream = Stream(world, seed=night, purpose="dream", device=self.device)
        step, memory = stream.reset(), self.inner.initial(n)
        memory["dice"] = dice.keys(night, "dream", n).to(self.device)
        self.rounds += 1
        # What the inner agent learned last was another dream: this is the reset tick in between.
        asleep = replace(step, first=torch.zeros_like(step.first), last=step.first)
        nothing = torch.zeros_like(step.reward)
        woken = Transition(asleep, memory, nothing.long(), step, memory, nothing)
        metrics = self.inner.learn(woken)
        reward = nothing
        for t in islice(interact(stream, self.inner, start=(step, memory)), self.config.horizon):
            metrics |= self.inner.learn(t)
            reward = reward + t.next_step.reward
        return metrics | {"dream/reward": reward.mean()}

    def state_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in ("simulator", "inner")}
        return parts | {"rounds": self.rounds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("simulator", "inner"):
            getattr(self, name).load_state_dict(state[name])
        self.rounds = state["rounds"]
