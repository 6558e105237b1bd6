"""Policies without parameters: uniformly random, and epsilon-greedy around another policy."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..envs import prng
from ..envs.interface import Carry, TimeStep
from ..envs.prng import Purpose
from .interface import ActOutput, Policy


@dataclass(frozen=True)
class RandomPolicy:
    """Uniformly random actions, the lower baseline of every score."""

    num_actions: int
    seed: int = 0

    def initial(self, n: int) -> Carry:
        return {"rng": prng.initial_rng(self.seed, prng.Purpose.TRAIN, n)}

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        action = prng.randint(carry["rng"], self.num_actions, Purpose.ACTION)
        return ActOutput(action, {"rng": prng.next_rng(carry["rng"])})


@dataclass(frozen=True)
class ConstantPolicy:
    """One action at every timestep, a baseline that any agent should exceed."""

    action: int

    def initial(self, n: int) -> Carry:
        """Return the keys that ``EpsilonGreedy`` around it draws from."""
        return {"rng": prng.initial_rng(0, prng.Purpose.TRAIN, n)}

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        action = torch.full_like(step.first, self.action, dtype=torch.int64)
        return ActOutput(action, {"rng": prng.next_rng(carry["rng"])})


@dataclass(frozen=True)
class EpsilonGreedy:
    """Another policy whose action is replaced by a random one with probability epsilon.

    Evaluation protocols wrap agents in it; its draws are independent of the agent's own.
    """

    policy: Policy
    num_actions: int
    epsilon: float

    def initial(self, n: int) -> Carry:
        return self.policy.initial(n)

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        output = self.policy.act(step, carry, explore=explore)
        action = epsilon_greedy(
            output.action,
            carry["rng"],
            self.num_actions,
            self.epsilon,
            explore=Purpose.EVAL_EXPLORE,
            action=Purpose.EVAL_ACTION,
        )
        return output.with_action(action)


def epsilon_greedy(
    greedy: Int64[Tensor, " N"],
    rng: Int64[Tensor, " N"],
    num_actions: int,
    epsilon: float,
    explore: Purpose = Purpose.EXPLORE,
    action: Purpose = Purpose.ACTION,
) -> Int64[Tensor, " N"]:
    """Return the greedy action or, with probability epsilon, a uniformly random one."""
    explores = prng.uniform(rng, 1, explore)[:, 0] < epsilon
    return torch.where(explores, prng.randint(rng, num_actions, action), greedy)


def argmax_with_random_ties(
    values: Tensor, rng: Int64[Tensor, " N"], purpose: Purpose = Purpose.TIE_BREAK
) -> Int64[Tensor, " N"]:
    """Return the action of the greatest value in each row of [N, A]; ties are broken at random."""
    return _argmax(values, prng.uniform(rng, values.shape[1], purpose))


def epsilon_greedy_with_random_ties(
    values: Tensor, rng: Int64[Tensor, " N"], epsilon: float
) -> Int64[Tensor, " N"]:
    """Return ``epsilon_greedy`` of ``argmax_with_random_ties``, whose numbers are drawn together.

    Small tensors cost a call's overhead, which is paid once for the three draws.
    """
    num_actions = values.shape[1]
    ties, explores, action = prng.bits_together(
        rng, (Purpose.TIE_BREAK, num_actions), (Purpose.EXPLORE, 1), (Purpose.ACTION, 1)
    )
    return torch.where(
        prng.to_uniform(explores[:, 0]) < epsilon,
        prng.to_randint(action[:, 0], num_actions),
        _argmax(values, prng.to_uniform(ties)),
    )


def _argmax(values: Tensor, tie_breaks: Float[Tensor, "N A"]) -> Int64[Tensor, " N"]:
    best = values == values.amax(1, keepdim=True)
    return torch.where(best, tie_breaks, -1.0).argmax(1)


def sample(
    logits: Float[Tensor, "N A"], rng: Int64[Tensor, " N"], purpose: Purpose = Purpose.ACTION
) -> Int64[Tensor, " N"]:
    """Return an action drawn from each row's softmax."""
    return prng.categorical(logits, rng, purpose)
