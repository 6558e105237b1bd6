"""PPO of several seeds: one rollout of all envs, and minibatches with an axis for the seed."""

import copy
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from ...envs import prng
from ...envs.interface import Carry, Metrics, Transition
from ...world_models.interface import PlannerOutput
from ..output_networks import PolicyNetwork
from ..ppo import PPO
from ..returns import explained_variance
from ..rollout import SequenceBatch, select
from .env_states import concat_states, split_states
from .gradient_steps import GradientSteps
from .interface import SeedAgent
from .seed_layers import ActiveSeeds, network_of_seeds


class PPOSeeds(SeedAgent[PPO]):
    """PPO agents of one config and several seeds; raises UsageError for an unsuitable network."""

    def __init__(self, agents: Sequence[PPO]) -> None:
        self.agents, first = list(agents), agents[0]
        network = network_of_seeds([x.network for x in agents], ActiveSeeds(len(agents)))
        self.rows, with_axis = copy.copy(first), cast(PolicyNetwork, _SeedAxis(network))
        self.rows.network, self.rows.forward = with_axis, network.forward
        self.rows.spec = replace(first.spec, num_envs=len(agents) * first.spec.num_envs)
        self.rows.rollout = first.new_rollout(self.rows.spec)
        self.rows.rollout.load_state_dict(concat_states([x.rollout.state_dict() for x in agents]))
        self.rng = torch.cat([x.rng for x in agents])
        self.steps = GradientSteps([x.optimizer for x in agents])

    def learn(self, t: Transition) -> list[Metrics]:
        """Store a transition, and learn from the rollout of all seeds if it is full."""
        self.rows.rollout.append(t)
        for agent in self.agents:
            agent.steps += agent.spec.num_envs
        if len(self.rows.rollout) < self.rows.config.num_steps:
            return [{} for _ in self.agents]
        return self._train_on_rollout(self.rows.value(t.next_step, t.next_carry))

    def share(self) -> None:
        """Store in the agents their rows of the rollout, their keys and numbers of steps."""
        self.steps.share()
        states = split_states(self.rows.rollout.state_dict(), len(self.agents))
        for agent, state, rng in zip(self.agents, states, self.rng.chunk(len(states)), strict=True):
            agent.rollout.load_state_dict(state)
            agent.rng = rng.clone()

    def _train_on_rollout(self, next_value: Float[Tensor, "N ..."]) -> list[Metrics]:
        """Update for several epochs (``PPO.train_on``), each seed in minibatches of its own."""
        num_seeds, config = len(self.agents), self.rows.config
        learning_rates = [agent.anneal_learning_rate() for agent in self.agents]
        batch = self.rows.estimate_advantages(self.rows.rollout.pop(), next_value)
        size = len(batch.action) // num_seeds
        first_row = torch.arange(num_seeds)[:, None] * size
        updates = []
        for _ in range(config.update_epochs):
            order = prng.bits(self.rng, size, prng.Purpose.SAMPLE).argsort(1) + first_row
            self.rng = prng.next_rng(self.rng)
            minibatches = order.tensor_split(min(config.num_minibatches, size), 1)
            updates += [self._update(select(batch, rows.flatten())) for rows in minibatches]
        residual, returns, valid = (
            x.chunk(num_seeds) for x in (batch.advantage, batch.returns, batch.valid)
        )
        means = {
            name: torch.stack([x[name] for x in updates], 1).mean(1).unbind() for name in updates[0]
        }
        return [
            {
                "charts/learning_rate": learning_rate,
                "losses/explained_variance": explained_variance(
                    residual[seed][valid[seed]], returns[seed][valid[seed]]
                ),
                **{name: mean[seed] for name, mean in means.items()},
            }
            for seed, learning_rate in enumerate(learning_rates)
        ]

    def _update(self, rows: SequenceBatch) -> dict[str, Tensor]:
        """Make one gradient step for each seed, on its rows of a minibatch."""
        batch = _unflatten(rows, len(self.agents))
        losses, metrics = self.rows.ppo_loss(batch)
        self.steps.backward(losses)
        self.steps.step(self.rows.config.max_grad_norm)
        return metrics


class _SeedAxis(nn.Module):
    """A network of rows, applied to batches with an axis for the seed before the others."""

    def __init__(self, network: PolicyNetwork) -> None:
        super().__init__()
        self.network, self.recurrent = network, network.recurrent

    def forward(
        self,
        obs: UInt8[Tensor, "S B T K H W"],
        first: Bool[Tensor, "S B T"],
        carry: Carry,
        action: Int64[Tensor, "S B T"],
        decision: Int64[Tensor, "S B T"],
        privileged: UInt8[Tensor, "S B T P"] | None,
    ) -> tuple[Float[Tensor, "S B T A"], Float[Tensor, "S B T ..."], PlannerOutput, Carry]:
        size = first.shape[:2]
        carry = {name: x.flatten(0, 1) for name, x in carry.items()}
        obs, first, action, decision = (x.flatten(0, 1) for x in (obs, first, action, decision))
        if privileged is not None:
            privileged = privileged.flatten(0, 1)
        logits, value, plan, _ = self.network(obs, first, carry, action, decision, privileged)
        columns = {x.name: getattr(plan, x.name) for x in fields(PlannerOutput)}
        plan = PlannerOutput(
            **{name: x.unflatten(0, size) for name, x in columns.items() if x is not None}
        )
        return logits.unflatten(0, size), value.unflatten(0, size), plan, {}


def _unflatten(batch: SequenceBatch, num_seeds: int) -> SequenceBatch:
    """Return a batch of the rows of all seeds with an axis for the seed."""
    columns: dict[str, Any] = {x.name: getattr(batch, x.name) for x in fields(batch)}
    carry = {name: _seed_axis(x, num_seeds) for name, x in columns.pop("carry").items()}
    own = {name: _seed_axis(x, num_seeds) for name, x in columns.items() if x is not None}
    return SequenceBatch(**own, carry=carry)


def _seed_axis(rows: Tensor, num_seeds: int) -> Tensor:
    return rows.view(num_seeds, -1, *rows.shape[1:])
