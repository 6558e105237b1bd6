"""Fitting an agent's representation as it plays: when, and on which frames.

The agent's first frames are of random play, as in Blundell et al. 2016 (section 3.1). Once it has
seen enough of them there is one update an agent step, until the model is frozen.
"""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from envs import dice
from envs.errors import UsageError
from envs.interface import Metrics
from world_models.interface import Representation


class Fitting:
    """One fit after ``keep`` frames, on the newest of them; with ``every`` above 0, others after.

    A later fit is of a copy, so that keys stay as they are until it ends. Raises UsageError where
    there is nothing to fit to.
    """

    def __init__(
        self,
        representation: Representation,
        obs_shape: tuple[int, int, int],
        *,
        keep: int,
        steps: int,
        batch: int,
        every: int = 0,
        seed: int = 0,
        fitted: bool = False,
    ) -> None:
        self.representation, self.keep, self.steps, self.batch = representation, keep, steps, batch
        self.student = deepcopy(representation) if every else representation
        self.every, self.seed = every, seed
        self.fitted = fitted  # whether there are keys to act by
        self.seen = 0  # agent steps so far
        self.updates = 0  # of the fit that is due
        self.due = max(every if fitted else keep, batch)  # how many were seen when it begins
        self.frames = torch.empty(0 if self.done else keep, *obs_shape, dtype=torch.uint8)

    @property
    def done(self) -> bool:
        """Whether no other fit will come."""
        return self.fitted and not self.every

    def learn(self, obs: UInt8[Tensor, "n K H W"]) -> tuple[Metrics, bool]:
        """Take the frames of a tick; metrics, and whether the keys have just changed."""
        if self.done:
            return {}, False
        self.frames[(self.seen + torch.arange(len(obs))) % self.keep] = obs.cpu()
        self.seen += len(obs)
        if self.seen < self.due:
            return {}, False
        frames = self.frames[: self.seen]
        if self.updates == 0 and (frames == frames[0]).all():
            raise UsageError(
                f"The {len(frames)} frames to fit the representation to are all the same; play "
                "longer before it (agent.fit_after) or choose agent.representation:projection."
            )
        metrics: Metrics = {}
        for _ in range(min(len(obs), self.steps - self.updates)):
            key = torch.tensor([dice.fold(dice.fold(self.seed, self.due), self.updates)])
            rows = (dice.uniform(key, self.batch)[0] * len(frames)).long()
            metrics = self.student.update(frames[rows])
            self.updates += 1
        if self.updates < self.steps:
            return metrics, False
        if self.student is not self.representation:
            self.representation.load_state_dict(self.student.state_dict())
        self.fitted, self.updates, self.due = True, 0, self.seen + self.every
        if not self.every:
            self.frames = self.frames[:0].clone()
        return metrics, True

    def state_dict(self) -> dict[str, Any]:
        state = {name: getattr(self, name) for name in ("fitted", "seen", "updates", "due")}
        state["frames"] = self.frames[: self.seen]
        if self.student is not self.representation:
            state["student"] = self.student.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("fitted", "seen", "updates", "due"):
            setattr(self, name, state[name])
        if self.done:
            self.frames = self.frames[:0].clone()
        self.frames[: len(state["frames"])] = state["frames"]
        if self.student is not self.representation:
            self.student.load_state_dict(state["student"])


PRETRAINED = "representation.pt"
"""What `reverie pretrain` leaves for agents: the state, what it is of, and the frames it saw."""


@cache
def load_pretrained(folder: str) -> dict[str, Any]:
    """A pretrained representation; raises UsageError where the folder holds none."""
    path = Path(folder) / PRETRAINED
    try:
        data: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise UsageError(
            f"{path} is no pretrained representation ({type(error).__name__}); name the folder of "
            "a finished `reverie pretrain representation:vae`."
        ) from error
    return data


def check_same(folder: str, theirs: str, ours: str) -> None:
    """Refuse a pretrained representation of another kind; raises UsageError."""
    if theirs != ours:
        raise UsageError(
            f"{folder} holds {theirs}, and the agent's is {ours}; give both the same settings."
        )
