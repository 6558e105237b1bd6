"""PQN (Gallici et al. 2024): parallel Q-learning without a replay buffer or a target network.

Many envs are played epsilon-greedily for T timesteps. Q then learns the returns of Q(lambda) of
that rollout alone,

    G_t = r_{t+1} + gamma ((1 - lambda) max_a Q(s_{t+1}, a) + lambda G_{t+1})
    loss = mean (Q(s_t, a_t) - G_t)^2 / 2

and the next rollout is played with the new Q. LayerNorm in the network takes the place of the
target network, and the parallel envs that of the buffer.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..envs import prng
from ..envs.checks import at_least, check, within
from ..envs.interface import Carry, EnvSpec, Metrics, Segment, TimeStep
from ..world_models.precision import FLOAT32, InferenceCopy, Precision, to_channels_last
from .interface import ActOutput
from .losses import mean_weight
from .networks import insert_layer_norm_, orthogonal_
from .on_policy import OnPolicyAgent, OnPolicyConfig
from .output_networks import QNetwork, inference_copy
from .policies import epsilon_greedy
from .returns import lambda_returns, learning_reward
from .rollout import Batch, Rollout
from .schedules import linear


@dataclass(frozen=True)
class PQNConfig(OnPolicyConfig):
    """PQN with the paper's Atari settings; steps are agent steps, summed over all envs.

    The optimizer is RAdam. CleanRL's settings, for 8 envs and 10 million steps, are ``num_steps
    128, update_epochs 4, num_minibatches 4, end_epsilon 0.01, exploration_steps 1_000_000,
    anneal_steps 10_000_000``.
    """

    num_steps: int = 32
    """Timesteps per env in a rollout."""
    update_epochs: int = 2
    """Passes over a rollout."""
    num_minibatches: int = 32
    """Minibatches of timesteps per epoch, one update each."""
    anneal_steps: int = 0
    """Steps in which the learning rate decays to 0; 0 keeps it constant."""
    max_grad_norm: float = 10.0
    """Gradients are clipped to this norm."""
    layer_norm: bool = True
    """Insert a LayerNorm after every convolution and linear layer of the feature extractor."""
    q_lambda: float = 0.65
    """Lambda of Q(lambda): 0 for one-step targets, 1 for the rewards of the rest of the rollout."""
    end_epsilon: float = 0.001
    """Final probability of a random action; it decreases linearly from 1."""
    exploration_steps: int = 5_000_000
    """Steps over which epsilon decreases (in the paper a tenth of the training)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "agent", at_least(1), "exploration_steps")
        check(self, "agent", within(0, 1), "q_lambda", "end_epsilon")

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "PQN":
        return PQN(self, spec, seed=seed, device=device, precision=precision)


@dataclass(frozen=True, slots=True)
class QBatch(Batch):
    """Timesteps of a rollout, and their returns of Q(lambda)."""

    returns: Float[Tensor, " B"]


class PQN(OnPolicyAgent[QBatch]):
    """An epsilon-greedy agent that learns Q-values from a rollout whenever it is full.

    Raises UsageError if a rollout does not fit in memory.
    """

    STATE = ("q_network", *OnPolicyAgent.STATE)

    config: PQNConfig
    inference_copy: InferenceCopy[QNetwork]

    def __init__(
        self,
        config: PQNConfig,
        spec: EnvSpec,
        *,
        seed: int,
        device: torch.device | str,
        precision: Precision = FLOAT32,
    ) -> None:
        super().__init__(config, spec, seed=seed, device=device)
        with prng.seeded(seed):
            trunk = config.network.build(spec.obs_shape, precision)
            if config.layer_norm:
                insert_layer_norm_(trunk)
            q_network = QNetwork(trunk, spec.num_actions, dueling=False)
            orthogonal_(q_network)
        self.q_network = q_network.to(self.device)
        self.inference_copy = inference_copy(self.q_network, precision)
        self._forward = precision.maybe_compile(self.inference_copy.network.forward, self.device)
        self._loss = precision.maybe_compile(self.td_loss, self.device)
        self.optimizer = torch.optim.RAdam(self.q_network.parameters(), lr=config.learning_rate)
        self.rollout = Rollout(spec, config.num_steps, extras=("value",), device=self.device)

    @property
    def epsilon(self) -> float:
        """Current probability of a random action, that at the first step of the rollout."""
        step = self.steps - self.ranks.size * self.spec.num_envs * len(self.rollout)
        end, over = self.config.end_epsilon, self.config.exploration_steps
        return linear(step, begin=1.0, end=end, over=over)

    def initial(self, n: int) -> Carry:
        return {"rng": prng.initial_rng(self.seed, prng.Purpose.TRAIN, n).to(self.device)}

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        """Choose the greedy action or, if ``explore``, a random one with probability epsilon.

        The extra is the value max_a Q(s, a).
        """
        (value, action), rng = self._forward(step.obs).max(1), carry["rng"]
        if explore:
            action = epsilon_greedy(action, rng, self.spec.num_actions, self.epsilon)
        return ActOutput(action, {"rng": prng.next_rng(rng)}, {"value": value})

    @torch.no_grad()
    def value(self, step: TimeStep, carry: Carry) -> Float[Tensor, " N"]:
        return self._forward(step.obs).amax(1)

    def train_on(self, segment: Segment, next_value: Float[Tensor, " B"]) -> Metrics:
        batch = self.batch_of(segment, next_value)
        return {"charts/epsilon": self.epsilon, **self.fit(batch)}

    def batch_of(self, segment: Segment, next_value: Float[Tensor, " B"]) -> QBatch:
        """Return the timesteps of a segment as rows."""
        columns = {
            "obs": to_channels_last(segment.obs[:, :-1]),  # once for all epochs
            "action": segment.action,
            "returns": self.estimate_returns(segment, next_value),
            "valid": segment.valid,
        }
        return QBatch(**{name: x.flatten(0, 1) for name, x in columns.items()})

    def estimate_returns(
        self, segment: Segment, next_value: Float[Tensor, " B"]
    ) -> Float[Tensor, "B T"]:
        """Return the returns of Q(lambda), from the values with which the segment was collected.

        A death ends them, and a time-out bootstraps them from the last observation.
        """
        config = self.config
        reward = learning_reward(
            segment.reward, segment.bonus, clip=config.reward_clip, total_clip=config.total_clip
        )
        value = torch.cat([segment.extras["value"], next_value[:, None]], 1)
        discount = config.gamma * segment.discount
        return lambda_returns(reward, discount, value, segment.valid, config.q_lambda)

    def td_loss(self, batch: QBatch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return half the mean squared error of Q(s, a), and metrics.

        Means are over all timesteps but automatic resets.
        """
        weight = mean_weight(batch.valid[:, None], self.ranks)[:, 0]
        q_value = self.q_network(batch.obs).gather(1, batch.action[:, None])[:, 0]
        loss = (weight * (q_value - batch.returns).square()).sum() / 2
        mean = (weight * q_value).sum()
        return loss, {"losses/td_loss": loss.detach(), "losses/q_values": mean.detach()}
