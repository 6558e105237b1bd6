"""PPO (Schulman et al. 2017) as CleanRL does it on Atari (Huang et al. 2022); A2C is a setting.

A policy and a value learn from segments of their own play, in epochs of minibatches over each. The
policy's logits are a planner's, so that an agent that plans differs from this one in its planner
alone; of the planner, and of an LSTM before it, a segment keeps the first memory, from which they
are unrolled again.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from agents.interface import AgentConfig
from agents.losses import (
    entropy,
    log_probabilities,
    normalised,
    policy_loss,
    value_loss,
)
from agents.networks import NatureConfig, NetworkConfig, PolicyNetwork, Rounded, seeded
from agents.policies import sample
from agents.returns import generalized_advantages, learning_reward
from agents.rollout import Batch, Rollout, as_pieces, take
from agents.schedules import linear
from envs import dice
from envs.checks import above, at_least, check, within
from envs.errors import UsageError
from envs.interface import EnvSpec, Memory, Metrics, Segment, Step, Transition
from world_models.arithmetic import channels_innermost, compiled, within_memory
from world_models.interface import PlannerConfig, Thought
from world_models.optimizers import load_optimizer
from world_models.planning.reactive import ReactiveConfig

PARTS = ("network", "rollout")  # of a checkpoint


@dataclass(frozen=True)
class ActorCriticConfig(AgentConfig):
    """PPO with CleanRL's Atari settings; steps are agent steps of all streams.

    A2C (Mnih et al. 2016) is ``epochs 1, minibatches 1, clip None, value_clip None`` and a short
    horizon.
    """

    on_policy: ClassVar[bool] = True

    network: NetworkConfig = NatureConfig()
    """What turns a stack of frames into features."""
    lstm: int = 0
    """Units of an LSTM between the features and their readers; 0 for none."""
    planner: PlannerConfig = ReactiveConfig()
    """What turns features into logits of the action."""
    nats_cost: float = 0.01
    """Cost of a nat of the planner's code, beside a reward of 1."""
    commitment_cost: float = 0.01
    """Cost of the planner's probability of planning anew; the reactive one has no such cost."""
    free_energy: bool = False
    """Nats and entropy are part of the return, E[R] - alpha KL + alpha H, and not costs of their
    tick alone; nats_cost and entropy_bonus are its temperature alpha, and so are equal."""
    backprop: int = 32
    """Ticks through which gradients flow back in a memory: a segment is cut into pieces of so many,
    each with the memory it began with."""
    horizon: int = 128
    """Ticks of every stream in a segment."""
    epochs: int = 4
    """Passes over a segment."""
    minibatches: int = 4
    """Parts of a segment, one update each: of its ticks, or of its pieces where memory is kept."""
    gamma: float = 0.99
    gae_lambda: float = 0.95
    reward_clip: float | None = 1.0
    """Rewards are clipped to plus or minus this before a bonus is added."""
    total_clip: float | None = None
    """Clip of reward and bonus together."""
    clip: float | None = 0.1
    """Change of an action's probability, as a ratio, beyond which nothing is gained."""
    value_clip: float | None = 0.1
    """Change of a value beyond which nothing is gained."""
    normalise_advantages: bool = True
    """To mean 0 and deviation 1 in each minibatch."""
    value_cost: float = 0.5
    entropy_bonus: float = 0.01
    learning_rate: float = 2.5e-4
    """Of Adam, with epsilon 1e-5, at first."""
    anneal_steps: int = 10_000_000
    """Steps over which the learning rate falls to 0; 0 keeps it."""
    gradient_clip: float = 0.5
    """Greatest norm of a gradient."""

    def __post_init__(self) -> None:
        check(self, "agent", at_least(1), "horizon", "epochs", "minibatches", "backprop")
        check(self, "agent", at_least(0), "lstm", "anneal_steps")
        check(self, "agent", at_least(0), "nats_cost", "commitment_cost", "entropy_bonus")
        check(self, "agent", within(0, 1), "gamma", "gae_lambda")
        check(self, "agent", above(0), "clip", "value_clip", "value_cost")
        check(self, "agent", above(0), "learning_rate", "gradient_clip")
        check(self, "agent", above(0), "reward_clip", "total_clip")
        if self.free_energy and self.nats_cost != self.entropy_bonus:
            raise UsageError(
                f"agent.nats_cost is {self.nats_cost} and agent.entropy_bonus is "
                f"{self.entropy_bonus}; under agent.free_energy both are the temperature, so make "
                "them equal."
            )

    @property
    def segment(self) -> int:
        return self.horizon

    def build(
        self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "ActorCritic":
        return ActorCritic(self, spec, seed=seed, device=device)


class ActorCritic:
    """Plays a softmax of its planner's logits, and learns whenever a segment is full."""

    def __init__(
        self, config: ActorCriticConfig, spec: EnvSpec, *, seed: int, device: torch.device | str
    ) -> None:
        self.config, self.spec, self.seed = config, spec, seed
        self.device = torch.device(device)
        with seeded(seed):
            trunk = config.network.build(spec.obs_shape)
            width = config.lstm or trunk.features
            planner = config.planner.build(features=width, num_actions=spec.num_actions, seed=seed)
            self.network = PolicyNetwork(trunk, config.lstm, planner).to(self.device)
        self.player = Rounded(self.network)
        self._look, self._loss = self.player.network.forward, self.loss
        if not self.network.recurrent:  # else every tick of a segment would be compiled apart
            self._look = compiled(self._look, self.device)
            self._loss = compiled(self._loss, self.device)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, eps=1e-5, fused=True
        )
        self.piece = min(config.backprop, config.horizon) if self.network.recurrent else 1
        """Ticks that are learned from in one row."""
        if config.horizon % self.piece:
            raise UsageError(
                f"agent.horizon is {config.horizon} and agent.backprop {config.backprop}: make the "
                "one a multiple of the other, so that a segment can be cut into pieces."
            )
        self.rollout = Rollout(spec, config.horizon, device=self.device)
        self.key = dice.keys(seed, "replay", 1)
        self.steps = 0

    def initial(self, n: int) -> Memory:
        memory = self.network.initial(n) | {"dice": dice.keys(self.seed, "train", n)}
        return {name: x.to(self.device) for name, x in memory.items()}

    @torch.no_grad()
    def act(
        self, step: Step, memory: Memory, *, explore: bool = True
    ) -> tuple[Int64[Tensor, " N"], Memory]:
        """A draw from the policy, or its likeliest action where it does not explore."""
        logits, _, _, following = self._look(step.obs[:, None], step.first[:, None], memory)
        logits = logits[:, 0]
        action = sample(logits, memory["dice"]) if explore else logits.argmax(1)
        kept = {name: x.clone() for name, x in following.items()}
        return action, kept | {name: action for name in kept if name == "action"}

    def learn(self, t: Transition) -> Metrics:
        """Store the tick, and learn from the segment it fills."""
        self.rollout.append(t)
        self.steps += self.spec.num_envs
        if len(self.rollout) < self.config.horizon:
            return {}
        return self.improve(self.rollout.take())

    def improve(self, segment: Segment) -> Metrics:
        """Epochs of updates on one segment of the present policy's play."""
        rate = self._anneal()
        batch = self.judge(segment)
        variance = [x[batch.valid].var() for x in (batch.advantage, batch.advantage + batch.value)]
        batch = replace(batch, obs=channels_innermost(batch.obs))  # once for all epochs
        made = []
        for _ in range(self.config.epochs):
            order = dice.bits(self.key, len(batch.action))[0].argsort().to(self.device)
            self.key = dice.roll(self.key)
            made += [
                self.update(take(batch, rows)) for rows in order.chunk(self.config.minibatches)
            ]
        self.player.refresh()
        return {
            "actor_critic/learning_rate": rate,
            "actor_critic/explained_variance": 1 - variance[0] / variance[1].clamp(min=1e-8),
            **{
                f"actor_critic/{name}": torch.stack([means[name] for means in made]).mean()
                for name in made[0]
            },
        }

    @torch.no_grad()
    def judge(self, segment: Segment) -> Batch:
        """The segment in pieces, with what the present network says of them."""
        config, valid = self.config, segment.valid
        log_pi, value, nats, choice, log_prob, memory = self._unroll(segment)
        reward = learning_reward(
            segment.reward, segment.bonus, clip=config.reward_clip, total_clip=config.total_clip
        )
        if config.free_energy:
            reward = reward + config.entropy_bonus * (entropy(log_pi) - nats)[:, :-1]
        discount = config.gamma * segment.discount
        log_prob = log_prob[:, :-1] + log_probabilities(log_pi[:, :-1], segment.action)
        ticks = {
            "obs": segment.obs[:, :-1],
            "first": segment.first[:, :-1],
            "valid": valid,
            "action": segment.action,
            "choice": choice[:, :-1],
            "log_prob": log_prob,
            "value": value[:, :-1],
            "advantage": generalized_advantages(reward, discount, value, valid, config.gae_lambda),
        }
        rows = {name: as_pieces(x, self.piece) for name, x in ticks.items()}
        return Batch(**rows, memory=memory)

    def _unroll(self, segment: Segment) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Memory]:
        """log pi, value, nats, choice and its log-probability [B, T+1], and the pieces' memory."""
        obs, first, action = segment.obs, segment.first, segment.action
        said, memories = [], [segment.memory]
        if self.network.recurrent:
            for t in range(0, first.shape[1], self.piece):
                now = slice(t, t + self.piece)
                *found, memory = self.player.network(
                    obs[:, now], first[:, now], memories[-1], action[:, now]
                )
                said.append(_told(*found))
                memories.append(memory)
        else:  # of the size of minibatches, which is known to fit
            parts = self.config.minibatches
            for look, born in zip(
                obs.flatten(0, 1).chunk(parts), first.flatten().chunk(parts), strict=True
            ):
                said.append(_told(*self._look(look[:, None], born[:, None], {})[:3]))
            memories = [{}]
        log_pi, value, nats, choice, log_prob = (
            torch.cat(x, int(self.network.recurrent)).view(*first.shape, *x[0].shape[2:])
            for x in zip(*said, strict=True)
        )
        begun = memories[: action.shape[1] // self.piece]
        memory = {x: torch.stack([m[x] for m in begun], 1).flatten(0, 1) for x in memories[0]}
        return log_pi, value, nats, choice, log_prob, memory

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One gradient step; the means its loss is made of.

        Raises UsageError, with a size that fits, where the batch is too large for the memory.
        """
        size, rows = len(batch.action), torch.arange(len(batch.action), device=self.device)
        means = within_memory(
            lambda n: self._differentiate(take(batch, rows[:n]) if n < size else batch),
            size,
            lambda fits: self._too_large(size, fits),
        )
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        return {name: mean.clone() for name, mean in means.items()}

    def _differentiate(self, batch: Batch) -> dict[str, Tensor]:
        loss, means = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return means

    def _too_large(self, size: int, fits: int) -> str:
        remedy = "no smaller one does; choose fewer --streams or a smaller agent.network"
        if fits:
            more = math.ceil(self.config.minibatches * size / fits)
            remedy = f"{fits} fit; choose --agent.minibatches {more}"
        return f"A minibatch of {size} rows does not fit in {self.device}'s memory: {remedy}."

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """What an update lowers, and the means it is made of; reset ticks have weight 0."""
        config, weight = self.config, batch.valid / batch.valid.sum().clamp(min=1)
        logits, value, thought, _ = self.network(
            batch.obs, batch.first, batch.memory, batch.action, batch.choice
        )
        log_pi, advantage = logits.log_softmax(-1), batch.advantage
        if config.normalise_advantages:
            advantage = normalised(advantage, weight)
        change = log_probabilities(log_pi, batch.action) + thought.log_prob - batch.log_prob
        returns = batch.advantage + batch.value
        terms = {
            "policy_loss": policy_loss(change, advantage, config.clip),
            "value_loss": value_loss(value, batch.value, returns, config.value_clip),
            "entropy": entropy(log_pi),
            "nats": thought.nats,
            "commitment": thought.commitment,
            "kl": change.expm1() - change,  # an unbiased estimate, never negative
            "clipped": change.expm1().abs() > (config.clip or math.inf),
        }
        means = {name: (weight * term).sum() for name, term in terms.items()}
        loss = (
            means["policy_loss"]
            + config.value_cost * means["value_loss"]
            - config.entropy_bonus * means["entropy"]
            + config.nats_cost * means["nats"]
            + config.commitment_cost * means["commitment"]
        )
        return loss, {name: mean.detach() for name, mean in means.items()}

    def _anneal(self) -> float:
        """Set the learning rate for the segment just played; that of its first step."""
        config, rate = self.config, self.config.learning_rate
        if config.anneal_steps:
            begin = self.steps - self.spec.num_envs * config.horizon
            rate = linear(begin, begin=rate, end=0.0, over=config.anneal_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def state_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in PARTS}
        parts["optimizer"] = self.optimizer.state_dict()
        return parts | {"key": self.key, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        load_optimizer(self.optimizer, state["optimizer"])
        self.player.refresh()
        self.key, self.steps = state["key"], state["steps"]


def _told(logits: Tensor, value: Tensor, thought: Thought) -> tuple[Tensor, ...]:
    kept = (x.clone() for x in (value, thought.nats, thought.choice, thought.log_prob))
    return (logits.log_softmax(-1), *kept)
