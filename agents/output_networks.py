"""Networks of agents on top of a feature extractor: Q-network, and policy with value.

Built inside ``prng.seeded``, like the feature extractors.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from ..envs import prng
from ..envs.interface import Carry
from ..world_models.interface import Planner, PlannerOutput
from ..world_models.precision import InferenceCopy, Precision
from .networks import Network, orthogonal_

M = TypeVar("M", "QNetwork", "PolicyNetwork")


class QNetwork(nn.Module):
    """Action values, linear in the features of a trunk; optionally dueling (Wang et al. 2016)."""

    def __init__(self, trunk: Network, num_actions: int, dueling: bool) -> None:
        super().__init__()
        self.trunk, self.dueling = trunk, dueling
        self.head = nn.Linear(trunk.features, num_actions + dueling)

    def forward(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "*heads B A"]:
        """Return Q(s, a) of every action, with an axis before the batch if there are heads.

            Q(s, a) = V(s) + A(s, a) - mean_b A(s, b)

        This is the dueling form (Wang et al. 2016, eq. 9); otherwise Q is linear in the features.
        """
        values: Tensor = self.head(self.trunk(obs))
        if not self.dueling:
            return values
        value, advantage = values[..., :1], values[..., 1:]
        return value + advantage - advantage.mean(-1, keepdim=True)  # Wang et al. 2016, eq. 9


class PolicyNetwork(nn.Module):
    """The policy and the value function of PPO: a planner's logits and a critic.

    Both read the features of a trunk or, with ``lstm`` units, of an LSTM on top of it; the critic
    reads those of ``critic_trunk`` if there is one. It also reads the plan that a timestep begins
    with, from which no gradient flows back. A planner that is a privileged reference reads the true
    state in place of the features. With ``num_values`` 2 the critic estimates the returns of
    rewards and of bonuses apart.
    """

    def __init__(
        self,
        trunk: Network,
        lstm: int,
        planner: Planner,
        num_values: int = 1,
        critic_trunk: Network | None = None,
    ) -> None:
        super().__init__()
        self.trunk, self.planner, self.critic_trunk = trunk, planner, critic_trunk
        self.lstm = nn.LSTMCell(trunk.features, lstm) if lstm else None
        self.critic = nn.Linear(lstm or trunk.features, num_values)
        orthogonal_(self.trunk)
        orthogonal_(self.critic, 1.0)
        if critic_trunk is not None:
            orthogonal_(critic_trunk)
        if self.lstm:
            for name, weights in self.lstm.named_parameters():
                nn.init.orthogonal_(weights) if "weight" in name else nn.init.zeros_(weights)
        self.plan_critic: nn.Linear | None = None
        """What the value depends on the plan, 0 at first; None for a planner without one."""
        if planner.context_size:
            self.plan_critic = nn.Linear(planner.context_size, num_values, bias=False)
            nn.init.zeros_(self.plan_critic.weight)
        self.recurrent = bool(self.initial(1))
        """Whether the outputs depend on earlier timesteps."""

    def initial(self, n: int) -> Carry:
        """Return the carry of the LSTM and of the planner for n environments."""
        width = self.lstm.hidden_size if self.lstm else 0
        carry = {name: torch.zeros(n, width) for name in ("hidden", "cell") if width}
        return carry | self.planner.initial(n)

    def forward(
        self,
        obs: UInt8[Tensor, "B T K H W"],
        first: Bool[Tensor, "B T"],
        carry: Carry,
        action: Int64[Tensor, "B T1"] | None = None,
        decision: Int64[Tensor, "B T"] | None = None,
        privileged: UInt8[Tensor, "B T P"] | None = None,
    ) -> tuple[Float[Tensor, "B T A"], Float[Tensor, "B T ..."], PlannerOutput, Carry]:
        """Return logits, values and planner outputs [B T] of a segment, and the carry after it.

        Two values are [B T 2]: of the rewards, and of the bonuses.
        ``carry`` is that before the segment. Its ``rng`` advances once per timestep, and its
        ``action`` is set to the action taken. With ``decision`` the planner repeats earlier
        decisions instead of drawing new ones. ``privileged`` holds the bytes of the true state that
        the planner reads; None if it reads the features.
        """
        frames = obs.flatten(0, 1)
        features = self.trunk(frames).unflatten(0, first.shape)
        critic_features = None
        if self.critic_trunk is not None:
            critic_features = self.critic_trunk(frames).unflatten(0, first.shape)
        outputs = []
        for t, (x, first_t) in enumerate(zip(features.unbind(1), first.unbind(1), strict=True)):
            x, carry = self._lstm_step(x, carry, first_t)
            own = x if critic_features is None else critic_features[:, t]
            value = self._value(own, carry, first_t)
            decision_t = None if decision is None else decision[:, t]
            inputs = x if privileged is None else privileged[:, t].to(x.dtype)
            logits, planned, plan = self.planner.advance(inputs, carry, first_t, decision_t)
            outputs.append((logits, value, plan))
            carry = carry | planned
            if "rng" in carry:
                carry = carry | {"rng": prng.next_rng(carry["rng"])}
            if "action" in carry and action is not None and t < action.shape[1]:
                carry = carry | {"action": action[:, t]}
        logits_of, values, plans = zip(*outputs, strict=True)
        plan = stack_planner_outputs(plans)
        return torch.stack(logits_of, 1), torch.stack(values, 1), plan, carry

    def _value(
        self, features: Float[Tensor, "B D"], carry: Carry, first: Bool[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        value: Tensor = self.critic(features)
        if self.plan_critic is not None:
            value = value + self.plan_critic(self.planner.context(carry, first).detach())
        return value[:, 0] if value.shape[1] == 1 else value

    def _lstm_step(
        self, features: Float[Tensor, "B D"], carry: Carry, first: Bool[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B D2"], Carry]:
        if self.lstm is None:
            return features, carry
        hidden, cell = (carry[name] * ~first[:, None] for name in ("hidden", "cell"))
        hidden, cell = self.lstm(features, (hidden, cell))
        return hidden, carry | {"hidden": hidden, "cell": cell}


def stack_planner_outputs(outputs: Sequence[PlannerOutput]) -> PlannerOutput:
    """Return the outputs of successive timesteps, [B], as one [B, T]."""
    names = [x.name for x in fields(outputs[0]) if getattr(outputs[0], x.name) is not None]
    return PlannerOutput(
        **{name: torch.stack([getattr(x, name) for x in outputs], 1) for name in names}
    )


def inference_copy(network: M, precision: Precision) -> InferenceCopy[M]:
    """Return a copy for inference, whose feature extractors alone are in low precision."""

    def extractors(copied: M) -> nn.Module:
        return nn.ModuleList(x.layers for x in copied.children() if isinstance(x, Network))

    return InferenceCopy(network, precision, extractors)
