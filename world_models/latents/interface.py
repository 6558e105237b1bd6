"""Latent-variable models of frames, which serve as representations and, by a bound, as densities.

A config names the architecture, the code and the likelihood of pixels. The bound, the estimator of
its gradient and the optimizer belong to the part that trains the model.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.distributions import Distribution

from ...envs.checks import above, check
from ...envs.interface import Segment
from ..inference.bounds import LatentVariableModel, Weights
from ..likelihoods import LIKELIHOODS, GaussianPixels, Likelihood, LikelihoodName


@dataclass(frozen=True)
class LatentConfig:
    """Base of the configs of latent-variable models of frames.

    Raises UsageError for a setting out of its range.
    """

    score_codes: ClassVar[bool] = False
    """Whether some codes have no pathwise gradient, so that nvil or vimco must estimate it."""
    usual_likelihood: ClassVar[LikelihoodName] = "gaussian"
    """What ``auto`` is in a representation, whose pixels need not be symbols."""

    likelihood: Literal["auto"] | LikelihoodName = "auto"
    """Distribution of a pixel. By default that of the published model in a representation, and
    categorical in a density, which is of symbols."""
    min_std: float = 0.05
    """Smallest standard deviation of a gaussian pixel, for pixels in 0..1."""

    def __post_init__(self) -> None:
        check(self, "latent", above(0), "min_std")

    @property
    def has_divergence(self) -> bool:
        """Whether a posterior's KL from the prior has a closed form (``Weights.divergence``)."""
        return not self.score_codes

    def example(self) -> "LatentConfig":
        """Return these settings made small, so that the laws of the role take seconds."""
        return self

    def build(self, shape: tuple[int, ...], levels: int = 256) -> "LatentModel":
        """Return an untrained model of frames of shape (K, H, W) or (H, W), by torch's generator.

        Frames are symbols 0..levels-1.
        """
        raise NotImplementedError

    def pixels(self, shape: tuple[int, ...], levels: int) -> Likelihood:
        """Return the likelihood of frames."""
        name = self.usual_likelihood if self.likelihood == "auto" else self.likelihood
        if name == "gaussian":
            return GaussianPixels(shape, levels, self.min_std)
        return LIKELIHOODS[name](shape, levels)


class LatentModel(nn.Module, LatentVariableModel):
    """A latent-variable model of frames, with a decoder of codes and keys for frames."""

    segment_length: int = 0
    """Timesteps of the segments that it learns from; 0 for frames by themselves."""
    code_range: ClassVar[tuple[float, float]] = (-3.0, 3.0)
    """Values of a latent between which a figure or a slider changes it."""

    size: int
    """Length of a code."""
    dim: int
    """Length of a key, whose first ``size`` numbers are the mean of the code, or a typical one."""
    num_features: int
    """Length of the features."""

    def __init__(self, pixels: Likelihood) -> None:
        super().__init__()
        self.pixels = pixels

    @abstractmethod
    def start_at_prior(self) -> None:
        """Make the posterior of an untrained model its prior, so that bounds are tight."""

    @abstractmethod
    def decode(self, z: Float[Tensor, "*S D"]) -> Tensor:
        """Return the parameters of the pixels, [*S, maps, *frame]."""

    @abstractmethod
    def key(self, x: Tensor) -> Float[Tensor, "B D"]:
        """Return the key of each frame: parameters of its posterior, without sampling."""

    @abstractmethod
    def features(self, x: Tensor) -> Float[Tensor, "B D"]:
        """Return the input of NVIL's baseline."""

    def nearest_code(self, mean: Float[Tensor, "*S D"]) -> Float[Tensor, "*S D"]:
        """Return a code near a mean of codes, such as a key begins with: here the mean itself."""
        return mean

    def prepare(self, frames: UInt8[Tensor, "B *K H W"]) -> Tensor:
        return self.pixels.values(frames)

    def likelihood(self, z: Float[Tensor, "*S D"]) -> Distribution:
        return self.pixels.distribution(self.decode(z))

    def image(self, z: Float[Tensor, "*S D"]) -> Tensor:
        """Return the mean of each pixel given a code, in 0..1: [*S, *frame]."""
        return self.pixels.image(self.decode(z))


@runtime_checkable
class LabeledModel(Protocol):
    """A latent-variable model of frames that also learns from classes of some of them."""

    def labels(self, segment: Segment) -> Int64[Tensor, " B"]:
        """Return the class of each segment's first observation; -1 where it is unknown."""

    def weigh_labeled(
        self, x: Tensor, labels: Int64[Tensor, " B"], samples: int, *, pathwise: bool = False
    ) -> Weights:
        """Sample codes of frames as ``weigh`` does, given their classes where these are known.

        The log-likelihood of such a frame includes the weighted one of its class.
        """


@runtime_checkable
class ConditionalModel(Protocol):
    """A latent-variable model of frames that can be given an example of each."""

    def given(self, example: Tensor) -> LatentModel:
        """Return p(x | x') of B examples x', as ``prepare`` returns their pixels."""

    def given_segment(self, segment: Segment) -> LatentModel:
        """Return p(x | x') of segments' first observations x, with examples x' from the rest."""
