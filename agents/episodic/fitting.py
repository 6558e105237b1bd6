"""Training of an agent's representation while it plays.

The first frames are of random play, as in Blundell et al. 2016 (section 3.1). When there are enough
of them, one update per agent step follows, until the representation is frozen.
"""

from copy import deepcopy
from typing import Any

import torch

from ...envs import prng
from ...envs.errors import UsageError
from ...envs.interface import EnvSpec, Metrics, Transition
from ...world_models.interface import Representation
from .segment_buffer import SegmentBuffer


class RepresentationFitter:
    """A buffer of the newest timesteps, and the schedule of fits to their segments.

    The first fit is due after ``buffer_size`` frames; with ``refit_every`` above 0, others follow
    that many frames after each fit. A refit trains a copy, so that keys stay constant until it
    ends. Raises UsageError if all frames are equal.
    """

    BUFFERS = ("frames", "timesteps")

    def __init__(
        self,
        representation: Representation,
        spec: EnvSpec,
        *,
        buffer_size: int,
        updates_per_fit: int,
        batch_size: int,
        refit_every: int = 0,
        seed: int = 0,
        fitted: bool = False,
    ) -> None:
        self.representation = representation
        self.updates_per_fit, self.batch_size = updates_per_fit, batch_size
        self.trained = deepcopy(representation) if refit_every else representation
        self.refit_every, self.seed = refit_every, seed
        self.fitted = fitted  # whether the representation can be used
        self.num_updates = 0  # of the current fit
        capacity = 0 if self.done else buffer_size
        self.buffer = SegmentBuffer(spec, capacity, representation.segment_length)
        self.next_fit = self._first_fit()  # in frames

    def skip_fit(self) -> None:
        """Use the representation as it is: pretrained, or without anything to learn."""
        self.fitted = True
        self.next_fit = self._first_fit()
        if self.trained is not self.representation:
            self.trained.load_state_dict(self.representation.state_dict())
        if self.done:
            self.buffer.clear()

    @property
    def done(self) -> bool:
        """Whether no other fit will follow."""
        return self.fitted and not self.refit_every

    def update(self, t: Transition) -> tuple[Metrics, bool]:
        """Store a timestep and make the updates that are due.

        Returns the metrics, and whether a fit has ended, that is whether keys have changed.
        """
        if self.done:
            return {}, False
        num_new = self.buffer.append(t)
        if self.buffer.count < self.next_fit:
            return {}, False
        if self.num_updates == 0 and self.buffer.is_constant:
            raise UsageError(
                f"The {len(self.buffer)} frames to fit the representation to are all the same; "
                "raise --agent.fit-after or choose agent.representation:projection."
            )
        metrics: Metrics = {}
        for _ in range(min(num_new, self.updates_per_fit - self.num_updates)):
            seed = prng.fold_in(prng.fold_in(self.seed, self.next_fit), self.num_updates)
            key = torch.tensor([seed])
            uniforms = prng.uniform(key, self.batch_size, prng.Purpose.SAMPLE)[0]
            metrics = self.trained.update(self.buffer.sample(uniforms))
            self.num_updates += 1
        if self.num_updates < self.updates_per_fit:
            return metrics, False
        if self.trained is not self.representation:
            self.representation.load_state_dict(self.trained.state_dict())
        self.fitted, self.num_updates = True, 0
        self.next_fit = self.buffer.count + self.refit_every
        if not self.refit_every:
            self.buffer.clear()
        return metrics, True

    def _first_fit(self) -> int:
        """Return the number of frames of a buffer's first fit: at least a batch, and a segment."""
        frames = self.refit_every if self.fitted else self.buffer.capacity
        return max(frames, self.batch_size, self.buffer.least)

    def state_dict(self) -> dict[str, Any]:
        """Return the counters, the timesteps stored and, with refits, the copy in training."""
        state = {
            "fitted": self.fitted,
            "num_frames": self.buffer.count,
            "num_updates": self.num_updates,
            "next_fit": self.next_fit,
            **self.buffer.state_dict(),
        }
        if self.trained is not self.representation:
            state["trained"] = self.trained.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the counters and the timesteps; without these, a fit waits for new ones."""
        self.fitted, self.num_updates = state["fitted"], state["num_updates"]
        self.next_fit, self.buffer.count = state["next_fit"], state["num_frames"]
        if self.done:
            self.buffer.clear()
        self.buffer.load_state_dict(state)
        if "frames" not in state:
            self.buffer.count = self.num_updates = 0
            self.next_fit = self._first_fit()
        if self.trained is not self.representation:
            self.trained.load_state_dict(state["trained"])
