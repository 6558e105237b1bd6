"""Training of an agent's representation while it plays.

The first frames are of random play, as in Blundell et al. 2016 (section 3.1). When there are enough
of them, one update per agent step follows, until the representation is frozen.
"""

from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from ...envs import prng
from ...envs.errors import UsageError
from ...envs.interface import Metrics
from ...world_models.interface import Representation


class RepresentationFitter:
    """A buffer of the newest frames, and the schedule of fits to them.

    The first fit is due after ``buffer_size`` frames; with ``refit_every`` above 0, others follow
    that many frames after each fit. A refit trains a copy, so that keys stay constant until it
    ends. Raises UsageError if all frames are equal.
    """

    BUFFERS = ("frames",)

    def __init__(
        self,
        representation: Representation,
        obs_shape: tuple[int, int, int],
        *,
        buffer_size: int,
        updates_per_fit: int,
        batch_size: int,
        refit_every: int = 0,
        seed: int = 0,
        fitted: bool = False,
    ) -> None:
        self.representation, self.buffer_size = representation, buffer_size
        self.updates_per_fit, self.batch_size = updates_per_fit, batch_size
        self.trained = deepcopy(representation) if refit_every else representation
        self.refit_every, self.seed = refit_every, seed
        self.fitted = fitted  # whether the representation can be used
        self.num_frames = 0  # observed so far
        self.num_updates = 0  # of the current fit
        self.next_fit = max(refit_every if fitted else buffer_size, batch_size)  # in frames
        self.frames = torch.empty(0 if self.done else buffer_size, *obs_shape, dtype=torch.uint8)

    def skip_fit(self) -> None:
        """Use the representation as it is: pretrained, or without anything to learn."""
        self.fitted = True
        self.next_fit = max(self.refit_every, self.batch_size)
        if self.trained is not self.representation:
            self.trained.load_state_dict(self.representation.state_dict())
        if self.done:
            self.frames = self.frames[:0].clone()

    @property
    def done(self) -> bool:
        """Whether no other fit will follow."""
        return self.fitted and not self.refit_every

    def update(
        self, obs: UInt8[Tensor, "N K H W"], valid: Bool[Tensor, " N"]
    ) -> tuple[Metrics, bool]:
        """Store a timestep's valid observations and make the updates that are due.

        Returns the metrics, and whether a fit has ended, that is whether keys have changed.
        """
        if self.done:
            return {}, False
        obs = obs[valid].cpu()
        self.frames[(self.num_frames + torch.arange(len(obs))) % self.buffer_size] = obs
        self.num_frames += len(obs)
        if self.num_frames < self.next_fit:
            return {}, False
        frames = self.frames[: self.num_frames]
        if self.num_updates == 0 and (frames == frames[0]).all():
            raise UsageError(
                f"The {len(frames)} frames to fit the representation to are all the same; raise "
                "--agent.fit-after or choose agent.representation:projection."
            )
        metrics: Metrics = {}
        for _ in range(min(len(obs), self.updates_per_fit - self.num_updates)):
            seed = prng.fold_in(prng.fold_in(self.seed, self.next_fit), self.num_updates)
            key = torch.tensor([seed])
            uniforms = prng.uniform(key, self.batch_size, prng.Purpose.SAMPLE)[0]
            rows = (uniforms * len(frames)).long()
            metrics = self.trained.update(frames[rows])
            self.num_updates += 1
        if self.num_updates < self.updates_per_fit:
            return metrics, False
        if self.trained is not self.representation:
            self.representation.load_state_dict(self.trained.state_dict())
        self.fitted, self.num_updates = True, 0
        self.next_fit = self.num_frames + self.refit_every
        if not self.refit_every:
            self.frames = self.frames[:0].clone()
        return metrics, True

    def state_dict(self) -> dict[str, Any]:
        """Return the counters, the frames stored and, with refits, the copy in training."""
        state = {name: getattr(self, name) for name in COUNTERS}
        state["frames"] = self.frames[: self.num_frames]
        if self.trained is not self.representation:
            state["trained"] = self.trained.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the counters, and the frames if the state has them."""
        for name in COUNTERS:
            setattr(self, name, state[name])
        if self.done:
            self.frames = self.frames[:0].clone()
        frames = state.get("frames", self.frames[:0])  # of a buffer, which a state may lack
        self.frames[: len(frames)] = frames
        if self.trained is not self.representation:
            self.trained.load_state_dict(state["trained"])


COUNTERS = ("fitted", "num_frames", "num_updates", "next_fit")
