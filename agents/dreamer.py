"""Dreamer: an agent that learns from imagined experience alone, between real steps.

Sutton 1990 ("Dyna"), as far as learning from nothing but imagination goes as in Hafner et al. 2020
("Dream to Control"). Any agent may be inside: it acts in the real world, which teaches the
predictor, and learns in the predictor's dreams, through the loop it always learns in.
"""

import math
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

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

    @property
    def refuses_bonus(self) -> str:
        return "a bonus is paid for real visits, and it learns from dreams"

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
        self.asleep: tuple[Step, Memory] | None = None  # the last round's last look

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
        n, horizon = self.config.dreams, self.config.horizon
        world = Imagination(
            self.simulator.predictor,
            self.simulator.moments(4 * n),
            n,
            horizon=horizon,
            tensors=True,
        )
        night = (self.seed << 32) + self.rounds
        stream = Stream(world, seed=night, purpose="dream", device=self.device)
        step = stream.reset()
        # To the inner agent all dreams are one stream of ticks, of which its memory is the chain:
        # here is the reset tick between the last look of the dreams before and the first of these.
        asleep, memory = self.asleep or (_ended(step), self._waking(n))
        nothing = torch.zeros_like(step.reward)
        with torch.no_grad():
            action, following = self.inner.act(asleep, memory)
        metrics = self.inner.learn(Transition(asleep, memory, action, step, following, nothing))
        reward, start = nothing, (step, following)
        for tick, t in enumerate(islice(interact(stream, self.inner, start=start), horizon), 1):
            if tick == horizon:  # dreams that began anew on the way are timed out with the others
                t = replace(t, next_step=_ended(t.next_step))
            metrics |= self.inner.learn(t)
            reward = reward + t.next_step.reward
            self.asleep = t.next_step, t.next_memory
        self.rounds += 1
        return metrics | {"dream/reward": reward.mean()}

    def _waking(self, n: int) -> Memory:
        """Before the first dream: apart from the real streams' memory by its dice."""
        key = dice.keys(self.seed, "dream", n).to(self.device)
        return {name: key if name == "dice" else x for name, x in self.inner.initial(n).items()}

    def state_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in ("simulator", "inner")}
        step, memory = self.asleep or (None, {})
        looks = {x.name: getattr(step, x.name) for x in fields(Step)} if step else {}
        return parts | {"rounds": self.rounds, "asleep": looks, "memory": memory}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("simulator", "inner"):
            getattr(self, name).load_state_dict(state[name])
        self.rounds = state["rounds"]
        looks, memory = (
            {name: x.to(self.device) for name, x in state[part].items()}
            for part in ("asleep", "memory")
        )
        self.asleep = (Step(**looks), memory) if looks else None


def _ended(step: Step) -> Step:
    """The same look as the last of its episode."""
    return replace(step, last=torch.ones_like(step.last))
