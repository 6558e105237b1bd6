"""PPO (Schulman et al. 2017) with the details of CleanRL on Atari (Huang et al. 2022); also A2C.

The policy's logits are a planner's, so that planners are compared within one algorithm. An agent
with an LSTM or a planner with a carry learns from sequences: a rollout stores the carry before its
first timestep, from which the network is unrolled again.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..envs import prng
from ..envs.checks import above, at_least, check, within
from ..envs.errors import UsageError
from ..envs.interface import Carry, EnvSpec, Metrics, Segment, TimeStep, Transition
from ..world_models.interface import PlannerConfig
from ..world_models.planning.reactive import ReactiveConfig
from ..world_models.precision import FLOAT32, Precision, run_with_oom_hint, to_channels_last
from ..world_models.state import HasState
from .interface import ActOutput, AgentConfig
from .losses import (
    action_log_prob,
    entropy,
    mean_weight,
    normalize_advantages,
    ppo_policy_loss,
    ppo_value_loss,
)
from .networks import AutoConfig, NetworkConfig, PolicyNetwork, inference_copy
from .policies import sample
from .returns import explained_variance, generalized_advantages, learning_reward
from .rollout import Batch, Rollout, select, split_sequences
from .schedules import linear


@dataclass(frozen=True)
class PPOConfig(AgentConfig):
    """PPO with CleanRL's Atari settings; steps are agent steps, summed over all envs.

    A2C (Mnih et al. 2016) is ``update_epochs 1, num_minibatches 1, clip_coef None, clip_vloss
    False`` with a short rollout.
    """

    on_policy: ClassVar[bool] = True
    """Whether the agent can learn only from actions that it chose itself."""

    network: NetworkConfig = AutoConfig()
    """Feature extractor of stacked frames."""
    lstm: int = 0
    """Units of an LSTM on top of the features; 0 for no LSTM."""
    planner: PlannerConfig = ReactiveConfig()
    """Maps features to logits of the action."""
    plan_kl_coef: float = 1e-4
    """Coefficient of the KL divergence of the planner's latent code from its prior, per nat."""
    replan_coef: float = 0.01
    """Coefficient of the planner's probability of replanning; without effect on reactive."""
    free_energy: bool = False
    """Add KL and entropy to the reward, so that the return is E[R] - alpha KL + alpha H, instead of
    to the loss of their own timestep only. The temperature alpha is plan_kl_coef and ent_coef,
    which must be equal."""
    bptt_length: int = 32
    """Timesteps of backpropagation through time: a rollout is split into sequences of this length,
    each with the carry it started from."""
    num_steps: int = 128
    """Timesteps per env in a rollout."""
    update_epochs: int = 4
    """Passes over a rollout."""
    num_minibatches: int = 4
    """Minibatches per epoch, one update each. They consist of timesteps, or of sequences where the
    network is recurrent."""
    gamma: float = 0.99
    """Discount factor."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation."""
    reward_clip: float | None = 1.0
    """Clip rewards to plus or minus this value before a bonus is added; None for no clip."""
    total_clip: float | None = None
    """Clip the sum of reward and bonus to plus or minus this value; None for no clip."""
    clip_coef: float | None = 0.1
    """Clip of the surrogate objective's probability ratio to 1 +- this value; None for no clip."""
    clip_vloss: bool = True
    """Clip the change of a value to clip_coef too."""
    norm_adv: bool = True
    """Normalize advantages to mean 0 and standard deviation 1 in each minibatch."""
    vf_coef: float = 0.5
    """Coefficient of the value loss."""
    ent_coef: float = 0.01
    """Coefficient of the policy's entropy, per nat."""
    learning_rate: float = 2.5e-4
    """Initial learning rate of Adam, with epsilon 1e-5."""
    anneal_steps: int = 10_000_000
    """Steps in which the learning rate decays to 0; 0 keeps it constant."""
    max_grad_norm: float = 0.5
    """Gradients are clipped to this norm."""

    def __post_init__(self) -> None:
        check(self, "agent", at_least(1), "num_steps", "update_epochs", "num_minibatches")
        check(self, "agent", at_least(1), "bptt_length")
        check(self, "agent", at_least(0), "lstm", "anneal_steps")
        check(self, "agent", at_least(0), "plan_kl_coef", "replan_coef", "ent_coef")
        check(self, "agent", within(0, 1), "gamma", "gae_lambda")
        check(self, "agent", above(0), "clip_coef", "vf_coef")
        check(self, "agent", above(0), "learning_rate", "max_grad_norm")
        check(self, "agent", above(0), "reward_clip", "total_clip")
        if self.free_energy and self.plan_kl_coef != self.ent_coef:
            raise UsageError(
                f"agent.plan_kl_coef is {self.plan_kl_coef} and agent.ent_coef is "
                f"{self.ent_coef}; under agent.free_energy both are the temperature, so make "
                "them equal."
            )

    @property
    def rollout_length(self) -> int:
        return self.num_steps

    def first_update(self, num_envs: int) -> int:
        return self.num_steps * num_envs

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "PPO":
        return PPO(self, spec, seed=seed, device=device, precision=precision)


