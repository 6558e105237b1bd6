"""DQN (Mnih et al. 2015): Q-learning from a replay buffer, with a target network.

With double Q-learning (van Hasselt et al. 2016) unless it is turned off, optionally dueling (Wang
et al. 2016), n-step, and mixed with Monte-Carlo returns (Bellemare et al. 2016), which propagate a
rare bonus along an episode at once.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from ..envs import prng
from ..envs.checks import above, at_least, check, within
from ..envs.errors import UsageError
from ..envs.interface import Carry, EnvSpec, Metrics, TimeStep, Transition
from ..world_models.precision import (
    FLOAT32,
    Precision,
    run_with_oom_hint,
    shared_autocast_cache,
)
from ..world_models.state import HasState
from .interface import ActOutput, AgentConfig
from .networks import AutoConfig, NetworkConfig
from .notices import Notice
from .output_networks import QNetwork, inference_copy
from .policies import epsilon_greedy
from .random_shift import shift_batch
from .replay import Batch, Replay
from .returns import double_q_targets, learning_reward, q_targets
from .schedules import Ratio, linear


@dataclass(frozen=True)
class DQNConfig(AgentConfig):
    """Settings of double DQN with the mixed Monte-Carlo target.

    Steps are agent steps, summed over all envs. The DQN of Mnih et al. 2015 has the target of
    ``double_q False, monte_carlo_weight 0``.
    """

    network: NetworkConfig = AutoConfig()
    """Network from stacked frames to features."""
    double_q: bool = True
    """Let the online network choose the action whose value the target network estimates. Otherwise
    the target is the target network's greatest value, and an update has one forward pass less."""
    dueling: bool = False
    """Q-values as a state value plus advantages, both linear in the features."""
    n_step: int = 1
    """Rewards of a temporal-difference target before it bootstraps."""
    monte_carlo_weight: float = 0.1
    """eta: weight of the Monte-Carlo return in the target. If it is not 0, a transition can be
    sampled only after its episode has ended; its weight is 0 if a time-out ended the episode."""
    gamma: float = 0.99
    """Discount factor per agent step."""
    reward_clip: float | None = 1.0
    """Rewards are clipped to plus or minus this before a bonus is added."""
    total_clip: float | None = None
    """Clip of the sum of reward and bonus (Ostrovski et al. 2017: 1)."""
    end_epsilon: float = 0.1
    """Final probability of a random action; it decreases linearly from 1 after learning_starts."""
    exploration_steps: int = 250_000
    """Steps over which epsilon decreases (Mnih et al. 2015: a million frames)."""
    buffer_size: int = 1_000_000
    """Frames in the replay buffer, of all envs."""
    learning_starts: int = 50_000
    """Steps before the first update."""
    replay_ratio: float = 0.25
    """Updates per step: floor((steps - learning_starts) * replay_ratio) in total."""
    batch_size: int = 32
    """Transitions per update."""
    target_network_frequency: int = 10_000
    """Steps between copies into the target network, rounded to a whole number of updates."""
    random_shift: int = 0
    """Pixels by which the images of an update are shifted at most, each at random, as data
    augmentation (Kostrikov et al. 2020: 4); 0 for none."""
    learning_rate: float = 6.25e-5
    """Of Adam, with epsilon 1.5e-4 (Hessel et al. 2018, table 1)."""
    max_grad_norm: float = 10.0
    """Maximum norm of the gradient (Wang et al. 2016)."""
    replay_on_device: bool = False
    """Keep the frames of the replay buffer on the agent's device instead of in host memory."""

    def __post_init__(self) -> None:
        check(self, "agent", at_least(1), "n_step", "exploration_steps", "batch_size")
        check(self, "agent", at_least(1), "target_network_frequency")
        check(self, "agent", at_least(0), "learning_starts", "random_shift")
        check(self, "agent", within(0, 1), "monte_carlo_weight", "gamma", "end_epsilon")
        check(self, "agent", above(0), "replay_ratio", "learning_rate", "max_grad_norm")
        check(self, "agent", above(0), "reward_clip", "total_clip")

    def first_update(self, num_envs: int) -> int:
        return self.learning_starts + math.ceil(1 / self.replay_ratio)

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "DQN":
        return DQN(self, spec, seed=seed, device=device, precision=precision)


