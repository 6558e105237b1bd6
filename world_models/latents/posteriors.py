"""Posteriors richer than a Gaussian: a normalizing flow of its samples.

The flow z = f_K(... f_1(z_0)) of a sample z_0 of a diagonal Gaussian has the log-probability

    log q(z | x) = log q(z_0 | x) - sum_k log |det df_k / dz_{k-1}|

Planar flows are those of Rezende & Mohamed 2015 (section 4.1), inverse autoregressive flows those
of Kingma et al. 2016 (section 3). A new flow is the identity where the encoder's numbers are 0.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.functional import elu, linear, softplus

PosteriorName = Literal["gaussian", "planar", "iaf"]

HIDDEN = 128
"""Hidden units of a step of the inverse autoregressive flow; one per latent if these are more."""


class Flow(nn.Module, ABC):
    """An invertible map of codes, with ``num_params`` numbers of the encoder for each frame."""

    num_params: int

    @abstractmethod
    def forward(
        self, z: Float[Tensor, "*S D"], params: Float[Tensor, "B P"]
    ) -> tuple[Float[Tensor, "*S D"], Float[Tensor, "*S"]]:
        """Return the mapped codes, and the log-determinant of the Jacobian."""

    @abstractmethod
    def inverse(
        self, z: Float[Tensor, "*S D"], params: Float[Tensor, "B P"]
    ) -> tuple[Float[Tensor, "*S D"], Float[Tensor, "*S"]]:
        """Return the codes mapped to ``z``, and the log-determinant of the forward map there."""


class FlowPosterior(Distribution):
    """Samples of a Gaussian, each mapped by a flow."""

    has_rsample = True
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, gaussian: Distribution, flow: Flow, params: Float[Tensor, "B P"]) -> None:
        self.gaussian, self.flow, self.params = gaussian, flow, params
        super().__init__(gaussian.batch_shape, gaussian.event_shape, validate_args=False)

    def rsample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> Float[Tensor, "*S D"]:
        return self.rsample_and_log_prob(sample_shape)[0]

    def rsample_and_log_prob(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> tuple[Float[Tensor, "*S D"], Float[Tensor, "*S"]]:
        """Return samples and their log-probabilities, without an inversion of the flow."""
        first = self.gaussian.rsample(torch.Size(sample_shape))
        z, log_det = self.flow(first, self.params)
        return z, self.gaussian.log_prob(first) - log_det

    def log_prob(self, value: Float[Tensor, "*S D"]) -> Float[Tensor, "*S"]:
        first, log_det = self.flow.inverse(value, self.params)
        log_prob: Tensor = self.gaussian.log_prob(first) - log_det
        return log_prob


class PlanarFlow(Flow):
    """Steps f(z) = z + u tanh(w.z + b), whose u, w and b are numbers of the encoder.

    A step is invertible for w.u > -1, which the component of u along w is mapped to. Learned
    directions are added to the encoder's w: were u and w 0, no gradient would reach them.
    """

    def __init__(self, size: int, steps: int) -> None:
        super().__init__()
        self.size, self.steps, self.num_params = size, steps, steps * (2 * size + 1)
        self.directions = nn.Parameter(torch.randn(steps, size) / math.sqrt(size))

    def forward(
        self, z: Float[Tensor, "*S D"], params: Float[Tensor, "B P"]
    ) -> tuple[Float[Tensor, "*S D"], Float[Tensor, "*S"]]:
        log_dets = []
        for u, w, b in self._steps(params):
            tanh = ((z * w).sum(-1) + b).tanh()
            z = z + u * tanh[..., None]
            log_dets.append(_log_slope((u * w).sum(-1), tanh))
        return z, torch.stack(log_dets).sum(0)

    def inverse(
        self, z: Float[Tensor, "*S D"], params: Float[Tensor, "B P"]
    ) -> tuple[Float[Tensor, "*S D"], Float[Tensor, "*S"]]:
        log_dets = []
        for u, w, b in reversed(self._steps(params)):
            wu = (u * w).sum(-1)
            tanh = (_solve((z * w).sum(-1), wu, b) + b).tanh()
            z = z - u * tanh[..., None]
            log_dets.append(_log_slope(wu, tanh))
        return z, torch.stack(log_dets).sum(0)

    def _steps(self, params: Float[Tensor, "B P"]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return u [B, D], w [B, D] and b [B] of each step."""
        steps = []
        each = params.chunk(self.steps, -1)
        for numbers, direction in zip(each, self.directions, strict=True):
            u, w, b = torch.split(numbers, [self.size, self.size, 1], -1)
            w = w + direction
            wu = (u * w).sum(-1, keepdim=True)
            # softplus(wu + log(e - 1)) - 1 is above -1, increases, and is 0 at 0.
            allowed = softplus(wu + math.log(math.e - 1)) - 1
            u = u + (allowed - wu) * w / w.square().sum(-1, keepdim=True).clamp(min=1e-8)
            steps.append((u, w, b[..., 0]))
        return steps


