"""Policies that know nothing: uniform play, and the random share of another policy."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from agents.interface import Policy
from envs import dice
from envs.interface import Memory, Step

# Lanes of a tick's dice, so that a policy and the one around it never share a draw.
COIN, ACTION, TIES, EVAL_COIN, EVAL_ACTION = range(5)


@dataclass(frozen=True)
class RandomPolicy:
    """Uniform play: the baseline below which nothing was learned."""

    num_actions: int
    seed: int = 0

    def initial(self, n: int) -> Memory:
        return {"dice": dice.keys(self.seed, "train", n)}

    def act(
        self, step: Step, memory: Memory, *, explore: bool = True
    ) -> tuple[Int64[Tensor, " N"], Memory]:
        key = memory["dice"]
        return dice.integers(key, self.num_actions, ACTION), {"dice": dice.roll(key)}


@dataclass(frozen=True)
class EpsilonGreedy:
    """A policy that plays uniformly with probability epsilon, as evaluation protocols ask."""

    policy: Policy
    num_actions: int
    epsilon: float

    def initial(self, n: int) -> Memory:
        return self.policy.initial(n)

    def act(
        self, step: Step, memory: Memory, *, explore: bool = True
    ) -> tuple[Int64[Tensor, " N"], Memory]:
        action, next_memory = self.policy.act(step, memory, explore=explore)
        return epsilon_greedy(
            action, memory["dice"], self.num_actions, self.epsilon, EVAL_COIN, EVAL_ACTION
        ), next_memory


def epsilon_greedy(
    greedy: Int64[Tensor, " N"],
    key: Int64[Tensor, " N"],
    num_actions: int,
    epsilon: float,
    coin: int = COIN,
    action: int = ACTION,
) -> Int64[Tensor, " N"]:
    """A uniform action with probability epsilon, one coin a stream."""
    explores = dice.uniform(key, 1, coin)[:, 0] < epsilon
    return torch.where(explores, dice.integers(key, num_actions, action), greedy)


def argmax_with_random_ties(
    values: Tensor, key: Int64[Tensor, " N"], lane: int = TIES
) -> Int64[Tensor, " N"]:
    """The best action of each row of values [N, A]; equals are drawn among uniformly."""
    best = values == values.amax(1, keepdim=True)
    lots = dice.uniform(key, values.shape[1], lane)
    return torch.where(best, lots, -1.0).argmax(1)


def sample(
    logits: Float[Tensor, "N A"], key: Int64[Tensor, " N"], lane: int = ACTION
) -> Int64[Tensor, " N"]:
    """An action of each row's softmax."""
    return dice.categorical(logits, key, lane)
