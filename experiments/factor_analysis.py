"""Factor analysis: the linear latent-variable model that a VAE of the same size has to beat.

x ~ N(W z + mean, diag(noise)), z ~ N(0, I), fitted by expectation-maximisation (Rubin & Thayer
1982), with each pixel's deviation floored as the VAE's is. Its evidence is exact.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from envs.dice import seeded


class FactorAnalysis:
    """Fitted to frames in 0..1, flattened."""

    def __init__(
        self, x: Float[Tensor, "B P"], latent: int, *, floor: float, iterations: int = 20
    ) -> None:
        self.mean, self.floor = x.mean(0), floor
        x = x - self.mean
        variance = x.square().mean(0)
        with seeded(0):  # principal components are where it starts
            _, scale, directions = torch.svd_lowrank(x[:: -(-len(x) // 5000)], latent)
        self.loading = directions * (scale / math.sqrt(min(len(x), 5000)))  # [P, D]
        self.noise = self._floored(variance - self.loading.square().sum(1))
        for _ in range(iterations):
            code = self._code(x)
            second = len(x) * torch.linalg.inv(self._precision()) + code.T @ code
            cross = x.T @ code
            self.loading = torch.linalg.solve(second, cross.T).T
            self.noise = self._floored(variance - (self.loading * cross).sum(1) / len(x))

    def encode(self, x: Float[Tensor, "B P"]) -> Float[Tensor, "B D"]:
        """The posterior's means."""
        return self._code(x - self.mean)

    def log_prob(self, x: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
        """log p(x) in nats, by the matrix inversion and determinant lemmas."""
        x = x - self.mean
        distance = (x.square() / self.noise).sum(1)
        distance -= ((x @ (self.loading / self.noise[:, None])) * self._code(x)).sum(1)
        volume = self.noise.log().sum() + torch.logdet(self._precision())
        return -(x.shape[1] * math.log(2 * math.pi) + volume + distance) / 2

    def _precision(self) -> Float[Tensor, "D D"]:
        weighted = self.loading / self.noise[:, None]
        return torch.eye(weighted.shape[1]) + self.loading.T @ weighted

    def _code(self, x: Float[Tensor, "B P"]) -> Float[Tensor, "B D"]:
        known = x @ (self.loading / self.noise[:, None])
        code: Tensor = torch.linalg.solve(self._precision(), known.T).T
        return code

    def _floored(self, variance: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
        return variance.clamp(min=self.floor**2)
