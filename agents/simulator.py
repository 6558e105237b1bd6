"""Simulator of a model-based agent: a predictor, and the replay buffer that trains it."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from ..envs import prng
from ..envs.checks import at_least, check, within
from ..envs.errors import NumericalError, UsageError
from ..envs.interface import Carry, EnvSpec, Metrics, Segment, TimeStep, Transition
from ..world_models.interface import PredictorConfig, start_predictor
from ..world_models.precision import FLOAT32, Precision
from ..world_models.prediction.feedforward import SMALL
from ..world_models.state import HasState
from .interface import AgentConfig
from .replay import Replay
from .schedules import Ratio


@dataclass(frozen=True)
class ModelBasedConfig(AgentConfig):
    """Base of the configs of agents that use a predictor."""

    predictor: PredictorConfig = SMALL
    """The model of the next frame, reward and discount."""
    model_buffer_size: int = 100_000
    """Frames in the replay buffer that the predictor learns from."""
    model_learning_starts: int = 1_000
    """Steps before the predictor's first update."""
    model_replay_ratio: float = 0.25
    """The predictor's updates per step; 0 keeps the weights of --init-from."""
    event_fraction: float = 0.25
    """Fraction of the predictor's segments that contain a reward other than 0 or a termination;
    others are drawn uniformly. It learns rare rewards sooner, and overestimates random ones."""

    def __post_init__(self) -> None:
        check(self, "agent", within(0, 1), "event_fraction")
        check(self, "agent", at_least(1), "model_learning_starts")
        check(self, "agent", at_least(0), "model_replay_ratio")

    def check_inner(self, inner: AgentConfig) -> None:
        """Raise UsageError for an agent with a predictor, or one that returns to snapshots."""
        own = "has a predictor of its own" * isinstance(inner, ModelBasedConfig)
        if own or inner.return_after:
            raise UsageError(
                f"agent.inner is {type(inner).__name__}, which {own or 'returns to snapshots'}; "
                "choose a model-free agent without returns, such as agent.inner:dqn."
            )

    def first_update(self, num_envs: int) -> int:
        return self.model_learning_starts

    @property
    def untrained_reason(self) -> str:
        if self.model_replay_ratio > 0 or not self.predictor.trainable:
            return ""
        return "agent.model_replay_ratio is 0, so the predictor never learns"


class Simulator(HasState):
    """A predictor with its training schedule, and recorded states to imagine from.

    Raises UsageError if model_buffer_size is too small for the envs or too large for the memory.
    """

    STATE = ("predictor", "replay", "steps", "schedule", "pretrained")
    BUFFERS = ("replay",)

    def __init__(
        self,
        config: ModelBasedConfig,
        spec: EnvSpec,
        *,
        seed: int,
        device: torch.device | str,
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.spec, self.device = config, spec, torch.device(device)
        self.predictor = config.predictor.build_for(
            spec, seed=seed, device=device, precision=precision
        )
        self.pretrained = False
        self.replay = Replay(
            spec, capacity=config.model_buffer_size, gamma=1.0, monte_carlo=False, seed=seed,
            setting="agent.model_buffer_size",
        )  # fmt: skip
        self.steps = 0
        ratio = config.model_replay_ratio if config.predictor.trainable else 0.0
        self.schedule = Ratio(ratio, start=config.model_learning_starts, num_envs=spec.num_envs)

    @property
    def ready(self) -> bool:
        """Whether the predictor has learned, if it can, and may be used from this step on.

        One that cannot learn waits as long, so that agents differ in nothing but the predictor.
        """
        learned = self.schedule.count > 0 or not self.config.predictor.trainable
        trained = learned or self.pretrained
        return trained and self.steps >= self.config.model_learning_starts

    def learn(self, t: Transition) -> Metrics:
        """Store a real transition and make the predictor's updates that are due.

        Raises NumericalError, which names the step, if the loss is not finite.
        """
        self.replay.append(t, t.next_step.reward)
        self.steps += self.spec.num_envs
        if not len(self.replay):
            return {}
        metrics: Metrics = {}
        for _ in self.schedule(self.steps):
            segment = self.replay.sample_segments(
                *self.predictor.batch_shape, self.config.event_fraction
            )
            metrics = self.predictor.update(segment)
            if not math.isfinite(float(metrics["loss"])):
                raise NumericalError(
                    f"The predictor's loss at agent step {self.steps} is {metrics['loss']}; "
                    "choose a smaller learning rate of agent.predictor."
                )
        return {f"predictor/{name}": value for name, value in metrics.items()}

    def initial(self, n: int) -> Carry:
        """Return an empty context: the timesteps before the current one, newest last."""
        length, shape = self.predictor.context - 1, self.spec.obs_shape
        obs = torch.zeros(n, length, *shape, dtype=torch.uint8, device=self.device)
        return {
            "context_obs": obs,
            "context_action": obs.new_zeros(n, length, dtype=torch.int64),
            "context_first": obs.new_zeros(n, length, dtype=torch.bool),
        }

    def next_context(self, step: TimeStep, action: Int64[Tensor, " N"], carry: Carry) -> Carry:
        """Return the context of the next timestep, which includes this one."""
        newest = {"obs": step.obs, "action": action, "first": step.first}
        return {
            f"context_{name}": torch.cat([carry[f"context_{name}"], x[:, None]], 1)[:, 1:]
            for name, x in newest.items()
        }

    def start(self, step: TimeStep, carry: Carry, rng: Int64[Tensor, " N"]) -> Carry:
        """Return the predictor's state after the context in ``carry`` and this observation.

        A stochastic predictor draws its latents from keys derived from ``rng``.
        """
        state = start_predictor(
            self.predictor,
            torch.cat([carry["context_obs"], step.obs[:, None]], 1),
            carry["context_action"],
            torch.cat([carry["context_first"], step.first[:, None]], 1),
            step.snapshot,
        )
        if "rng" in state:
            state["rng"] = prng.next_rng(prng.splitmix64(rng))
        return state

    def sample_starts(self, count: int) -> Segment:
        """Sample recorded contexts to imagine from; none ends where an episode did.

        Where episodes are too short for the predictor's context, all are as short as the shortest.
        """
        segment = self.replay.sample_segments(count, self.predictor.context).without_last_timestep()
        while segment.last[:, -1].any():
            segment = segment.without_last_timestep()
        return segment

    def load_pretrained(self, state: dict[str, Any]) -> None:
        """Start from a pretrained predictor."""
        self.predictor.load_state_dict(state)
        self.pretrained = True


class ModelBased(HasState):
    """Base of the agents with a ``Simulator``, whose predictor can be pretrained.

    Raises UsageError if model_buffer_size is too small for the envs or too large for the memory.
    """

    simulator: Simulator

    def load_pretrained(self, role: str, state: dict[str, Any]) -> None:
        """Start from the state of a pretrained predictor."""
        self.simulator.load_pretrained(state)