class PPO(HasState):
    """An agent that samples from a policy and updates it whenever a rollout is full.

    Raises UsageError if the settings contradict each other, or a rollout does not fit in memory.
    """

    STATE = ("network", "rollout", "optimizer", "rng", "steps")
    BUFFERS = ("rollout",)

    def __init__(
        self,
        config: PPOConfig,
        spec: EnvSpec,
        *,
        seed: int,
        device: torch.device | str,
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.spec, self.seed = config, spec, seed
        self.device = torch.device(device)
        with prng.seeded(seed):
            trunk = config.network.build(spec.obs_shape, precision)
            features = config.lstm or trunk.features
            planner = config.planner.build(
                features=features, num_actions=spec.num_actions, seed=seed
            )
            self.network = PolicyNetwork(trunk, config.lstm, planner).to(self.device)
        self.inference_copy = inference_copy(self.network, precision)
        self.forward, self._loss = self.inference_copy.network.forward, self.ppo_loss
        if not self.network.recurrent:  # else each timestep of a sequence would be compiled apart
            self.forward = precision.maybe_compile(self.forward, self.device)
            self._loss = precision.maybe_compile(self._loss, self.device)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, eps=1e-5, fused=True
        )
        recurrent = self.network.recurrent
        self.sequence_length = min(config.bptt_length, config.num_steps) if recurrent else 1
        """Timesteps in a row of a batch."""
        if config.num_steps % self.sequence_length:
            raise UsageError(
                f"agent.num_steps is {config.num_steps} and agent.bptt_length is "
                f"{config.bptt_length}; make agent.num_steps a multiple of agent.bptt_length."
            )
        self.rollout = self.new_rollout(spec)
        self.rng = prng.initial_rng(seed, prng.Purpose.REPLAY, 1)
        self.steps = 0

    def new_rollout(self, spec: EnvSpec) -> Rollout:
        """Return an empty rollout for the envs of ``spec``."""
        config = self.config
        return Rollout(
            spec,
            config.num_steps,
            extras=("log_prob", "decision", "value", *["free_energy"] * config.free_energy),
            carry_every=self.sequence_length if self.network.recurrent else config.num_steps,
            device=self.device,
        )

    def initial(self, n: int) -> Carry:
        carry = self.network.initial(n) | {
            "rng": prng.initial_rng(self.seed, prng.Purpose.TRAIN, n)
        }
        return {name: x.to(self.device) for name, x in carry.items()}

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        """Sample an action from the policy, or return its mode if ``explore`` is false.

        The extras are the value and the log-probability of action and decision together, and what
        the planner shows.
        """
        logits, value, plan, next_carry = self.forward(
            step.obs[:, None], step.first[:, None], carry
        )
        log_pi = logits[:, 0].log_softmax(1)
        action = sample(logits[:, 0], carry["rng"]) if explore else logits[:, 0].argmax(1)
        next_carry = {name: x.clone() for name, x in next_carry.items()}
        if "action" in next_carry:
            next_carry["action"] = action
        extras = {
            "log_prob": action_log_prob(log_pi, action) + plan.log_prob[:, 0],
            "value": value[:, 0].clone(),  # a compiled forward pass would overwrite it
            "decision": plan.decision[:, 0].clone(),
        }
        if self.config.free_energy:
            extras["free_energy"] = entropy(log_pi) - plan.kl[:, 0]
        for name, x in (("replanned", plan.replanned), ("window", plan.window)):
            if x is not None:
                extras[name] = x[:, 0].clone()
        return ActOutput(action, next_carry, extras)

    def learn(self, t: Transition) -> Metrics:
        """Store a transition, and learn from the rollout if it is full.

        Raises UsageError if a minibatch does not fit in memory.
        """
        self.rollout.append(t)
        self.steps += self.spec.num_envs
        if len(self.rollout) < self.config.num_steps:
            return {}
        return self.train_on(self.rollout.pop(), self.value(t.next_step, t.next_carry))

    @torch.no_grad()
    def value(self, step: TimeStep, carry: Carry) -> Float[Tensor, " N"]:
        """Return the value of each env's observation."""
        value = self.forward(step.obs[:, None], step.first[:, None], carry)[1]
        return value[:, 0].clone()

    def train_on(self, segment: Segment, next_value: Float[Tensor, " B"]) -> Metrics:
        """Update for several epochs on a segment collected by the present policy.

        ``next_value`` is the value of the observation after the last action. Raises UsageError if a
        minibatch does not fit in memory.
        """
        learning_rate = self.anneal_learning_rate()
        batch = self.estimate_advantages(segment, next_value)
        residual, returns = (x[batch.valid] for x in (batch.advantage, batch.returns))
        batch = replace(batch, obs=to_channels_last(batch.obs))  # once for all epochs
        updates = []
        for _ in range(self.config.update_epochs):
            bits = prng.bits(self.rng, len(batch.action), prng.Purpose.SAMPLE)[0]
            order = bits.argsort().to(self.device)
            self.rng = prng.next_rng(self.rng)
            minibatches = order.chunk(self.config.num_minibatches)
            updates += [self.update(select(batch, rows)) for rows in minibatches]
        self.inference_copy.refresh()
        return {
            "charts/learning_rate": learning_rate,
            "losses/explained_variance": explained_variance(residual, returns),
            **{name: torch.stack([x[name] for x in updates]).mean() for name in updates[0]},
        }

    def estimate_advantages(self, segment: Segment, next_value: Float[Tensor, " B"]) -> Batch:
        """Return the segment as sequences, with advantages from the values of its timesteps."""
        config, extras = self.config, segment.extras
        value = torch.cat([extras["value"], next_value[:, None]], 1)
        reward = learning_reward(
            segment.reward, segment.bonus, clip=config.reward_clip, total_clip=config.total_clip
        )
        if config.free_energy:
            reward = reward + config.ent_coef * extras["free_energy"]
        columns = {
            "obs": segment.obs[:, :-1],
            "first": segment.first[:, :-1],
            "valid": segment.valid,
            "action": segment.action,
            "decision": extras["decision"],
            "log_prob": extras["log_prob"],
            "value": value[:, :-1],
            "advantage": generalized_advantages(
                reward, config.gamma * segment.discount, value, segment.valid, config.gae_lambda
            ),
        }
        rows = {name: split_sequences(x, self.sequence_length) for name, x in columns.items()}
        return Batch(**rows, carry=segment.carry if self.network.recurrent else {})

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """Make one gradient step on a minibatch and return its metrics.

        Raises UsageError if the minibatch does not fit in memory.
        """
        size, rows = len(batch.action), torch.arange(len(batch.action), device=self.device)
        metrics = run_with_oom_hint(
            lambda n: self._backward(select(batch, rows[:n]) if n < size else batch),
            size,
            lambda fits: self._out_of_memory_message(size, fits),
        )
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        return {name: x.clone() for name, x in metrics.items()}

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        loss, metrics = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return metrics

    def _out_of_memory_message(self, size: int, fits: int) -> str:
        remedy = "nor does a smaller one; lower --num-envs or choose a smaller agent.network"
        if fits:
            minibatches = math.ceil(self.config.num_minibatches * size / fits)
            remedy = f"but {fits} rows fit; choose --agent.num_minibatches {minibatches}"
        return f"A minibatch of {size} rows does not fit in the memory of {self.device}, {remedy}."

    def ppo_loss(self, batch: Batch) -> tuple[Float[Tensor, "*s"], dict[str, Tensor]]:
        """Return PPO's loss and the means of its terms.

            policy_loss + vf_coef value_loss - ent_coef entropy
            + plan_kl_coef kl + replan_coef replan_prob

        The terms are those of ``losses`` and of ``PlannerOutput``. The value loss is averaged over
        all timesteps but automatic resets, the other terms over those of them at which the planner
        decides. The metric approx_kl is the mean of rho - 1 - log rho, clipfrac the fraction with
        abs(rho - 1) > clip_coef.
        """
        config = self.config
        logits, value, plan, _ = self.network(
            batch.obs, batch.first, batch.carry, batch.action, batch.decision
        )
        all_valid = mean_weight(batch.valid)
        deciding = all_valid if plan.decides is None else mean_weight(batch.valid & plan.decides)
        log_pi, advantages = logits.log_softmax(-1), batch.advantage
        if config.norm_adv:
            advantages = normalize_advantages(advantages, deciding)
        logratio = action_log_prob(log_pi, batch.action) + plan.log_prob - batch.log_prob
        value_clip = config.clip_coef if config.clip_vloss else None
        terms = {
            "losses/policy_loss": ppo_policy_loss(logratio, advantages, config.clip_coef),
            "losses/value_loss": ppo_value_loss(value, batch.value, batch.returns, value_clip),
            "losses/entropy": entropy(log_pi),
            "plan/kl": plan.kl,
            "plan/replan_prob": plan.replan_prob,
            "losses/approx_kl": logratio.expm1() - logratio,  # unbiased, and never negative
            "losses/clipfrac": logratio.expm1().abs() > (config.clip_coef or math.inf),
        }
        weights = dict.fromkeys(terms, deciding) | {"losses/value_loss": all_valid}
        means = {name: (weights[name] * term).sum((-2, -1)) for name, term in terms.items()}
        loss = (
            means["losses/policy_loss"]
            + config.vf_coef * means["losses/value_loss"]
            - config.ent_coef * means["losses/entropy"]
            + config.plan_kl_coef * means["plan/kl"]
            + config.replan_coef * means["plan/replan_prob"]
        )
        return loss, {name: mean.detach() for name, mean in means.items()}

    def anneal_learning_rate(self) -> float:
        """Set and return the learning rate at the first step of the rollout just collected."""
        config, learning_rate = self.config, self.config.learning_rate
        if config.anneal_steps:
            step = self.steps - self.spec.num_envs * config.num_steps
            learning_rate = linear(step, begin=learning_rate, end=0.0, over=config.anneal_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        return learning_rate

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.inference_copy.refresh()
