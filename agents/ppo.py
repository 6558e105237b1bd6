"""PPO (Schulman et al. 2017) with the details of CleanRL on Atari (Huang et al. 2022); also A2C.

The policy's logits are a planner's, so that planners are compared within one algorithm. An agent
with an LSTM or a planner with a carry learns from sequences: a rollout stores the carry before its
first timestep, from which the network is unrolled again.

Rewards and bonuses can have values of their own, as in RND (Burda et al. 2018, section 2.3): the
return of bonuses has another discount factor, and goes on where an episode ends.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..envs import prng
from ..envs.checks import above, at_least, check, within
from ..envs.errors import UsageError
from ..envs.interface import Carry, EnvSpec, Metrics, Segment, TimeStep
from ..world_models.interface import PlannerConfig, PlannerOutput
from ..world_models.planning.reactive import ReactiveConfig
from ..world_models.precision import FLOAT32, InferenceCopy, Precision, to_channels_last
from .interface import ActOutput
from .losses import (
    action_log_prob,
    entropy,
    mean_weight,
    normalize_advantages,
    ppo_policy_loss,
    ppo_value_loss,
)
from .on_policy import OnPolicyAgent, OnPolicyConfig
from .output_networks import PolicyNetwork, inference_copy
from .policies import sample
from .returns import (
    continuing_advantages,
    explained_variance,
    generalized_advantages,
    learning_reward,
)
from .rollout import Rollout, SequenceBatch, split_sequences


@dataclass(frozen=True)
class PPOConfig(OnPolicyConfig):
    """PPO with CleanRL's Atari settings; steps are agent steps, summed over all envs.

    The optimizer is Adam with epsilon 1e-5. A2C (Mnih et al. 2016) is ``update_epochs 1,
    num_minibatches 1, clip_coef None, clip_vloss False`` with a short rollout.
    """

    lstm: int = 0
    """Units of an LSTM on top of the features; 0 for no LSTM."""
    separate_critic: bool = False
    """Give the critic a feature extractor of its own instead of the policy's features."""
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
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation."""
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
    intrinsic_value: bool = False
    """Estimate the value of bonuses apart from that of rewards. The return of bonuses does not end
    with an episode."""
    int_gamma: float = 0.99
    """Discount factor of bonuses, with intrinsic_value; gamma is that of rewards."""
    int_coef: float = 1.0
    """Coefficient of the advantage by bonuses, with intrinsic_value."""
    ext_coef: float = 2.0
    """Coefficient of the advantage by rewards, with intrinsic_value."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "agent", at_least(1), "bptt_length")
        check(self, "agent", at_least(0), "lstm")
        check(self, "agent", at_least(0), "plan_kl_coef", "replan_coef", "ent_coef")
        check(self, "agent", at_least(0), "int_coef", "ext_coef")
        check(self, "agent", within(0, 1), "gae_lambda", "int_gamma")
        check(self, "agent", above(0), "clip_coef", "vf_coef")
        if self.free_energy and self.plan_kl_coef != self.ent_coef:
            raise UsageError(
                f"agent.plan_kl_coef is {self.plan_kl_coef} and agent.ent_coef is "
                f"{self.ent_coef}; under agent.free_energy both are the temperature, so make "
                "them equal."
            )
        if self.separate_critic and self.lstm:
            raise UsageError(
                f"agent.separate_critic is set and agent.lstm is {self.lstm}, but policy and "
                "critic share an LSTM; leave out one of the two."
            )
        if self.intrinsic_value and self.total_clip is not None:
            raise UsageError(
                f"agent.total_clip is {self.total_clip}, and under agent.intrinsic_value rewards "
                "and bonuses are not summed; leave out one of the two."
            )

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "PPO":
        return PPO(self, spec, seed=seed, device=device, precision=precision)


