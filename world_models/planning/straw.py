"""STRAW, the strategic attentive writer (Vezhnevets et al. 2016), and its explorer STRAWe.

The planner keeps two plans along one time axis whose position 0 is the present: the action plan
(logits of future actions) and the commitment plan (probabilities of replanning at those
timesteps). While committed, it shifts both by one position per timestep. When it replans, it reads
the action plan through an attention window and writes a change through the same window (Algorithm
1).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from ...envs import prng
from ...envs.checks import FINITE, at_least, check
from ...envs.errors import UsageError
from ...envs.interface import Carry
from ..attention import attention_window, center_and_stride_params, read, write
from ..interface import PlannerConfig, PlannerOutput

INITIAL_LOG_SCALE = -2.0
"""Log standard deviation of STRAWe's code at first. Its means differ by more between states: while
a code is mostly noise, plans gain nothing from it, and the KL divergence alone shapes it."""
COMMITMENT_PEAK = 40.0
"""e: the logit that a new commitment plan adds where the commitment ends (section 2)."""


@dataclass(frozen=True)
class STRAWConfig(PlannerConfig):
    """Macro-actions from an action plan, read and written by attention."""

    length: int = 500
    """T: positions of the plan, in agent steps."""
    filters: int = 10
    """K: filters of the attention window."""
    hidden: int = 64
    """Units of both hidden layers."""
    initial_replan_logit: float = -2.0
    """Initial logit of replanning at timesteps at which the commitment does not end."""

    def __post_init__(self) -> None:
        check(self, "planner", at_least(1), "filters", "hidden")
        check(self, "planner", FINITE, "initial_replan_logit")
        if self.length < self.filters:
            raise UsageError(
                f"planner.length is {self.length}, shorter than its {self.filters} filters; "
                "raise planner.length or lower planner.filters."
            )

    def build(
        self, *, features: int, num_actions: int, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "STRAW":
        with prng.seeded(seed):
            return STRAW(self, self.encoder(features), num_actions).to(device)

    def encoder(self, features: int) -> "IdentityEncoder | GaussianEncoder":
        """Return the map from features to the code that plans are made from."""
        return IdentityEncoder(features)


@dataclass(frozen=True)
class STRAWeConfig(STRAWConfig):
    """STRAW with a stochastic code, resampled only at replanning: exploration in whole plans."""

    code: int = 64
    """Dimensions of the Gaussian code."""
    prior: Literal["standard", "learned"] = "standard"
    """p(z|x): N(0, I), or a Gaussian whose parameters are linear in the features."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "planner", at_least(1), "code")

    def encoder(self, features: int) -> "GaussianEncoder":
        return GaussianEncoder(features, self.code, self.prior)


