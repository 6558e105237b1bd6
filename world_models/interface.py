"""The protocols of the four roles of a generative model, and the bases of their configs.

After Mohamed 2016, "Building Machines that Imagine and Reason": count (``Density``), remember
(``Representation``), imagine (``Predictor``), plan (``Planner``).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ..envs.interface import Carry, EnvSpec, Metrics, Segment, Stateful
from .precision import FLOAT32, Precision


@runtime_checkable
class Density(Stateful, Protocol):
    """A probability model of frames, whose pixels are symbols 0..levels-1.

    Example::

        import torch
        from reverie.world_models.density.cts import CTSConfig

        density = CTSConfig().build(shape=(42, 42), levels=8)
        x = torch.zeros(1, 42, 42, dtype=torch.uint8)
        before, after = density.observe(x)  # the frame has become more likely: before < after
        gain = density.log_prob(x) - before  # as after - before
    """

    def log_prob(self, x: UInt8[Tensor, "B H W"]) -> Float[Tensor, " B"]:
        """Return log p(x) of each frame in nats, without an update."""

    def observe(self, x: UInt8[Tensor, "B H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Learn the frames in order; return each one's log p(x) just before and after, in nats."""

    def sample(self, n: int) -> UInt8[Tensor, "{n} H W"]:
        """Sample ``n`` frames x ~ p; successive calls draw other frames."""


