"""DQN (Mnih et al. 2015): Q-learning from replay, with a target network.

Double (van Hasselt et al. 2016), optionally dueling (Wang et al. 2016) and of n steps, and mixed
with Monte-Carlo returns (Bellemare et al. 2016), which carry a rare bonus back along an episode.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from agents.interface import AgentConfig
from agents.networks import NatureConfig, NetworkConfig, QNetwork, Rounded, seeded
from agents.policies import epsilon_greedy
from agents.replay import Batch, Replay
from agents.returns import double_q_targets, learning_reward
from agents.schedules import linear
from envs import dice
from envs.checks import above, at_least, check, within
from envs.interface import EnvSpec, Memory, Metrics, Step, Transition
from world_models.arithmetic import compiled, rounding_once, within_memory
from world_models.optimizers import load_optimizer

PARTS = ("online", "target", "replay")  # of a checkpoint


@dataclass(frozen=True)
class DQNConfig(AgentConfig):
    """Double DQN with the mixed Monte-Carlo target; steps are agent steps of all streams."""

    network: NetworkConfig = NatureConfig()
    """What turns a stack of frames into features."""
    dueling: bool = False
    """Action values as a state's value plus advantages; both are linear in the features."""
    n_step: int = 1
    monte_carlo_weight: float = 0.1
    """eta: the share of the Monte-Carlo return in the target. Unless it is 0, a transition can be
    drawn only once its episode has ended; where a time-out ended it, its share is 0."""
    gamma: float = 0.99
    reward_clip: float | None = 1.0
    """Rewards are clipped to plus or minus this before a bonus is added."""
    total_clip: float | None = None
    """Clip of reward and bonus together (Ostrovski et al. 2017: 1)."""
    epsilon: float = 0.1
    """Probability of a random action at last; it falls from 1 once learning starts."""
    epsilon_steps: int = 250_000
    """Steps over which it falls (Mnih et al. 2015: a million frames)."""
    capacity: int = 1_000_000
    """Frames in the replay, of all streams."""
    learning_starts: int = 50_000
    """Steps before the first update."""
    replay_ratio: float = 0.25
    """Updates a step: exactly floor((steps - learning_starts) * replay_ratio) have been made."""
    batch: int = 32
    target_every: int = 2_500
    """Updates between copies into the target network (10,000 steps at the default ratio)."""
    learning_rate: float = 6.25e-5
    """Of Adam, with epsilon 1.5e-4 (Hessel et al. 2018, table 1)."""
    gradient_clip: float = 10.0
    """Greatest norm of a gradient (Wang et al. 2016)."""
    replay_on_device: bool = False
    """Keep the replay's frames in the agent's device rather than in host memory."""

    def __post_init__(self) -> None:
        check(self, "agent", at_least(1), "n_step", "epsilon_steps", "batch", "target_every")
        check(self, "agent", at_least(0), "learning_starts")
        check(self, "agent", within(0, 1), "monte_carlo_weight", "gamma", "epsilon")
        check(self, "agent", above(0), "replay_ratio", "learning_rate", "gradient_clip")
        check(self, "agent", above(0), "reward_clip", "total_clip")

    def build(
        self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "DoubleDQN":
        return DoubleDQN(self, spec, seed=seed, device=device)


class DoubleDQN:
    """Greedy in an online network's values, which learn from a slower copy's."""

    def __init__(
        self, config: DQNConfig, spec: EnvSpec, *, seed: int, device: torch.device | str
    ) -> None:
        self.config, self.spec, self.seed, self.device = config, spec, seed, torch.device(device)
        with seeded(seed):
            trunk = config.network.build(spec.obs_shape)
            online = QNetwork(trunk, spec.num_actions, config.dueling)
        self.online = online.to(device)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.judge = Rounded(self.target)
        self._look = compiled(self.online.forward, self.device)
        self._loss = compiled(self.loss, self.device)
        self.optimizer = torch.optim.Adam(
            self.online.parameters(), lr=config.learning_rate, eps=1.5e-4, fused=True
        )
        place = device if config.replay_on_device else "cpu"
        self.replay = Replay(
            spec, capacity=config.capacity, gamma=config.gamma, n_step=config.n_step,
            monte_carlo=config.monte_carlo_weight > 0, seed=seed, device=place,
        )  # fmt: skip
        self.steps = self.updates = 0

    @property
    def epsilon(self) -> float:
        """Probability of a random action now."""
        since = self.steps - self.config.learning_starts
        return linear(since, begin=1.0, end=self.config.epsilon, over=self.config.epsilon_steps)

    def initial(self, n: int) -> Memory:
        return {"dice": dice.keys(self.seed, "train", n).to(self.device)}

    @torch.no_grad()
    def act(
        self, step: Step, memory: Memory, *, explore: bool = True
    ) -> tuple[Int64[Tensor, " N"], Memory]:
        action, key = self._look(step.obs).argmax(1), memory["dice"]
        if explore:
            action = epsilon_greedy(action, key, self.spec.num_actions, self.epsilon)
        return action, {"dice": dice.roll(key)}

    def learn(self, t: Transition) -> Metrics:
        """Store the tick, and make the updates that are due."""
        clip, total_clip = self.config.reward_clip, self.config.total_clip
        reward = learning_reward(t.next_step.reward, t.bonus, clip=clip, total_clip=total_clip)
        self.replay.append(t, reward)
        self.steps += self.spec.num_envs
        metrics: Metrics = {"dqn/epsilon": self.epsilon, "dqn/replay": float(len(self.replay))}
        updates = [self.update() for _ in range(self._due())]
        if updates:
            metrics["dqn/loss"], metrics["dqn/value"] = torch.stack(updates).mean(0).unbind()
        return metrics

    def _due(self) -> int:
        """Updates to make in this tick."""
        if not len(self.replay):
            return 0  # no episode has ended yet
        ratio = self.config.replay_ratio
        owed = math.floor((self.steps - self.config.learning_starts) * ratio) - self.updates
        # What could not be made before is made up at no more than twice the usual pace.
        return min(owed, 2 * math.ceil(self.spec.num_envs * ratio))

    def update(self) -> Float[Tensor, "2"]:
        """One gradient step on a batch; its loss and mean value.

        Raises UsageError, with a size that fits, where the batch is too large for the memory.
        """
        size = self.config.batch
        loss, mean = within_memory(
            self._differentiate,
            size,
            lambda fits: (
                f"agent.batch is {size}, too many transitions for {self.device}'s memory; "
                f"{fits or 'no smaller batch'} would fit."
            ),
        )
        nn.utils.clip_grad_norm_(self.online.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        self.updates += 1
        if self.updates % self.config.target_every == 0:
            self.target.load_state_dict(self.online.state_dict())
            self.judge.refresh()
        return torch.stack([loss, mean])

    def _differentiate(self, size: int) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        batch = self.replay.sample(size).to(self.device)
        with rounding_once(self.device):
            loss, mean = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), mean

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """What an update lowers, and the mean value of the actions taken.

        The squared error turns linear beyond 1, which clips its gradient (Mnih et al. 2015).
        """
        value = self.online(batch.obs).gather(1, batch.action[:, None])[:, 0]
        with torch.no_grad():
            online, target = self.online(batch.next_obs), self.judge.network(batch.next_obs)
            bootstrapped = double_q_targets(batch.reward, batch.discount, online, target)
            weight = self.config.monte_carlo_weight * batch.complete
            goal = torch.lerp(bootstrapped, batch.returns, weight)
        return functional.smooth_l1_loss(value, goal), value.detach().mean()

    def state_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in PARTS}
        parts["optimizer"] = self.optimizer.state_dict()
        return parts | {"steps": self.steps, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        load_optimizer(self.optimizer, state["optimizer"])
        self.judge.refresh()
        self.steps, self.updates = state["steps"], state["updates"]
