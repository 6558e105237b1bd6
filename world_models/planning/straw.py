"""STRAW: the strategic attentive writer (Vezhnevets et al. 2016), and its explorer STRAWe.

The planner keeps two plans on one axis of time whose place 0 is now: logits of the actions to come,
and the chance of planning anew at each of those ticks. While it is committed, both only shift by a
place a tick; when it plans anew, it reads the old plan through an attentive window, and writes a
change through the same one (Algorithm 1). Its memory also shows where that window was.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from envs import dice
from envs.checks import at_least, check
from envs.errors import UsageError
from envs.interface import Memory
from world_models.interface import PlannerConfig, Thought
from world_models.planning.attention import attend, parameters_of, read, write

# Lanes of a tick's dice, apart from those that policies draw actions from.
GATE, CODE = 8, 9

COMMITMENT = 40.0
"""e, the constant that a new commitment lays down where it ends (section 2.1)."""


@dataclass(frozen=True)
class STRAWConfig(PlannerConfig):
    """Macro-actions from an attentive plan."""

    length: int = 500
    """T: places of the plan, in agent steps."""
    filters: int = 10
    """K: filters of the window through which the plan is read and written."""
    hidden: int = 64
    """Units of both hidden layers."""
    reluctance: float = 2.0
    """Minus the logit of planning anew where the commitment says nothing, at first."""

    def __post_init__(self) -> None:
        check(self, "planner", at_least(1), "filters", "hidden")
        if self.length < self.filters:
            raise UsageError(
                f"planner.length is {self.length}, shorter than its {self.filters} filters; "
                "lengthen it or lower planner.filters."
            )

    def build(
        self, *, features: int, num_actions: int, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "STRAW":
        with dice.seeded(seed):
            return STRAW(self, self.encoder(features), num_actions).to(device)

    def encoder(self, features: int) -> "Certain | GaussianCode":
        """What turns features into the code that a plan is made from."""
        return Certain(features)


@dataclass(frozen=True)
class STRAWeConfig(STRAWConfig):
    """STRAW from a noisy code, drawn only when planning anew: explores in whole plans."""

    code: int = 64
    """Numbers of the Gaussian code."""
    prior: Literal["standard", "learned"] = "standard"
    """p(z|x): N(0, I), or a Gaussian whose parameters are linear in the features."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "planner", at_least(1), "code")

    def encoder(self, features: int) -> "GaussianCode":
        return GaussianCode(features, self.code, self.prior)


class Certain(nn.Module):
    """The code of STRAW: the features themselves, at no cost."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.size = features

    def forward(
        self, features: Float[Tensor, "B D"], key: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        return features, features.new_zeros(len(features))


class GaussianCode(nn.Module):
    """The code of STRAWe: a draw from q(z|x), and KL[q(z|x) || p(z|x)] in nats (section 2.3)."""

    def __init__(self, features: int, size: int, prior: str) -> None:
        super().__init__()
        self.size = size
        self.posterior = nn.Linear(features, 2 * size)
        learned = nn.Linear(features, 2 * size)
        nn.init.zeros_(learned.weight)  # begins as N(0, I)
        nn.init.zeros_(learned.bias)
        self.prior: nn.Module = learned if prior == "learned" else Standard(size)

    def forward(
        self, features: Float[Tensor, "B D"], key: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B Z"], Float[Tensor, " B"]]:
        q, p = gaussian(self.posterior(features)), gaussian(self.prior(features))
        code = q.mean + q.stddev * dice.normal(key, self.size, CODE)
        return code, kl_divergence(q, p).sum(1)


class Standard(nn.Module):
    """The parameters of N(0, I), whatever is seen."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B P"]:
        return features.new_zeros(len(features), 2 * self.size)


def gaussian(parameters: Float[Tensor, "B P"]) -> Normal:
    """The Gaussian of these means and logarithms of standard deviations, [B, P / 2]."""
    mean, log_scale = parameters.chunk(2, 1)
    return Normal(mean, log_scale.exp(), validate_args=False)


