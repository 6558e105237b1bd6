"""Running mean and variance of all that was observed, in float64 (Chan et al. 1979)."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ...world_models.state import HasState


class RunningMoments(HasState):
    """The mean and the variance of rows of a shape, beginning at 0 and 1 with a count of 1e-4.

    These are the first values of Gym's ``RunningMeanStd``, which the published bonuses use. They
    keep the variance of a constant positive.
    """

    STATE = ("mean", "variance", "count")

    def __init__(self, shape: tuple[int, ...] = (), device: torch.device | str = "cpu") -> None:
        self.mean = torch.zeros(shape, dtype=torch.float64, device=device)
        self.variance = torch.ones_like(self.mean)
        self.count = 1e-4

    def update(self, rows: Shaped[Tensor, "n ..."]) -> None:
        """Take the rows into the moments."""
        rows, n = rows.to(self.mean), len(rows)
        delta, total = rows.mean(0) - self.mean, self.count + n
        between = delta.square() * (self.count * n / total)
        within = self.variance * self.count + rows.var(0, correction=0) * n
        self.mean = self.mean + delta * (n / total)
        self.variance, self.count = (within + between) / total, total

    @property
    def std(self) -> Float[Tensor, "..."]:
        """The standard deviation."""
        return self.variance.sqrt()

    def whiten(self, rows: Shaped[Tensor, "n ..."], clip: float) -> Float[Tensor, "n ..."]:
        """Return rows scaled to mean 0 and deviation 1, clipped to +-``clip``, in float32."""
        return ((rows - self.mean) / self.std).clamp(-clip, clip).float()