class InverseAutoregressiveFlow(Flow):
    """Steps z -> sigma * z + m, with sigma and m of each latent given the earlier ones.

    A masked network (Germain et al. 2015) with numbers of the encoder as further inputs gives all
    m and sigma in one pass; the inverse takes a pass for each latent. Every second step has the
    reverse order of latents. log sigma is within -1..1, so that the inverse is well-conditioned.
    """

    def __init__(self, size: int, steps: int) -> None:
        super().__init__()
        self.size = self.num_params = size
        orders = (torch.arange(size), torch.arange(size).flip(0))
        self.nets = nn.ModuleList(
            AutoregressiveNet(orders[step % 2], self.num_params) for step in range(steps)
        )

    def forward(
        self, z: Float[Tensor, "*S D"], params: Float[Tensor, "B P"]
    ) -> tuple[Float[Tensor, "*S D"], Float[Tensor, "*S"]]:
        log_dets = []
        for net in self.nets:
            m, log_sigma = net(z, params)
            z = log_sigma.exp() * z + m
            log_dets.append(log_sigma.sum(-1))
        return z, torch.stack(log_dets).sum(0)

    def inverse(
        self, z: Float[Tensor, "*S D"], params: Float[Tensor, "B P"]
    ) -> tuple[Float[Tensor, "*S D"], Float[Tensor, "*S"]]:
        log_dets = []
        for net in reversed(self.nets):
            target, z = z, torch.zeros_like(z)
            for rank in range(self.size):  # lower ranks are exact, and higher ones are not read
                m, log_sigma = net(z, params)
                turn = torch.as_tensor(net.ranks == rank)
                z = torch.where(turn, (target - m) * (-log_sigma).exp(), z)
            log_dets.append(net(z, params)[1].sum(-1))
        return z, torch.stack(log_dets).sum(0)


class AutoregressiveNet(nn.Module):
    """A masked network with one hidden layer: m and log sigma of each latent given lower ranks.

    It computes in float32 under any precision, because a log-determinant is a long sum.
    """

    ranks: Tensor
    reads: Tensor
    writes: Tensor

    def __init__(self, ranks: Int64[Tensor, " D"], num_params: int) -> None:
        super().__init__()
        size, inputs = len(ranks), len(ranks) + num_params
        hidden = max(HIDDEN, size - 1)  # so that a unit has each degree
        degrees = torch.arange(hidden) % max(size - 1, 1)
        self.register_buffer("ranks", ranks)
        self.register_buffer("reads", degrees[:, None] >= ranks)
        self.register_buffer("writes", (ranks[:, None] > degrees).repeat(2, 1))
        self.weight = nn.Parameter(torch.randn(hidden, inputs) / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.out_weight = nn.Parameter(torch.zeros(2 * size, hidden))
        self.out_bias = nn.Parameter(torch.zeros(2 * size))

    def forward(
        self, z: Float[Tensor, "*S D"], params: Float[Tensor, "B P"]
    ) -> tuple[Float[Tensor, "*S D"], Float[Tensor, "*S D"]]:
        """Return m and log sigma of each latent."""
        of_z, of_params = torch.split(self.weight, [z.shape[-1], params.shape[-1]], 1)
        with torch.autocast(z.device.type, enabled=False):
            hidden = elu(linear(z, of_z * self.reads) + linear(params, of_params, self.bias))
            out = linear(hidden, self.out_weight * self.writes, self.out_bias)
        m, s = out.chunk(2, -1)
        return m, s.tanh()


FLOWS: dict[PosteriorName, type[PlanarFlow] | type[InverseAutoregressiveFlow]] = {
    "planar": PlanarFlow,
    "iaf": InverseAutoregressiveFlow,
}
"""Every flow by the name of its posterior."""


def _log_slope(wu: Float[Tensor, "*B"], tanh: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Return the log-determinant of a planar step, log(1 + (1 - tanh^2) w.u)."""
    # 1 + w.u is positive, but may round to 0.
    return (1 + wu * (1 - tanh.square())).clamp(min=1e-7).log()


def _solve(
    y: Float[Tensor, "*S"], wu: Float[Tensor, "*B"], b: Float[Tensor, "*B"]
) -> Float[Tensor, "*S"]:
    """Return the a with a + w.u tanh(a + b) = y: the place w.z of a code before a planar step.

    The left side increases in a, and bisection finds the place. A step of Newton's method at it
    gives the place its gradient (implicit differentiation).
    """
    with torch.no_grad():
        low, high = y - wu.abs(), y + wu.abs()
        for _ in range(40):
            middle = (low + high) / 2
            below = middle + wu * (middle + b).tanh() < y
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        a = (low + high) / 2
        slope = (1 + wu * (1 - (a + b).tanh().square())).clamp(min=1e-7)
    return a - (a + wu * (a + b).tanh() - y) / slope
