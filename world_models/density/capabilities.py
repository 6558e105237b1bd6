"""What a density can do beside its role: protocols that completion, coding and pictures ask for."""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from ...envs.interface import Metrics
from ..interface import Density


@runtime_checkable
class PixelwiseDensity(Density, Protocol):
    """A density that is a product over pixels, each given earlier pixels.

        log p(x) = sum_i log p(x_i | x_1, ..., x_{i-1})

    Pixels i are in raster order.
    """

    def pixel_log_probs(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        """Return the log-probability of each pixel in nats; they sum to ``log_prob``."""


@runtime_checkable
class TrainableDensity(Density, Protocol):
    """A density trained by gradient descent, which can take a step without scoring its frames."""

    def update(self, x: UInt8[Tensor, "B H W"]) -> Metrics:
        """Take one gradient step on the mean log p(x) of a batch."""


@runtime_checkable
class SequentialDensity(PixelwiseDensity, Protocol):
    """A density whose conditionals p(x_i | x_1, ..., x_{i-1}) can be read one pixel at a time.

    Sampling, completion and coding of frames are then the same for all (``density.ancestral``).
    """

    shape: tuple[int, int]
    levels: int

    def conditional(self, x: UInt8[Tensor, "B H W"], i: int, j: int) -> Float[Tensor, "B levels"]:
        """Return the probabilities of pixel (i, j) given those before it, and read no others."""


@runtime_checkable
class LocalDensity(SequentialDensity, Protocol):
    """A sequential density whose conditionals read no pixel beyond a radius.

    The conditional of pixel (i, j) reads rows i - radius..i and columns j - radius..j + radius.
    """

    radius: int


@runtime_checkable
class TemporalDensity(SequentialDensity, Protocol):
    """A density of a frame, given the frames before it.

    In itself it is given frames of symbol 0. Recordings are coded by it (``coding``).
    """

    num_past: int
    """F: the frames before that it reads."""

    def given(self, past: UInt8[Tensor, "F H W"]) -> SequentialDensity:
        """Return p(x | past), the oldest frame first.

        It shares what is learned: by observing frames it learns p(x | past) of both.
        """


@runtime_checkable
class OrderlessDensity(Density, Protocol):
    """A density that predicts unknown pixels from any set of known ones."""

    shape: tuple[int, int]
    levels: int

    def conditional_given(
        self, x: UInt8[Tensor, "B H W"], known: Bool[Tensor, "B H W"]
    ) -> Float[Tensor, "B H W levels"]:
        """Return the probabilities of each pixel given the known ones, and read no others.

        A known pixel has its symbol with probability one.
        """


@runtime_checkable
class TemporalDensityConfig(Protocol):
    """The config of a density that can also be built to be given the frames before."""

    def build_temporal(
        self, *, shape: tuple[int, int], levels: int, seed: int = 0
    ) -> TemporalDensity:
        """Return an untrained density, on the CPU."""
