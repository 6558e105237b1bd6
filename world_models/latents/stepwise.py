"""Latent-variable models whose codes are maps of several steps."""

from abc import abstractmethod

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from .interface import LatentModel


class StepwiseModel(LatentModel):
    """Base of the models whose latents are maps of several steps, with standard normal prior.

    The posterior of a step's latents is Gaussian given those of the earlier steps. So the first
    steps of a code are a code of its own, whose missing latents are 0, the mean of their prior.
    """

    code_shape: tuple[int, int, int, int]
    """Steps, maps of a step, rows and columns of a code."""

    @abstractmethod
    def next_posterior(self, x: Tensor, codes: Float[Tensor, "B t M R C"]) -> Normal:
        """Return the posterior of the next step's latents [B M R C] given those before it."""