@runtime_checkable
class Representation(Stateful, Protocol):
    """An encoder of observations as vectors with meaningful Euclidean distances.

    Example::

        import torch
        from reverie.world_models.representation.projection import ProjectionConfig

        representation = ProjectionConfig(dim=64).build(obs_shape=(4, 84, 84))
        obs = torch.zeros(8, 4, 84, 84, dtype=torch.uint8)
        keys = representation.encode(obs)  # [8, 64]
    """

    dim: int
    segment_length: int
    """Timesteps T of the segments that it learns from; 0 for observations by themselves."""

    def update(self, segment: Segment) -> Metrics:
        """Take one gradient step on segments [B, T]; return ``{}`` if there is nothing to learn.

        Each has T + 1 observations of one env and the T actions between them. It begins within an
        episode; if the episode ends before the segment does, ``last`` is set from its end on.
        """

    def encode(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        """Return the key of each observation, without an update."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted time step."""

    obs: UInt8[Tensor, "B K H W"]
    """The older frames of the stack, and the predicted one last."""
    reward: Float[Tensor, " B"]
    """Predicted raw reward of the step."""
    discount: Float[Tensor, " B"]
    """In 0..1: the probability that the episode does not terminate."""
    last: Bool[Tensor, " B"] | None = None
    """Whether the episode ends, by a time-out too; None from a predictor that cannot tell. After
    the end nothing more happens, and rewards are 0."""


@runtime_checkable
class Predictor(Stateful, Protocol):
    """A model of the next frame, reward and discount, given an action.

    Example::

        import torch
        from reverie.world_models.prediction.feedforward import FeedforwardConfig

        predictor = FeedforwardConfig(size="tiny").build(obs_shape=(1, 10, 5), num_actions=3)
        obs = torch.zeros(8, 1, 1, 10, 5, dtype=torch.uint8)  # 8 envs, one observation each
        none = torch.zeros(8, 0, dtype=torch.int64)  # no action between one observation
        carry = predictor.start(obs, none, first=torch.ones(8, 1, dtype=torch.bool))
        for action in torch.randint(3, (5, 8)):
            prediction, carry = predictor.predict(carry, action)
    """

    obs_shape: tuple[int, int, int]
    """(K, H, W) of its inputs and predictions."""
    channels: int
    num_actions: int
    context: int
    """Observations to start from: 1 for a predictor without recurrence."""

    @property
    def batch_shape(self) -> tuple[int, int]:
        """Number of segments B and of timesteps T for the next update."""

    def start(
        self,
        obs: UInt8[Tensor, "B F K H W"],
        action: Int64[Tensor, "B F1"],
        first: Bool[Tensor, "B F"],
    ) -> Carry:
        """Return the state after F >= 1 observations and the F1 = F-1 actions between them."""

    def predict(self, carry: Carry, action: Int64[Tensor, " B"]) -> tuple[Prediction, Carry]:
        """Predict one step and return the next state; ``carry`` is not modified."""

    def update(self, segment: Segment) -> Metrics:
        """Take one gradient step on segments [B, T]."""


@runtime_checkable
class SnapshotPredictor(Predictor, Protocol):
    """A predictor that starts from states of the env instead of from observations."""

    def start_from(
        self, obs: UInt8[Tensor, "B K H W"], snapshot: UInt8[Tensor, "B S"] | None
    ) -> Carry:
        """Return the state at these observations; raises UsageError without snapshots."""


@runtime_checkable
class Disagreeing(Predictor, Protocol):
    """A predictor of several models, which differ where they have not learned."""

    def disagreement(self, carry: Carry) -> Float[Tensor, "B C H W"]:
        """Return the variance of the models' predictions of each pixel of the newest frame.

        In squared gray levels of 0..255; 0 before the first prediction. ``carry`` is that of
        ``start`` or ``predict``.
        """


def start_predictor(
    predictor: Predictor,
    obs: UInt8[Tensor, "B F K H W"],
    action: Int64[Tensor, "B F1"],
    first: Bool[Tensor, "B F"],
    snapshot: UInt8[Tensor, "B S"] | None,
) -> Carry:
    """Return a predictor's state after a context, of whose newest observation is the snapshot."""
    if isinstance(predictor, SnapshotPredictor):
        return predictor.start_from(obs[:, -1], snapshot)
    return predictor.start(obs, action, first)


@dataclass(frozen=True, slots=True)
class PlannerOutput:
    """The costs of planning at a timestep, unweighted, and the planner's random decision."""

    kl: Float[Tensor, "*B"]
    """KL divergence of the plan's latent code from its prior, in nats; 0 while committed."""
    replan_prob: Float[Tensor, "*B"]
    """Probability of replanning at the next timestep."""
    decision: Int64[Tensor, "*B"]
    """The random decision, encoded by the planner: whether it replans, or for how long it acts."""
    log_prob: Float[Tensor, "*B"]
    """Log-probability of the decision, where its gradient is the score function's. A learner adds
    it to the action's; elsewhere it is 0."""
    replanned: Bool[Tensor, "*B"] | None = None
    """Whether it has replanned, for metrics; None for a planner that never commits itself."""
    decides: Bool[Tensor, "*B"] | None = None
    """Whether the present action is open, so that there is a decision to learn from; False where an
    earlier decision already fixes it. None if it is open at every timestep."""
    window: Float[Tensor, "*B T"] | None = None
    """The positions of the plan that it attends to, for figures; None without attention."""


@runtime_checkable
class Planner(Stateful, Protocol):
    """A model that writes, keeps and revises a sequence of actions.

    The agent adds ``rng`` to its carry and advances it once per timestep; where ``initial`` has an
    ``action``, the agent sets it to the action taken.

    Example::

        import torch
        from reverie.envs import prng
        from reverie.world_models.planning.figar import FiGARConfig

        planner = FiGARConfig().build(features=64, num_actions=4)
        carry = planner.initial(8) | {"rng": prng.initial_rng(0, prng.Purpose.TRAIN, 8)}
        first = torch.ones(8, dtype=torch.bool)
        logits, carry, output = planner.advance(torch.randn(8, 64), carry, first)
        carry["action"] = logits.argmax(1)  # which the next timesteps repeat
    """

    context_size: int
    """C: numbers that describe a plan to a value function; 0 for a planner without plan."""

    def initial(self, n: int) -> Carry:
        """Return an empty plan for n environments; ``{}`` if timesteps are independent."""

    def context(self, carry: Carry, first: Bool[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Describe the plan with which a timestep begins, before ``advance``; 0 for an empty one.

        What is rewarded next depends on this plan, and so does its value. Decisions of the timestep
        itself are not part of it: a baseline that knew them would hide their own advantage.
        """

    def advance(
        self,
        features: Float[Tensor, "B D"],
        carry: Carry,
        first: Bool[Tensor, " B"],
        decision: Int64[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B A"], Carry, PlannerOutput]:
        """Return the logits of the present action, the next carry and the planner's output.

        What the next carry lacks stays as it is. With ``decision`` that of an earlier output is
        repeated, whatever its probability is now.
        """


@dataclass(frozen=True)
class DensityConfig:
    """Base of the configs of densities; raises UsageError for a setting out of its range."""

    kind: ClassVar[Literal["exact", "bound"]] = "exact"
    """Whether ``log_prob`` is exact, or a bound estimated from ``samples``, a setting of the
    config: then sums of probabilities and gains are noisy."""

    def example(self) -> "DensityConfig":
        """Return these settings made small, so that the laws of the role take seconds."""
        return self

    def build(
        self,
        *,
        shape: tuple[int, int],
        levels: int,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> Density:
        """Return an untrained density of frames of ``shape`` with ``levels`` symbols."""
        raise NotImplementedError


@dataclass(frozen=True)
class RepresentationConfig:
    """Base of the configs of representations; raises UsageError for a setting out of its range."""

    trainable: ClassVar[bool] = False
    """Whether ``update`` trains it; an agent fits such a representation before use."""
    needs_privileged: ClassVar[bool] = False
    """Whether it is a privileged reference, which encodes the true state."""

    def privileged_columns(self, offered: tuple[str, ...]) -> list[int] | None:
        """Return which bytes of the true state it encodes; None if it encodes observations.

        An agent gives it those bytes as images of one row, [B 1 1 P]. ``offered`` holds the names
        of the env's bytes; raises UsageError if one is missing.
        """
        return None

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> Representation:
        """Return an untrained representation of observations of shape (K, H, W)."""
        raise NotImplementedError

    def build_for(
        self,
        spec: EnvSpec,
        *,
        newest: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> tuple[Representation, list[int] | None]:
        """Return an untrained representation for the envs of ``spec``, and what it encodes.

        That is bytes of the true state (see ``privileged_columns``) or, if None, observations, of
        which with ``newest`` the newest frame alone.
        """
        columns = self.privileged_columns(spec.privileged)
        shape = (spec.channels, *spec.obs_shape[1:]) if newest else spec.obs_shape
        if columns is not None:
            shape = (1, 1, len(columns))
        built = self.build(obs_shape=shape, seed=seed, device=device, precision=precision)
        return built, columns


@dataclass(frozen=True)
class PredictorConfig:
    """Base of the configs of predictors; raises UsageError for a setting out of its range."""

    trainable: ClassVar[bool] = True
    """Whether ``update`` trains it; an agent uses one that does not learn without training it."""
    needs_snapshots: ClassVar[bool] = False
    """Whether it starts from ``TimeStep.snapshot``, as a privileged reference does."""
    has_latents: ClassVar[bool] = False
    """Whether it is a ``LatentPredictor``, in whose states an agent can learn."""

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> Predictor:
        """Return an untrained predictor of observations (K, H, W) with K = frames x channels."""
        raise NotImplementedError

    def build_for(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> Predictor:
        """Return an untrained predictor of the envs of ``spec``."""
        return self.build(
            obs_shape=spec.obs_shape,
            num_actions=spec.num_actions,
            channels=spec.channels,
            seed=seed,
            device=device,
            precision=precision,
        )


@dataclass(frozen=True)
class PlannerConfig:
    """Base of every planner's config; raises UsageError for a setting out of its range."""

    needs_privileged: ClassVar[bool] = False
    """Whether it is a privileged reference, which plans from the true state."""

    def privileged_columns(self, offered: tuple[str, ...]) -> list[int] | None:
        """Return which bytes of the true state are its features; None if they are the agent's.

        ``offered`` holds the names of the env's bytes; raises UsageError if one is missing.
        """
        return None

    def build(
        self, *, features: int, num_actions: int, seed: int = 0, device: torch.device | str = "cpu"
    ) -> Planner:
        """Return an untrained planner over ``num_actions`` actions."""
        raise NotImplementedError
