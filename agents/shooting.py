"""Shooting: act by imagining many sequences of actions and beginning the best one.

Model-predictive control with random shooting (Nagabandi et al. 2018, section IV-B), or with the
cross-entropy method over categorical actions (Chua et al. 2018, section 5; Botev et al. 2013): the
sequences are drawn again from what the best ones did. Nothing but the predictor is learned.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from agents.policies import epsilon_greedy
from agents.simulator import ImaginingConfig, Simulator
from envs import dice
from envs.checks import at_least, check, within
from envs.interface import EnvSpec, Memory, Metrics, Step, Transition
from world_models.interface import Predictor

DRAWS = 10  # the first lane of a tick's dice that plans are drawn from; one lane an iteration


@dataclass(frozen=True)
class ShootingConfig(ImaginingConfig):
    """Plans made anew at every step."""

    samples: int = 64
    """Sequences imagined a stream and iteration."""
    horizon: int = 12
    """Actions of a sequence."""
    iterations: int = 1
    """1 is random shooting; more is the cross-entropy method."""
    elites: float = 0.1
    """Share of the sequences that the next ones are drawn like."""
    smoothing: float = 0.1
    """Share of uniform actions that the cross-entropy method keeps."""
    gamma: float = 0.99
    epsilon: float = 0.05
    """Probability of a random action while it explores."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "agent", at_least(1), "samples", "horizon", "iterations")
        check(self, "agent", within(0, 1), "elites", "smoothing", "gamma", "epsilon")

    @property
    def refuses_bonus(self) -> str:
        return "it plans by the rewards that its predictor imagines"

    def build(
        self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "Shooting":
        return Shooting(self, spec, seed=seed, device=device)


class Shooting:
    """The first action of the best imagined sequence; uniform play before there is a predictor."""

    def __init__(
        self, config: ShootingConfig, spec: EnvSpec, *, seed: int, device: torch.device | str
    ) -> None:
        self.config, self.spec, self.seed = config, spec, seed
        self.device = torch.device(device)
        self.simulator = Simulator(config, spec, seed=seed, device=device)

    def initial(self, n: int) -> Memory:
        key = dice.keys(self.seed, "train", n).to(self.device)
        return {"dice": key} | self.simulator.initial(n)

    @torch.no_grad()
    def act(
        self, step: Step, memory: Memory, *, explore: bool = True
    ) -> tuple[Int64[Tensor, " N"], Memory]:
        key = memory["dice"]
        epsilon = self.config.epsilon if explore else 0.0
        if self.simulator.ready:
            action = self.plan(step, memory)
        else:
            action, epsilon = torch.zeros_like(key), 1.0
        action = epsilon_greedy(action, key, self.spec.num_actions, epsilon)
        return action, {"dice": dice.roll(key)} | self.simulator.note(step, memory)

    def plan(self, step: Step, memory: Memory) -> Int64[Tensor, " N"]:
        """The first action of each stream's best sequence."""
        config, key, n = self.config, memory["dice"], len(memory["dice"])
        state = self.simulator.start(step, memory, key)
        state = {name: x.repeat_interleave(config.samples, 0) for name, x in state.items()}
        shape = n, config.horizon, self.spec.num_actions
        odds = torch.full(shape, 1 / self.spec.num_actions, device=self.device)
        best = torch.full((n,), -torch.inf, device=self.device)
        action = torch.zeros(n, dtype=torch.int64, device=self.device)
        for iteration in range(config.iterations):
            plans = draw(odds, config.samples, key, DRAWS + iteration)  # [N S H]
            value = imagined_return(
                self.simulator.predictor, state, plans.flatten(0, 1), config.gamma
            ).view(n, config.samples)
            top = value.max(1)
            first = plans[torch.arange(n), top.indices, 0]
            action = torch.where(top.values > best, first, action)
            best = torch.maximum(top.values, best)
            odds = refit(odds, plans, value, config.elites, config.smoothing)
        return action

    def learn(self, t: Transition) -> Metrics:
        """Let the predictor learn from the tick."""
        return self.simulator.learn(t)

    def state_dict(self) -> dict[str, Any]:
        return {"simulator": self.simulator.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.simulator.load_state_dict(state["simulator"])


def draw(
    odds: Float[Tensor, "N H A"], samples: int, key: Int64[Tensor, " N"], lane: int
) -> Int64[Tensor, "N {samples} H"]:
    """Sequences of actions, each drawn by its odds with the dice of its stream."""
    n, horizon, _ = odds.shape
    lots = dice.uniform(key, samples * horizon, lane).view(n, samples, horizon, 1)
    upto = odds.cumsum(2)[:, None, :, :-1]  # the last action has all that is left
    return (lots >= upto).sum(3)


def refit(
    odds: Float[Tensor, "N H A"],
    plans: Int64[Tensor, "N S H"],
    value: Float[Tensor, "N S"],
    elites: float,
    smoothing: float,
) -> Float[Tensor, "N H A"]:
    """How often the best sequences took each action, mixed with uniform play."""
    count = max(1, round(elites * plans.shape[1]))
    best = value.topk(count, 1).indices
    taken = plans.gather(1, best[:, :, None].expand(-1, -1, plans.shape[2]))
    frequency = torch.nn.functional.one_hot(taken, odds.shape[2]).float().mean(1)
    return (1 - smoothing) * frequency + smoothing / odds.shape[2]


def imagined_return(
    predictor: Predictor, state: Memory, plans: Int64[Tensor, "B H"], gamma: float
) -> Float[Tensor, " B"]:
    """sum_t gamma^t (d_0 ... d_{t-1}) r_t of what the predictor imagines of each plan."""
    total = torch.zeros(len(plans), device=plans.device)
    alive = torch.ones_like(total)
    for action in plans.unbind(1):
        prediction, state = predictor.predict(state, action)
        total = total + alive * prediction.reward
        alive = alive * gamma * prediction.discount
    return total
