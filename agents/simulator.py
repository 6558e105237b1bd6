"""Simulator of a model-based agent: a predictor, and the replay buffer that trains it."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from ..envs import prng
from ..envs.checks import at_least, check
from ..envs.errors import NumericalError, UsageError
from ..envs.interface import Carry, EnvSpec, Metrics, Segment, TimeStep, Transition
from ..world_models.interface import PredictorConfig
from ..world_models.prediction.feedforward import SMALL
from .interface import AgentConfig
from .replay import Replay


@dataclass(frozen=True)
class ModelBasedConfig(AgentConfig):
    """Base of the configs of agents that use a predictor."""

    predictor: PredictorConfig = SMALL
    weights: str = ""
    """Path of a model.pt of ``reverie pretrain`` for the same predictor; empty for none."""
    model_buffer_size: int = 100_000
    """Frames in the replay buffer that the predictor learns from."""
    model_learning_starts: int = 1_000
    """Steps before the predictor's first update."""
    model_replay_ratio: float = 0.25
    """The predictor's updates per step; 0 keeps pretrained weights."""

    def __post_init__(self) -> None:
        check(self, "agent", at_least(1), "model_learning_starts")
        check(self, "agent", at_least(0), "model_replay_ratio")
        if self.model_replay_ratio == 0 and not self.weights:
            raise UsageError(
                "agent.model_replay_ratio is 0, so the predictor never learns, and it has no "
                "pretrained weights; set agent.weights, or a ratio above 0."
            )

    def check_env(self, env_name: str) -> None:
        if not self.weights:
            return
        weights_env = _read_weights(self.weights).get("env_name", env_name)
        if weights_env != env_name:
            raise UsageError(
                f"agent.weights is {self.weights}, of a predictor of {weights_env}, and the "
                f"environment is {env_name}; pretrain a predictor on recordings of {env_name}."
            )


class Simulator:
    """A predictor with its training schedule, and recorded states to imagine from."""

    def __init__(
        self, config: ModelBasedConfig, spec: EnvSpec, *, seed: int, device: torch.device | str
    ) -> None:
        self.config, self.spec, self.device = config, spec, torch.device(device)
        self.predictor = config.predictor.build(
            obs_shape=spec.obs_shape,
            num_actions=spec.num_actions,
            channels=spec.channels,
            seed=seed,
            device=device,
        )
        if config.weights:
            self._load_weights(config.weights)
        self.replay = Replay(
            spec, capacity=config.model_buffer_size, gamma=1.0, monte_carlo=False, seed=seed,
            setting="agent.model_buffer_size",
        )  # fmt: skip
        self.steps = self.updates = 0

    @property
    def ready(self) -> bool:
        """Whether the predictor has learned and there are recorded states to imagine from."""
        trained = self.updates > 0 or bool(self.config.weights)
        enough_steps = self.steps >= self.config.model_learning_starts
        return trained and enough_steps and len(self.replay) > 0

    def learn(self, t: Transition) -> Metrics:
        """Store a real transition and make the predictor's updates that are due.

        Raises NumericalError, which names the step, if the loss is not finite.
        """
        self.replay.append(t, t.next_step.reward)
        self.steps += self.spec.num_envs
        if not len(self.replay):
            return {}
        ratio = self.config.model_replay_ratio
        target = math.floor((self.steps - self.config.model_learning_starts) * ratio)
        metrics: Metrics = {}
        for _ in range(min(target - self.updates, 2 * math.ceil(self.spec.num_envs * ratio))):
            segment = self.replay.sample_segments(*self.predictor.batch_shape)
            metrics = self.predictor.update(segment)
            self.updates += 1
            if not math.isfinite(float(metrics["loss"])):
                raise NumericalError(
                    f"The predictor's loss at agent step {self.steps} is {metrics['loss']}; "
                    "choose smaller agent.predictor.learning_rates."
                )
        return {f"predictor/{name}": value for name, value in metrics.items()}

    def initial(self, n: int) -> Carry:
        """Return an empty context: the observations before the current one, newest last."""
        length, shape = self.predictor.context - 1, self.spec.obs_shape
        obs = torch.zeros(n, length, *shape, dtype=torch.uint8, device=self.device)
        return {
            "context_obs": obs,
            "context_first": obs.new_zeros(n, length, dtype=torch.bool),
        }

    def next_context(self, step: TimeStep, carry: Carry) -> Carry:
        """Return the context of the next timestep, which includes this observation."""
        obs, first = _append(step, carry)
        return {"context_obs": obs[:, 1:], "context_first": first[:, 1:]}

    def start(self, step: TimeStep, carry: Carry, rng: Int64[Tensor, " N"]) -> Carry:
        """Return the predictor's state after the context in ``carry`` and this observation.

        A stochastic predictor draws its latents from keys derived from ``rng``.
        """
        state = self.predictor.start(context_segment(*_append(step, carry)))
        if "rng" in state:
            state["rng"] = prng.next_rng(prng.splitmix64(rng))
        return state

    def sample_starts(self, count: int) -> Segment:
        """Sample recorded contexts to imagine from; none ends where an episode did."""
        segment = self.replay.sample_segments(count, self.predictor.context)
        columns = ("action", "reward", "bonus", "discount", "obs", "first", "last")
        return replace(segment, **{name: getattr(segment, name)[:, :-1] for name in columns})

    def state_dict(self) -> dict[str, Any]:
        state = {name: getattr(self, name).state_dict() for name in ("predictor", "replay")}
        return state | {"steps": self.steps, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("predictor", "replay"):
            getattr(self, name).load_state_dict(state[name])
        self.steps, self.updates = state["steps"], state["updates"]

    def _load_weights(self, path: str) -> None:
        try:
            self.predictor.load_state_dict(_read_weights(path)["model"])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise UsageError(
                f"agent.weights is {path}, which does not fit this predictor and environment "
                f"({reason}); pretrain the same predictor on recordings of the same game, action "
                "set and format."
            ) from error


def _read_weights(path: str) -> dict[str, Any]:
    """Read a model.pt of ``reverie pretrain``; raises UsageError if there is none at ``path``."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"agent.weights is {path}, and there is no such file.") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UsageError(
            f"agent.weights is {path}, which holds no weights ({type(error).__name__}); it must be "
            "the model.pt of a `reverie pretrain predictor:small`."
        ) from error
    return state if isinstance(state, dict) else {}


def _append(step: TimeStep, carry: Carry) -> tuple[Tensor, Tensor]:
    """Return observations and ``first`` flags of the context, this time step included."""
    obs = torch.cat([carry["context_obs"], step.obs[:, None]], 1)
    return obs, torch.cat([carry["context_first"], step.first[:, None]], 1)


def context_segment(obs: UInt8[Tensor, "N C K H W"], first: Bool[Tensor, "N C"]) -> Segment:
    """Return observations as a segment with actions 0, for ``Predictor.start``."""
    zeros = torch.zeros(len(obs), obs.shape[1] - 1, device=obs.device)
    return Segment(
        action=zeros.long(),
        obs=obs,
        reward=zeros,
        bonus=zeros,
        discount=zeros,
        first=first,
        last=torch.zeros_like(first),
        carry={},
    )
