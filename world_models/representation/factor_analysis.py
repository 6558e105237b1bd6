"""Factor analysis: the linear latent-variable model, a baseline for a VAE of the same size.

x ~ N(W z + mean, diag(noise)), z ~ N(0, I), fitted by expectation-maximization (Rubin & Thayer
1982); each pixel's standard deviation has the same lower bound as the VAE's. Its log p(x) is exact.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...envs.prng import seeded


class FactorAnalysis:
    """A model of ``latent`` factors, fitted to flattened frames in 0..1.

    ``floor`` is the lower bound of a pixel's standard deviation.
    """

    def __init__(
        self, x: Float[Tensor, "B P"], latent: int, *, floor: float, iterations: int = 20
    ) -> None:
        self.mean, self.floor = x.mean(0), floor
        x = x - self.mean
        variance = x.square().mean(0)
        with seeded(0):  # EM starts from the principal components
            some = x[:: -(-len(x) // 5000)]
            _, scale, directions = torch.svd_lowrank(some, latent)
        self.loading = directions * (scale / math.sqrt(len(some)))  # [P, D]
        self.noise = self._with_floor(variance - self.loading.square().sum(1))
        for _ in range(iterations):
            z = self._posterior_mean(x)
            second_moment = len(x) * torch.linalg.inv(self._precision()) + z.T @ z
            cross_moment = x.T @ z
            self.loading = torch.linalg.solve(second_moment, cross_moment.T).T
            explained = (self.loading * cross_moment).sum(1) / len(x)
            self.noise = self._with_floor(variance - explained)

    def encode(self, x: Float[Tensor, "B P"]) -> Float[Tensor, "B D"]:
        """Return the posterior means of the factors.

            E[z | x] = (I + W^T N^-1 W)^-1 W^T N^-1 (x - mean)

        N is the diagonal matrix of the noise.
        """
        return self._posterior_mean(x - self.mean)

    def log_prob(self, x: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
        """Return log p(x) in nats, by the matrix inversion and determinant lemmas."""
        x = x - self.mean
        distance = (x.square() / self.noise).sum(1)
        distance -= ((x @ (self.loading / self.noise[:, None])) * self._posterior_mean(x)).sum(1)
        log_det = self.noise.log().sum() + torch.logdet(self._precision())
        return -(x.shape[1] * math.log(2 * math.pi) + log_det + distance) / 2

    def _precision(self) -> Float[Tensor, "D D"]:
        """Return the precision matrix of the posterior."""
        weighted = self.loading / self.noise[:, None]
        identity = torch.eye(weighted.shape[1], device=weighted.device)
        return identity + self.loading.T @ weighted

    def _posterior_mean(self, x: Float[Tensor, "B P"]) -> Float[Tensor, "B D"]:
        """Return the posterior means of centered data."""
        projected = x @ (self.loading / self.noise[:, None])
        mean: Tensor = torch.linalg.solve(self._precision(), projected.T).T
        return mean

    def _with_floor(self, variance: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
        return variance.clamp(min=self.floor**2)
