"""The four roles a generative model can serve an agent in, and the configs that name its members.

After Mohamed 2016, "Building Machines that Imagine and Reason": count (``Density``), remember
(``Representation``), imagine (``Predictor``), plan (``Planner``).
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from envs.interface import Memory, Metrics, Segment, Stateful


@runtime_checkable
class Density(Stateful, Protocol):
    """Says how likely a frame is; frames are symbols 0..levels-1."""

    def log_prob(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        """Log-probability in nats; learns nothing."""

    def observe(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Learn the frames in order, each once; log-prob just before and just after, in nats."""

    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        """Draw frames from the model."""


@runtime_checkable
class PixelwiseDensity(Density, Protocol):
    """A density that is a product over pixels, each given those before it."""

    def pixel_log_probs(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, "B H W"]:
        """Nats of each pixel, which sum to ``log_prob``; learns nothing."""


@runtime_checkable
class Representation(Stateful, Protocol):
    """Turns a look at the world into a vector whose Euclidean distances mean something."""

    dim: int

    def update(self, frames: UInt8[Tensor, "B K H W"]) -> Metrics:
        """One gradient step; ``{}`` where there is nothing to learn."""

    def encode(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        """The key of each observation; learns nothing."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a predictor says comes next."""

    obs: UInt8[Tensor, "B K H W"]
    reward: Float[Tensor, " B"]
    discount: Float[Tensor, " B"]


@runtime_checkable
class Predictor(Stateful, Protocol):
    """Imagines the next frame, given an action."""

    obs_shape: tuple[int, int, int]
    """(K, H, W) of the looks it reads and imagines."""
    colours: int
    num_actions: int
    context: int
    """Frames it is best started from: 1 where a look is enough."""

    @property
    def lesson(self) -> tuple[int, int]:
        """Segments and ticks, B and T, of the experience that its next update is meant to see."""

    def start(self, context: Segment) -> Memory:
        """State after C >= 1 remembered frames and the C-1 actions between them."""

    def predict(self, state: Memory, action: Int64[Tensor, " B"]) -> tuple[Prediction, Memory]:
        """One imagined step; the given state is not changed."""

    def update(self, segment: Segment) -> Metrics:
        """One gradient step on a piece of experience."""


@dataclass(frozen=True, slots=True)
class Thought:
    """What planning cost at a tick, unweighted, and what was left to chance in it."""

    nats: Float[Tensor, "*B"]
    """Divergence of the plan's code from its prior; 0 while committed."""
    commitment: Float[Tensor, "*B"]
    """Probability of planning anew at the next tick."""
    choice: Int64[Tensor, "*B"]
    """What the dice decided, as a number of the planner's own."""
    log_prob: Float[Tensor, "*B"]
    """Of the choice, where its gradient is the score function's: added to the action's own."""


@runtime_checkable
class Planner(Stateful, Protocol):
    """Writes, keeps and revises a sequence of actions.

    Whoever acts keeps two things more in its memory: the ``dice``, which it rolls once a tick, and
    the ``action`` of the tick before where ``initial`` has one.
    """

    def initial(self, n: int) -> Memory:
        """An empty plan for n streams; no memory at all where every tick is thought of alone."""

    def advance(
        self,
        features: Float[Tensor, "B D"],
        memory: Memory,
        first: Bool[Tensor, " B"],
        choice: Int64[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B A"], Memory, Thought]:
        """Logits of the action now, the plan as it stands, and what it cost.

        A ``choice`` that a thought told of is made again, whatever its probability has become.
        """


@dataclass(frozen=True)
class DensityConfig:
    """Base of every density's config."""

    def build(
        self,
        *,
        shape: tuple[int, int],
        levels: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> Density:
        """An untrained density over frames of ``shape`` with ``levels`` symbols."""
        raise NotImplementedError


@dataclass(frozen=True)
class RepresentationConfig:
    """Base of every representation's config."""

    learns: ClassVar[bool] = False
    """Whether ``update`` has anything to learn, so that an agent fits it before it is of use."""

    def build(
        self, *, obs_shape: tuple[int, int, int], seed: int = 0, device: torch.device | str = "cpu"
    ) -> Representation:
        """A representation of looks of shape (K, H, W)."""
        raise NotImplementedError


@dataclass(frozen=True)
class PredictorConfig:
    """Base of every predictor's config."""

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        colours: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> Predictor:
        """An untrained predictor of looks of shape (K, H, W), K being frames x colours."""
        raise NotImplementedError


@dataclass(frozen=True)
class PlannerConfig:
    """Base of every planner's config."""

    def build(
        self, *, features: int, num_actions: int, seed: int = 0, device: torch.device | str = "cpu"
    ) -> Planner:
        """An untrained planner over ``num_actions`` actions."""
        raise NotImplementedError