def td_metrics(updates: list[Float[Tensor, "2"]]) -> Metrics:
    """Return the means of the losses and Q-values of updates; nothing without an update."""
    if not updates:
        return {}
    td_loss, q_values = torch.stack(updates).mean(0).unbind()
    return {"losses/td_loss": td_loss, "losses/q_values": q_values}


class DQN(HasState):
    """Epsilon-greedy agent that learns Q-values off-policy, from a replay buffer of all envs.

    Raises UsageError if buffer_size is too small for the envs or too large for the memory, or
    random_shift too large for the images.
    """

    STATE: ClassVar[tuple[str, ...]] = (
        "q_network", "target_network", "replay", "optimizer", "steps", "schedule",
    )  # fmt: skip
    BUFFERS = ("replay",)

    def __init__(
        self,
        config: DQNConfig,
        spec: EnvSpec,
        *,
        seed: int,
        device: torch.device | str,
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.spec, self.seed, self.device = config, spec, seed, torch.device(device)
        height, width = spec.obs_shape[1:]
        if 2 * config.random_shift >= min(height, width):
            raise UsageError(
                f"agent.random_shift is {config.random_shift}, too much for observations of "
                f"{height}x{width} pixels; it must be less than half of either side, or 0."
            )
        with prng.seeded(seed):
            self.q_network = self.build_network(precision).to(device)
        self.target_network = copy.deepcopy(self.q_network).requires_grad_(False)
        self.target_inference = inference_copy(self.target_network, precision)
        self.forward = precision.maybe_compile(self.q_network.forward, self.device)
        self._loss = precision.maybe_compile(self.loss, self.device)
        self.optimizer = torch.optim.Adam(
            self.q_network.parameters(), lr=config.learning_rate, eps=1.5e-4, fused=True
        )
        self.replay = Replay(
            spec, capacity=config.buffer_size, gamma=config.gamma, n_step=config.n_step,
            monte_carlo=config.monte_carlo_weight > 0, seed=seed,
            device=device if config.replay_on_device else "cpu",
        )  # fmt: skip
        self.steps = 0
        self.schedule = Ratio(
            config.replay_ratio, start=config.learning_starts, num_envs=spec.num_envs
        )
        self.notice = Notice.of_episodes(spec.num_envs)
        frequency = config.target_network_frequency * config.replay_ratio
        self.updates_per_copy = max(1, round(frequency))

    def build_network(self, precision: Precision) -> QNetwork:
        """Return a new network, from torch's generator."""
        trunk = self.config.network.build(self.spec.obs_shape, precision)
        return QNetwork(trunk, self.spec.num_actions, self.config.dueling)

    @property
    def epsilon(self) -> float:
        """Current probability of a random action."""
        step = self.steps - self.config.learning_starts
        return linear(
            step, begin=1.0, end=self.config.end_epsilon, over=self.config.exploration_steps
        )

    def initial(self, n: int) -> Carry:
        return {"rng": prng.initial_rng(self.seed, prng.Purpose.TRAIN, n).to(self.device)}

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        action, rng = self.forward(step.obs).argmax(1), carry["rng"]
        if explore:
            action = epsilon_greedy(action, rng, self.spec.num_actions, self.epsilon)
        return ActOutput(action, {"rng": prng.next_rng(rng)})

    def learn(self, t: Transition) -> Metrics:
        """Store the transition and make the updates that are due.

        Raises UsageError, with a batch size that fits, if the batch is too large for the memory.
        """
        clip, total_clip = self.config.reward_clip, self.config.total_clip
        reward = learning_reward(t.next_step.reward, t.bonus, clip=clip, total_clip=total_clip)
        self.replay.append(t, reward)
        self.steps += self.spec.num_envs
        replay_size = float(len(self.replay))
        metrics: Metrics = {"charts/epsilon": self.epsilon, "charts/replay_size": replay_size}
        self.notice_no_episode(len(self.replay))
        if replay_size:  # else no episode has ended yet
            metrics |= td_metrics([self.update() for _ in self.schedule(self.steps)])
        return metrics

    def notice_no_episode(self, replay_size: int) -> None:
        """Print a notice, once, if no transition can be sampled long after learning has started."""
        if self.steps > self.config.learning_starts:
            self.notice.update(
                self.spec.num_envs,
                happened=replay_size > 0,
                sentence=f"No episode has ended in {self.steps:,} agent steps, so DQN has made no "
                f"update: with agent.monte_carlo_weight {self.config.monte_carlo_weight:g} it "
                "learns only from episodes that have ended; choose --agent.monte_carlo_weight 0, "
                "or an env with a time limit.",
            )

    def update(self) -> Float[Tensor, "2"]:
        """Take one gradient step on a batch; return its loss and mean Q-value.

        Raises UsageError, with a batch size that fits, if the batch is too large for the memory.
        """
        size = self.config.batch_size
        loss, q_value = run_with_oom_hint(
            self._backward,
            size,
            lambda fits: (
                f"agent.batch_size is {size}, too many transitions for {self.device}'s memory; "
                f"{fits or 'no smaller batch'} would fit."
            ),
        )
        nn.utils.clip_grad_norm_(self.q_network.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.copy_target_if_due()
        return torch.stack([loss, q_value])

    def copy_target_if_due(self) -> None:
        """Copy the network into the target network, after every ``updates_per_copy`` updates."""
        if self.schedule.count % self.updates_per_copy == 0:
            self.target_network.load_state_dict(self.q_network.state_dict())
            self.target_inference.refresh()

    def shift_rng(self, index: Int64[Tensor, " B"]) -> Int64[Tensor, " B"]:
        """Return the keys of the random shifts of these transitions in the current update."""
        seed = prng.fold_in(self.seed, self.schedule.count)
        return prng.keys(seed, prng.Purpose.TRANSITION, index)

    def _backward(self, batch_size: int) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        sample = self.replay.sample(batch_size)
        batch = sample.to(self.device)
        if self.config.random_shift:  # keys are drawn on the host, without waiting for the device
            batch = shift_batch(batch, self.config.random_shift, self.shift_rng(sample.index))
        with shared_autocast_cache(self.device):
            loss, q_value = (x.mean() for x in self._loss(batch))
        self.optimizer.zero_grad()
        loss.backward()
        return loss.detach(), q_value

    def loss(self, batch: Batch) -> tuple[Float[Tensor, "*heads B"], Float[Tensor, "*heads B"]]:
        """Return the Huber loss of each TD error, and the Q-value of each action taken.

            loss = h(Q(s, a) - y),  h(x) = x^2 / 2 if abs(x) <= 1 else abs(x) - 1/2

        h clips the gradient (Mnih et al. 2015). y is the target.
        """
        values = self.q_network(batch.obs)
        q_value = values.gather(-1, batch.action.expand(values.shape[:-1])[..., None])[..., 0]
        loss = functional.smooth_l1_loss(q_value, self.targets(batch), reduction="none")
        return loss, q_value.detach()

    @torch.no_grad()
    def targets(self, batch: Batch) -> Float[Tensor, "*heads B"]:
        """Return what the Q-values of a batch should be.

            y = (1 - w) (R + d Q'(s', argmax_a Q(s', a))) + w G

        R, d and s' are the reward, discount and next observation after n steps; without double
        Q-learning the argmax is that of Q'. w is the weight of the Monte-Carlo return G (Bellemare
        et al. 2016), 0 where G is not known.
        """
        target = self.target_inference.network(batch.next_obs)
        if self.config.double_q:
            # Copied at every update, both networks have the same weights.
            online = target if self.updates_per_copy == 1 else self.q_network(batch.next_obs)
            td_target = double_q_targets(batch.reward, batch.discount, online, target)
        else:
            td_target = q_targets(batch.reward, batch.discount, target)
        weight = self.config.monte_carlo_weight * batch.complete
        return torch.lerp(td_target, batch.returns, weight)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.target_inference.refresh()