class STRAW(nn.Module):
    """Algorithm 1, one tick a call; streams that are committed keep their plan."""

    def __init__(
        self, config: STRAWConfig, encoder: Certain | GaussianCode, num_actions: int
    ) -> None:
        super().__init__()
        self.config, self.num_actions = config, num_actions
        length, count, hidden = config.length, config.filters, config.hidden
        self.encode = encoder
        self.look = nn.Linear(encoder.size, 4)  # f_psi: where to read and write
        self.think = nn.Sequential(  # h
            nn.Linear(num_actions * count + encoder.size, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.change = nn.Linear(hidden, num_actions * count)  # f_A: what to write
        self.commit = nn.Linear(4 + hidden, 4)  # f_c: until when
        self.bias = nn.Parameter(torch.tensor(-config.reluctance))
        # A new planner writes the K ticks from now on, and plans anew when they are over.
        _aim(self.look, (count - 1) / 2, 1.0, count=count, length=length)
        _aim(self.commit, float(count), 1.0, count=1, length=length)

    def initial(self, n: int) -> Memory:
        where = self.bias.device
        return {
            "plan": torch.zeros(n, self.num_actions, self.config.length, device=where),
            "commitment": torch.ones(n, self.config.length, device=where),
            "window": torch.zeros(n, self.config.length, device=where),
            "age": torch.zeros(n, dtype=torch.int64, device=where),
        }

    def advance(
        self,
        features: Float[Tensor, "B D"],
        memory: Memory,
        first: Bool[Tensor, " B"],
        choice: Int64[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B A"], Memory, Thought]:
        """Shift both plans by one place, and plan anew where the dice say so.

        The gate is 0 or 1 forwards; backwards its gradient is its chance's (straight-through).
        """
        length, key = self.config.length, memory["dice"]
        plan = shift(torch.where(first[:, None, None], 0.0, memory["plan"]), 0.0)
        commitment = shift(torch.where(first[:, None], 1.0, memory["commitment"]), 1.0)
        chance = commitment[:, 0]
        if choice is None:
            choice = (dice.uniform(key, 1, GATE)[:, 0] < chance).long()
        gate = choice + (chance - chance.detach())

        code, nats = self.encode(features, key)
        where = self.look(code)
        window = attend(where, count=self.config.filters, length=length)
        thought = self.think(torch.cat([read(plan, window).flatten(1), code], 1))
        change = self.change(thought).unflatten(1, (self.num_actions, -1))
        plan = plan + gate[:, None, None] * write(change, window)
        end = attend(self.commit(torch.cat([where, thought], 1)), count=1, length=length)
        mark = write(where.new_full((len(where), 1, 1), COMMITMENT), end)[:, 0]
        renewed = torch.sigmoid(self.bias + mark)
        commitment = gate[:, None] * renewed + (1 - gate[:, None]) * commitment

        kept, seen = (choice == 0)[:, None], window.filters.detach().mean(1)
        following = {
            "plan": plan,
            "commitment": commitment,
            "window": torch.where(kept, shift(memory["window"], 0.0), seen),
            "age": torch.where(choice == 0, memory["age"] + 1, 0),
        }
        next_chance = shift(commitment[:, :2], 1.0)[:, 0]
        cost = Thought(gate * nats, next_chance, choice, torch.zeros_like(nats))
        return plan[:, :, 0], memory | following, cost


def shift(line: Float[Tensor, "*s T"], padding: float) -> Float[Tensor, "*s T"]:
    """rho: what was next is now; beyond the end stands ``padding``.

    Logits are padded with 0 and the commitment with 1, so an exhausted plan is made anew.
    """
    return nn.functional.pad(line[..., 1:], (0, 1), value=padding)


def _aim(layer: nn.Linear, centre: float, stride: float, *, count: int, length: int) -> None:
    """Let a layer ask at first, and nearly so for all inputs, for this window of narrow filters."""
    parameters = parameters_of(centre, stride, count=count, length=length)
    with torch.no_grad():
        layer.weight.mul_(0.1)
        layer.bias.copy_(torch.tensor([*parameters, 2 * math.log(stride / 2), 0.0]))
