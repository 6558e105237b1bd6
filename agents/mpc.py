"""Model-predictive control: plan by sampling action sequences and predicting their returns.

With random shooting (Nagabandi et al. 2018, section IV), or with the cross-entropy method over
categorical actions (Chua et al. 2018, section 5; Botev et al. 2013), which samples the sequences
again from the action frequencies of the best ones. Only the predictor is learned.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..envs import prng
from ..envs.checks import at_least, check, within
from ..envs.interface import Carry, EnvSpec, Metrics, TimeStep, Transition
from ..world_models.interface import Predictor
from ..world_models.precision import FLOAT32, Precision
from .interface import ActOutput
from .policies import epsilon_greedy
from .simulator import ModelBased, ModelBasedConfig, Simulator


@dataclass(frozen=True)
class MPCConfig(ModelBasedConfig):
    """Settings of planning at every step."""

    samples: int = 64
    """Action sequences per env and iteration."""
    horizon: int = 12
    """Actions per sequence."""
    iterations: int = 1
    """1 is random shooting; more is the cross-entropy method."""
    elite_ratio: float = 0.1
    """Fraction of the sequences to which the next distribution is fitted."""
    smoothing: float = 0.1
    """Weight of the uniform distribution in the fitted one."""
    gamma: float = 0.99
    """Discount factor per agent step."""
    epsilon: float = 0.05
    """Probability of a random action in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "agent", at_least(1), "samples", "horizon")
        check(self, "agent", within(1, 100), "iterations")
        check(self, "agent", within(0, 1), "elite_ratio", "smoothing", "gamma", "epsilon")

    @property
    def no_bonus_reason(self) -> str:
        return "it plans by the rewards that its predictor predicts"

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "MPC":
        return MPC(self, spec, seed=seed, device=device, precision=precision)


class MPC(ModelBased):
    """Takes the first action of the best sequence; acts randomly until the predictor is ready."""

    STATE = ("simulator",)

    def __init__(
        self,
        config: MPCConfig,
        spec: EnvSpec,
        *,
        seed: int,
        device: torch.device | str,
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.spec, self.seed = config, spec, seed
        self.device = torch.device(device)
        self.simulator = Simulator(config, spec, seed=seed, device=device, precision=precision)

    def initial(self, n: int) -> Carry:
        rng = prng.initial_rng(self.seed, prng.Purpose.TRAIN, n).to(self.device)
        return {"rng": rng} | self.simulator.initial(n)

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        rng = carry["rng"]
        epsilon = self.config.epsilon if explore else 0.0
        if self.simulator.ready:
            action = self.plan(step, carry)
        else:
            action, epsilon = torch.zeros_like(rng), 1.0
        action = epsilon_greedy(action, rng, self.spec.num_actions, epsilon)
        context = self.simulator.next_context(step, action, carry)
        return ActOutput(action, {"rng": prng.next_rng(rng)} | context)

    def plan(self, step: TimeStep, carry: Carry) -> Int64[Tensor, " N"]:
        """Return the first action of each env's best sequence, over all iterations."""
        config, rng, n = self.config, carry["rng"], len(carry["rng"])
        state = self.simulator.start(step, carry, rng)
        state = {name: x.repeat_interleave(config.samples, 0) for name, x in state.items()}
        shape = n, config.horizon, self.spec.num_actions
        probs = torch.full(shape, 1 / self.spec.num_actions, device=self.device)
        best_return = torch.full((n,), -torch.inf, device=self.device)
        action = torch.zeros(n, dtype=torch.int64, device=self.device)
        for iteration in range(config.iterations):
            plans = sample_plans(
                probs, config.samples, rng, prng.Purpose.PLAN + iteration
            )  # [N S H]
            returns = imagined_return(
                self.simulator.predictor, state, plans.flatten(0, 1), config.gamma
            ).view(n, config.samples)
            top = returns.max(1)
            first_action = plans[torch.arange(n), top.indices, 0]
            action = torch.where(top.values > best_return, first_action, action)
            best_return = torch.maximum(top.values, best_return)
            probs = refit(probs, plans, returns, config.elite_ratio, config.smoothing)
        return action

    def learn(self, t: Transition) -> Metrics:
        """Train the predictor."""
        return self.simulator.learn(t)


def sample_plans(
    probs: Float[Tensor, "N H A"], samples: int, rng: Int64[Tensor, " N"], purpose: int
) -> Int64[Tensor, "N {samples} H"]:
    """Sample action sequences, each action independently, with the key of its env."""
    n, horizon, _ = probs.shape
    uniforms = prng.uniform(rng, samples * horizon, purpose).view(n, samples, horizon, 1)
    # Without the last cumulative probability, which may be rounded to less than 1.
    cumulative = probs.cumsum(2)[:, None, :, :-1]
    return (uniforms >= cumulative).sum(3)


def refit(
    probs: Float[Tensor, "N H A"],
    plans: Int64[Tensor, "N S H"],
    returns: Float[Tensor, "N S"],
    elite_ratio: float,
    smoothing: float,
) -> Float[Tensor, "N H A"]:
    """Return the action frequencies of the best sequences, mixed with the uniform distribution.

        p(a) = (1 - smoothing) f(a) + smoothing / A

    f(a) is the frequency of action a at a position of the best ``elite_ratio`` of the sequences.
    """
    num_elites = max(1, round(elite_ratio * plans.shape[1]))
    elites = returns.topk(num_elites, 1).indices
    actions = plans.gather(1, elites[:, :, None].expand(-1, -1, plans.shape[2]))
    frequency = torch.nn.functional.one_hot(actions, probs.shape[2]).float().mean(1)
    return (1 - smoothing) * frequency + smoothing / probs.shape[2]


def imagined_return(
    predictor: Predictor, carry: Carry, plans: Int64[Tensor, "B H"], gamma: float
) -> Float[Tensor, " B"]:
    """Return the predicted return of each sequence of actions, with no value after the last.

        sum_{t=0}^{H-1} gamma^t d_1 ... d_t r_{t+1}

    r and d are the predicted rewards and discounts.
    """
    total = torch.zeros(len(plans), device=plans.device)
    weight = torch.ones_like(total)
    for action in plans.unbind(1):
        prediction, carry = predictor.predict(carry, action)
        total = total + weight * prediction.reward
        weight = weight * gamma * prediction.discount
    return total