class STRAW(nn.Module):
    """One timestep of Algorithm 1 per call; environments that are committed keep their plan.

        g_t ~ Bernoulli(first entry of shift(c_{t-1})),  psi = f_psi(z)
        xi = h([read(shift(A_{t-1}), psi); z])
        A_t = shift(A_{t-1}) + g_t write(f_A(xi), psi)
        c_t = g_t sigmoid(b + write(e, f_c([psi; xi]))) + (1 - g_t) shift(c_{t-1})
        logits of the action = first column of A_t

    A is the action plan, c the commitment plan and z the code of the features. At an episode's
    first timestep A is 0 and c is 1, so that g is 1. The plan is read after it was shifted.
    """

    def __init__(
        self, config: STRAWConfig, encoder: "IdentityEncoder | GaussianEncoder", num_actions: int
    ) -> None:
        super().__init__()
        self.config, self.num_actions = config, num_actions
        self.context_size = (num_actions + 1) * config.length
        length, count, hidden = config.length, config.filters, config.hidden
        self.encoder = encoder
        self.attention_params = nn.Linear(encoder.size, 4)  # f_psi
        self.hidden_layers = nn.Sequential(  # h
            nn.Linear(num_actions * count + encoder.size, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.plan_update = nn.Linear(hidden, num_actions * count)  # f_A
        self.commitment_params = nn.Linear(4 + hidden, 4)  # f_c
        self.replan_bias = nn.Parameter(torch.tensor(config.initial_replan_logit))
        # At first, write the K timesteps from now on, and replan when they are over.
        _init_window(self.attention_params, (count - 1) / 2, 1.0, count=count, length=length)
        _init_window(self.commitment_params, float(count), 1.0, count=1, length=length)

    def initial(self, n: int) -> Carry:
        device = self.replan_bias.device
        return {
            "plan": torch.zeros(n, self.num_actions, self.config.length, device=device),
            "replan_prob": torch.ones(n, self.config.length, device=device),
        }

    def context(self, carry: Carry, first: Bool[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return both plans as probabilities at every position of the plan.

        They are those of the planned actions less 1 / A, and that of keeping the plan until then.
        """
        plan, commitment = self._arriving(carry, first)
        planned = plan.softmax(1) - 1 / self.num_actions
        kept = (1 - commitment).cumprod(1)
        return torch.cat([planned.flatten(1), kept], 1)

    def advance(
        self,
        features: Float[Tensor, "B D"],
        carry: Carry,
        first: Bool[Tensor, " B"],
        decision: Int64[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B A"], Carry, PlannerOutput]:
        """Shift both plans by one position, and replan with the probability in the present one.

        The decision, 1 to replan, multiplies both updates as a gate. The gate's gradient is that
        of its probability (straight-through).
        """
        length, rng = self.config.length, carry["rng"]
        plan, commitment = self._arriving(carry, first)
        replan_prob = commitment[:, 0]
        if decision is None:
            decision = (prng.uniform(rng, 1, prng.Purpose.REPLAN)[:, 0] < replan_prob).long()
        gate = decision + (replan_prob - replan_prob.detach())

        code, kl = self.encoder(features, rng)
        params = self.attention_params(code)
        window = attention_window(params, count=self.config.filters, length=length)
        hidden = self.hidden_layers(torch.cat([read(plan, window).flatten(1), code], 1))
        patch = self.plan_update(hidden).unflatten(1, (self.num_actions, -1))
        plan = plan + gate[:, None, None] * write(patch, window)
        end_params = self.commitment_params(torch.cat([params, hidden], 1))
        end = attention_window(end_params, count=1, length=length)
        peak = write(params.new_full((len(params), 1, 1), COMMITMENT_PEAK), end)[:, 0]
        new_commitment = torch.sigmoid(self.replan_bias + peak)
        commitment = gate[:, None] * new_commitment + (1 - gate[:, None]) * commitment

        output = PlannerOutput(
            kl=gate * kl,
            replan_prob=shift(commitment[:, :2], 1.0)[:, 0],
            decision=decision,
            log_prob=torch.zeros_like(kl),
            replanned=decision == 1,
            window=window.filters.detach().mean(1),
        )
        return plan[:, :, 0], carry | {"plan": plan, "replan_prob": commitment}, output

    def _arriving(
        self, carry: Carry, first: Bool[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B A T"], Float[Tensor, "B T"]]:
        """Return both plans of the last timestep, shifted to this one; empty ones at ``first``."""
        plan = torch.where(first[:, None, None], 0.0, carry["plan"])
        commitment = torch.where(first[:, None], 1.0, carry["replan_prob"])
        return shift(plan, 0.0), shift(commitment, 1.0)


class IdentityEncoder(nn.Module):
    """The code of STRAW: the features themselves, with KL divergence 0."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.size = features

    def forward(
        self, features: Float[Tensor, "B D"], rng: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        """Return the features as the code, and KL divergences of 0."""
        return features, features.new_zeros(len(features))


class GaussianEncoder(nn.Module):
    """The code of STRAWe: a sample of q(z|x), and KL[q(z|x) || p(z|x)] in nats (section 2)."""

    def __init__(self, features: int, size: int, prior: str) -> None:
        super().__init__()
        self.size = size
        params = nn.Linear(features, 2 * size)
        with torch.no_grad():
            nn.init.orthogonal_(params.weight[:size])
            nn.init.zeros_(params.weight[size:])
            nn.init.zeros_(params.bias[:size])
            nn.init.constant_(params.bias[size:], INITIAL_LOG_SCALE)
        # Normalized, because features of an untrained network may be of any scale.
        self.posterior = nn.Sequential(nn.LayerNorm(features, elementwise_affine=False), params)
        learned = nn.Linear(features, 2 * size)
        nn.init.zeros_(learned.weight)  # N(0, I) at first
        nn.init.zeros_(learned.bias)
        self.prior: nn.Module = learned if prior == "learned" else StandardNormalParams(size)

    def forward(
        self, features: Float[Tensor, "B D"], rng: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B Z"], Float[Tensor, " B"]]:
        """Draw the codes of the features, and return them with their KL divergences in nats.

            z = mu(x) + sigma(x) noise,  noise ~ N(0, I)

        The noise is a function of the key ``rng``.
        """
        q, p = gaussian(self.posterior(features)), gaussian(self.prior(features))
        code = q.mean + q.stddev * prng.normal(rng, self.size, prng.Purpose.PLAN_NOISE)
        return code, kl_divergence(q, p).sum(1)


class StandardNormalParams(nn.Module):
    """The parameters of N(0, I), independent of the features."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B P"]:
        """Return means and log standard deviations of 0."""
        return features.new_zeros(len(features), 2 * self.size)


def gaussian(params: Float[Tensor, "B P"]) -> Normal:
    """Return the Gaussian with these means and log standard deviations, [B, P / 2]."""
    mean, log_scale = params.chunk(2, 1)
    return Normal(mean, log_scale.exp(), validate_args=False)


def shift(line: Float[Tensor, "*s T"], padding: float) -> Float[Tensor, "*s T"]:
    """Shift by one position toward the present and append ``padding`` (rho of Algorithm 1).

    Logits are padded with 0 and replanning probabilities with 1, so that the planner replans when
    its plan is exhausted.
    """
    return nn.functional.pad(line[..., 1:], (0, 1), value=padding)


def _init_window(
    layer: nn.Linear, center: float, stride: float, *, count: int, length: int
) -> None:
    """Initialize a layer to output this window of narrow filters for nearly all inputs."""
    params = center_and_stride_params(center, stride, count=count, length=length)
    with torch.no_grad():
        layer.weight.mul_(0.1)
        layer.bias.copy_(torch.tensor([*params, 2 * math.log(stride / 2), 0.0]))
