"""DQN of several seeds: one replay buffer of all envs, and batches of the seeds' rows in order."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...envs.interface import Metrics, Transition
from ..dqn import DQN, td_metrics
from ..random_shift import shift_batch
from ..returns import learning_reward
from .gradient_steps import GradientSteps
from .interface import SeedAgent
from .seed_layers import ActiveSeeds, network_of_seeds
from .seed_replay import SeedReplay


class DQNSeeds(SeedAgent[DQN]):
    """DQN agents of one config and several seeds.

    Raises UsageError for an unsuitable network, and RunError for replays of different lengths.
    """

    def __init__(self, agents: Sequence[DQN]) -> None:
        self.agents, first = list(agents), agents[0]
        self.active = ActiveSeeds(len(agents))
        self.rows = copy.copy(first)
        self.rows.spec = replace(first.spec, num_envs=len(agents) * first.spec.num_envs)
        self.rows.q_network = network_of_seeds([x.q_network for x in agents], self.active)
        self.rows.target_inference = copy.copy(first.target_inference)
        self.rows.target_inference.network = network_of_seeds(
            [x.target_network for x in agents], self.active
        )
        self.rows.forward = self.rows.q_network.forward
        self.replay = SeedReplay([x.replay for x in agents], self.rows.spec)
        self.steps = GradientSteps([x.optimizer for x in agents])

    def learn(self, t: Transition) -> list[Metrics]:
        """Store the transition, and make the updates that are due for each seed."""
        clip, total_clip = self.rows.config.reward_clip, self.rows.config.total_clip
        reward = learning_reward(t.next_step.reward, t.bonus, clip=clip, total_clip=total_clip)
        self.replay.append(t, reward)
        sizes, due = self.replay.sizes, []
        for agent, size in zip(self.agents, sizes.tolist(), strict=True):
            agent.steps += agent.spec.num_envs
            agent.notice_no_episode(size)
            due.append(agent.schedule(agent.steps) if size else iter(()))
        self.rows.steps = self.agents[0].steps
        results: list[list[Tensor]] = [[] for _ in self.agents]
        while seeds := [i for i, updates in enumerate(due) if next(updates, None)]:
            for seed, result in zip(seeds, self._update(seeds, sizes), strict=True):
                results[seed].append(result)
        metrics: list[Metrics] = []
        for size, losses in zip(sizes.tolist(), results, strict=True):
            own: Metrics = {"charts/epsilon": self.rows.epsilon, "charts/replay_size": float(size)}
            metrics.append(own | td_metrics(losses))
        return metrics

    def share(self) -> None:
        """Store in the agents their part of the replay buffer, and the numbers of their steps."""
        self.replay.share()
        self.steps.share()

    def _update(self, seeds: Sequence[int], sizes: Tensor) -> list[Tensor]:
        """Make one gradient step for some seeds; return each one's loss and mean Q-value."""
        config = self.rows.config
        batch = self.replay.gather(self.replay.sample_ranks(config.batch_size, seeds, sizes))
        if config.random_shift:
            parts = zip(seeds, batch.index.chunk(len(seeds)), strict=True)
            rng = torch.cat([self.agents[seed].shift_rng(index) for seed, index in parts])
            batch = shift_batch(batch, config.random_shift, rng)
        self.active.positions = list(seeds)
        losses, q_values = (x.view(len(seeds), -1).mean(1) for x in self.rows.loss(batch))
        self.active.positions = list(range(len(self.agents)))
        self.steps.backward(losses)
        self.steps.step(config.max_grad_norm)
        for seed in seeds:
            self.agents[seed].copy_target_if_due()
        return list(torch.stack([losses.detach(), q_values], 1))
