"""A simulator that grows with its agent: a predictor, and the experience that it learns from."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from agents.interface import AgentConfig
from agents.replay import Replay
from envs import dice
from envs.checks import at_least, check
from envs.errors import NumericalError, UsageError
from envs.interface import EnvSpec, Memory, Metrics, Segment, Step, Transition
from world_models.interface import PredictorConfig
from world_models.prediction.feedforward import SMALL


@dataclass(frozen=True)
class ImaginingConfig(AgentConfig):
    """Base of agents that imagine: how their predictor comes to know the world."""

    predictor: PredictorConfig = SMALL
    weights: str = ""
    """model.pt of a pretraining of this very predictor; without it, it starts from nothing."""
    model_capacity: int = 100_000
    """Frames of experience that the predictor learns from."""
    model_starts: int = 1_000
    """Steps before its first update."""
    model_ratio: float = 0.25
    """Its updates a step; 0 leaves it as it was pretrained."""

    def __post_init__(self) -> None:
        check(self, "agent", at_least(1), "model_starts")
        check(self, "agent", at_least(0), "model_ratio")
        if self.model_ratio == 0 and not self.weights:
            raise UsageError(
                "agent.model_ratio is 0, and a predictor that never learns needs agent.weights."
            )

    def check_world(self, title: str) -> None:
        made_in = _read(self.weights).get("world", title) if self.weights else title
        if made_in != title:
            raise UsageError(
                f"agent.weights are of a predictor of {made_in}, and this is {title}; pretrain one "
                f"on recordings of {title}."
            )


class Simulator:
    """A predictor that is updated on its schedule, and moments to imagine from."""

    def __init__(
        self, config: ImaginingConfig, spec: EnvSpec, *, seed: int, device: torch.device | str
    ) -> None:
        self.config, self.spec, self.device = config, spec, torch.device(device)
        self.predictor = config.predictor.build(
            obs_shape=spec.obs_shape,
            num_actions=spec.num_actions,
            colours=spec.colours,
            seed=seed,
            device=device,
        )
        if config.weights:
            self._load(config.weights)
        self.replay = Replay(
            spec, capacity=config.model_capacity, gamma=1.0, monte_carlo=False, seed=seed
        )
        self.steps = self.updates = 0

    @property
    def ready(self) -> bool:
        """Whether there is something to imagine with, and to begin from."""
        learned = self.updates > 0 or bool(self.config.weights)
        return learned and self.steps >= self.config.model_starts and len(self.replay) > 0

    def learn(self, t: Transition) -> Metrics:
        """Store a real tick, and make the predictor's updates that are due.

        Raises NumericalError, which names the step, where its loss is no number.
        """
        self.replay.append(t, t.next_step.reward)
        self.steps += self.spec.num_envs
        if not len(self.replay):
            return {}
        ratio = self.config.model_ratio
        owed = math.floor((self.steps - self.config.model_starts) * ratio) - self.updates
        metrics: Metrics = {}
        for _ in range(min(owed, 2 * math.ceil(self.spec.num_envs * ratio))):
            metrics = self.predictor.update(self.replay.segments(*self.predictor.lesson))
            self.updates += 1
            if not math.isfinite(float(metrics["loss"])):
                raise NumericalError(
                    f"The predictor's loss at agent step {self.steps} is {metrics['loss']}; "
                    "try a smaller learning rate."
                )
        return {f"model/{name}": value for name, value in metrics.items()}

    def initial(self, n: int) -> Memory:
        """The looks that a predictor with a memory wants to have seen, newest last: none yet."""
        before, shape = self.predictor.context - 1, self.spec.obs_shape
        looks = torch.zeros(n, before, *shape, dtype=torch.uint8, device=self.device)
        return {"looks": looks, "births": looks.new_zeros(n, before, dtype=torch.bool)}

    def note(self, step: Step, memory: Memory) -> Memory:
        """The looks with this one, for the next tick."""
        looks, births = _with(step, memory)
        return {"looks": looks[:, 1:], "births": births[:, 1:]}

    def start(self, step: Step, memory: Memory, key: Int64[Tensor, " N"]) -> Memory:
        """The predictor's state after the looks in the memory and this one.

        What chance decides from there is drawn by the dice.
        """
        state = self.predictor.start(context_of(*_with(step, memory)))
        if "dice" in state:
            state["dice"] = dice.roll(dice.splitmix64(key))
        return state

    def moments(self, count: int) -> Segment:
        """Remembered contexts to imagine from; none ends where an episode did."""
        piece = self.replay.segments(count, self.predictor.context)
        ticks = ("action", "reward", "bonus", "discount", "obs", "first", "last")
        return replace(piece, **{name: getattr(piece, name)[:, :-1] for name in ticks})

    def state_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in ("predictor", "replay")}
        return parts | {"steps": self.steps, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("predictor", "replay"):
            getattr(self, name).load_state_dict(state[name])
        self.steps, self.updates = state["steps"], state["updates"]

    def _load(self, path: str) -> None:
        try:
            self.predictor.load_state_dict(_read(path)["model"])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise UsageError(
                f"The weights in {path} do not fit this predictor and world ({reason}); pretrain "
                "the same predictor on recordings of the same game, action set and format."
            ) from error


def _read(path: str) -> dict[str, Any]:
    """What a pretraining left in its model.pt."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"agent.weights names {path}, and there is no such file.") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UsageError(
            f"{path} holds no weights ({type(error).__name__}); agent.weights is the model.pt of a "
            "`reverie pretrain predictor:small`."
        ) from error
    return state if isinstance(state, dict) else {}


def _with(step: Step, memory: Memory) -> tuple[Tensor, Tensor]:
    looks = torch.cat([memory["looks"], step.obs[:, None]], 1)
    return looks, torch.cat([memory["births"], step.first[:, None]], 1)


def context_of(looks: UInt8[Tensor, "N C K H W"], births: Bool[Tensor, "N C"]) -> Segment:
    """Looks alone: what was done between them, a predictor does not ask."""
    nothing = torch.zeros(len(looks), looks.shape[1] - 1, device=looks.device)
    return Segment(
        action=nothing.long(),
        obs=looks,
        reward=nothing,
        bonus=nothing,
        discount=nothing,
        first=births,
        last=torch.zeros_like(births),
        memory={},
    )