class PPO(OnPolicyAgent[SequenceBatch]):
    """An agent that samples from a policy and updates it whenever a rollout is full.

    Raises UsageError if the settings contradict each other, or a rollout does not fit in memory.
    """

    STATE = ("network", *OnPolicyAgent.STATE)

    config: PPOConfig
    optimizer: torch.optim.Adam
    inference_copy: InferenceCopy[PolicyNetwork]

    def __init__(
        self,
        config: PPOConfig,
        spec: EnvSpec,
        *,
        seed: int,
        device: torch.device | str,
        precision: Precision = FLOAT32,
    ) -> None:
        super().__init__(config, spec, seed=seed, device=device)
        with prng.seeded(seed):
            trunk = config.network.build(spec.obs_shape, precision)
            features = config.lstm or trunk.features
            self.columns = config.planner.privileged_columns(spec.privileged)
            """The bytes of the true state that are the planner's features; None if none are."""
            planner = config.planner.build(
                features=features if self.columns is None else len(self.columns),
                num_actions=spec.num_actions, seed=seed,
            )  # fmt: skip
            num_values, critic_trunk = 1 + config.intrinsic_value, None
            if config.separate_critic:
                critic_trunk = config.network.build(spec.obs_shape, precision)
            network = PolicyNetwork(trunk, config.lstm, planner, num_values, critic_trunk)
            self.network = network.to(self.device)
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

    def new_rollout(self, spec: EnvSpec) -> Rollout:
        """Return an empty rollout for the envs of ``spec``."""
        config = self.config
        options = {"free_energy": config.free_energy, "int_value": config.intrinsic_value}
        return Rollout(
            spec,
            config.num_steps,
            extras=(
                "log_prob",
                "decision",
                "value",
                *(x for x, is_set in options.items() if is_set),
            ),
            carry_every=self.sequence_length if self.network.recurrent else config.num_steps,
            device=self.device,
        )

    def initial(self, n: int) -> Carry:
        carry = self.network.initial(n) | {
            "rng": prng.initial_rng(self.seed, prng.Purpose.TRAIN, n)
        }
        return {name: x.to(self.device) for name, x in carry.items()}

    def planned_from(
        self, privileged: UInt8[Tensor, "*b P"] | None
    ) -> UInt8[Tensor, "*b D"] | None:
        """Return the bytes of the true state that the planner reads, or None if it reads none."""
        if self.columns is None:
            return None
        assert privileged is not None
        return privileged[..., self.columns]

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        """Sample an action from the policy, or return its mode if ``explore`` is false.

        The extras are the value and the log-probability of action and decision together, and what
        the planner shows; with ``intrinsic_value`` also the value of bonuses.
        """
        logits, value, plan, next_carry = self.outputs(step, carry)
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
        if self.config.intrinsic_value:
            extras["value"], extras["int_value"] = extras["value"].unbind(1)
        if self.config.free_energy:
            extras["free_energy"] = entropy(log_pi) - plan.kl[:, 0]
        for name, x in (("replanned", plan.replanned), ("window", plan.window)):
            if x is not None:
                extras[name] = x[:, 0].clone()
        return ActOutput(action, next_carry, extras)

    @torch.no_grad()
    def value(self, step: TimeStep, carry: Carry) -> Float[Tensor, "N ..."]:
        """Return the value of each env's observation, or with ``intrinsic_value`` both, [N 2]."""
        value = self.outputs(step, carry)[1]
        return value[:, 0].clone()

    def outputs(
        self, step: TimeStep, carry: Carry
    ) -> tuple[Float[Tensor, "N 1 A"], Float[Tensor, "N 1 ..."], PlannerOutput, Carry]:
        """Return logits, values and planner outputs of one timestep, and the carry after it."""
        privileged = self.planned_from(step.privileged)
        if privileged is not None:
            privileged = privileged[:, None]
        return self.forward(step.obs[:, None], step.first[:, None], carry, privileged=privileged)

    def train_on(self, segment: Segment, next_value: Float[Tensor, "B ..."]) -> Metrics:
        batch = self.estimate_advantages(segment, next_value)
        valid = self.ranks.gather(batch.valid)
        residual, returns = (self.ranks.gather(x)[valid] for x in (batch.advantage, batch.returns))
        return {
            "losses/explained_variance": explained_variance(residual, returns),
            **self.fit(replace(batch, obs=to_channels_last(batch.obs))),  # once for all epochs
        }

    def estimate_advantages(
        self, segment: Segment, next_value: Float[Tensor, "B ..."]
    ) -> SequenceBatch:
        """Return the segment as sequences, with advantages from the values of its timesteps."""
        config, extras, bonus = self.config, segment.extras, segment.bonus
        own: dict[str, Tensor] = {}
        if config.intrinsic_value:
            next_value, next_int_value = next_value.unbind(1)
            int_value = torch.cat([extras["int_value"], next_int_value[:, None]], 1)
            int_advantage = continuing_advantages(
                bonus, config.int_gamma, int_value, segment.valid, config.gae_lambda
            )
            own = {"int_value": int_value[:, :-1], "int_advantage": int_advantage}
            bonus = torch.zeros_like(bonus)
        value = torch.cat([extras["value"], next_value[:, None]], 1)
        reward = learning_reward(
            segment.reward, bonus, clip=config.reward_clip, total_clip=config.total_clip
        )
        if config.free_energy:
            reward = reward + config.ent_coef * extras["free_energy"]
        columns = own | {
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
        privileged = self.planned_from(segment.privileged)
        if privileged is not None:
            columns["privileged"] = privileged[:, :-1]
        rows = {name: split_sequences(x, self.sequence_length) for name, x in columns.items()}
        return SequenceBatch(**rows, carry=segment.carry if self.network.recurrent else {})

    def ppo_loss(self, batch: SequenceBatch) -> tuple[Float[Tensor, "*s"], dict[str, Tensor]]:
        """Return PPO's loss and the means of its terms.

            policy_loss + vf_coef value_loss - ent_coef entropy
            + plan_kl_coef kl + replan_coef replan_prob

        The means are over all ``ranks``, of which each returns its summand of them. The terms are
        those of ``losses`` and of ``PlannerOutput``. The value loss is averaged over
        all timesteps but automatic resets, the other terms over those of them at which the planner
        decides. The metric approx_kl is the mean of rho - 1 - log rho, clipfrac the fraction with
        abs(rho - 1) > clip_coef.

        With ``intrinsic_value`` the loss of the value of bonuses is added to that of rewards. It is
        not clipped, as in CleanRL, and averaged over resets too, since the return crosses them. The
        advantage is ext_coef A_ext + int_coef A_int.
        """
        config = self.config
        logits, value, plan, _ = self.network(
            batch.obs, batch.first, batch.carry, batch.action, batch.decision, batch.privileged
        )
        all_valid = deciding = mean_weight(batch.valid, self.ranks)
        if plan.decides is not None:
            deciding = mean_weight(batch.valid & plan.decides, self.ranks)
        log_pi, advantages = logits.log_softmax(-1), batch.advantage
        int_loss = None
        if batch.int_value is not None and batch.int_advantage is not None:
            value, int_value = value.unbind(-1)
            int_returns = batch.int_advantage + batch.int_value
            int_loss = ppo_value_loss(int_value, batch.int_value, int_returns, None)
            advantages = config.ext_coef * advantages + config.int_coef * batch.int_advantage
        if config.norm_adv:
            advantages = normalize_advantages(advantages, deciding, self.ranks)
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
        if int_loss is not None:
            terms["losses/int_value_loss"] = int_loss
            always = torch.ones_like(batch.valid)
            weights["losses/int_value_loss"] = mean_weight(always, self.ranks)
        means = {name: (weights[name] * term).sum((-2, -1)) for name, term in terms.items()}
        loss = (
            means["losses/policy_loss"]
            + config.vf_coef * means["losses/value_loss"]
            - config.ent_coef * means["losses/entropy"]
            + config.plan_kl_coef * means["plan/kl"]
            + config.replan_coef * means["plan/replan_prob"]
        )
        if int_loss is not None:
            loss = loss + config.vf_coef * means["losses/int_value_loss"]
        return loss, {name: mean.detach() for name, mean in means.items()}
