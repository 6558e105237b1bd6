"""The dream: a predictor's open-loop rollout beside the emulator, given the same actions."""

from collections import deque
from dataclasses import replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.interface import Carry, TimeStep
from ...world_models.interface import Disagreeing, Prediction, Predictor
from ..evaluation.images import heat_map
from ..evaluation.screen import frame_to_image
from .panels import LineChart, Panel, Picture, Table

MAX_ERRORS = 300
"""Imagined steps whose errors are plotted."""


class Dream:
    """A predictor's rollout since its last resync with the emulator, and its errors."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        # The newest observations, whether each was the first of its episode, and the actions after
        # them.
        self.obs: deque[UInt8[Tensor, "K H W"]] = deque(maxlen=predictor.context)
        self.first: deque[bool] = deque(maxlen=predictor.context)
        self.actions: deque[int] = deque(maxlen=predictor.context)
        self.carry: Carry = {}
        self.prediction: Prediction | None = None
        self.frames_in_episode = 0
        self.horizon = 0
        """Imagined steps since the last resync."""
        self.imagined_score = self.true_score = 0.0
        self.errors: deque[float] = deque(maxlen=MAX_ERRORS)
        self.frozen_errors: deque[float] = deque(maxlen=MAX_ERRORS)
        self.resync_frame = torch.zeros(predictor.channels, *predictor.obs_shape[1:])

    def reset(self, step: TimeStep) -> None:
        """Clear all observations, and start from this timestep, the first of an episode."""
        for buffer in (self.obs, self.first, self.actions):
            buffer.clear()
        self._append(step)
        self.resync()

    def observe(self, action: int, step: TimeStep) -> None:
        """Append a timestep of the emulator without predicting it."""
        self.actions.append(action)
        self._append(step)

    def step(self, action: int, step: TimeStep) -> None:
        """Predict a timestep that the emulator took too.

        After the first frame of an episode the dream resyncs until an observation holds frames of
        that episode alone, because the frames before it cannot be predicted from.
        """
        stack_is_full = self.frames_in_episode >= len(self.obs[-1]) // self.predictor.channels
        self.observe(action, step)
        if bool(step.first[0]) or not stack_is_full:
            self.resync()
            return
        actions = torch.tensor([action], device=self.carry["obs"].device)
        self.prediction, self.carry = self.predictor.predict(self.carry, actions)
        self.horizon += 1
        self.imagined_score += float(self.prediction.reward[0])
        self.true_score += float(step.reward[0])
        frozen_error = self._true_frame().float() - self.resync_frame
        self.errors.append(float(self._error().square().mean()))
        self.frozen_errors.append(float(frozen_error.square().mean()))

    def resync(self) -> None:
        """Restart the rollout from the newest observations of the emulator."""
        actions = [*self.actions][len(self.actions) - len(self.obs) + 1 :]
        self.carry = self.predictor.start(
            torch.stack([*self.obs])[None],
            torch.tensor([actions], dtype=torch.int64),
            torch.tensor([[*self.first]]),
        )
        self.horizon, self.imagined_score, self.true_score = 0, 0.0, 0.0
        self.errors.clear()
        self.frozen_errors.clear()
        self.prediction, self.resync_frame = None, self._true_frame().float()

    def imagined_step(self, step: TimeStep) -> TimeStep:
        """Return the timestep with the imagined observation in place of the emulator's."""
        obs = self.carry["obs"].to(step.obs.device)
        return replace(step, obs=obs, frame=obs[:, -self.predictor.channels :])

    def pictures(self) -> tuple[Picture, ...]:
        """Return the emulator's frame, the imagined one, their difference and any disagreement."""
        imagined = self.carry["obs"][0, -self.predictor.channels :]
        maps = {"error, from 0 (black) to 255 (yellow)": self._error().abs()}
        if isinstance(self.predictor, Disagreeing):
            maps["disagreement, likewise"] = self.predictor.disagreement(self.carry)[0].sqrt().cpu()
        heat = [Picture(heat_map((x.mean(0) / 255).sqrt().numpy()), y) for y, x in maps.items()]
        return (
            Picture(frame_to_image(self._true_frame()), "emulator"),
            Picture(frame_to_image(imagined), "imagined"),
            *heat,
        )

    def panels(self) -> list[Panel]:
        """Return the errors and rewards of the rollout, beside those of the emulator."""
        error = f"{self.errors[-1]:,.1f}" if self.errors else "0"
        rows = [
            ("imagined steps since resync", str(self.horizon)),
            ("mean squared error", error),
            ("emulator reward since resync", f"{self.true_score:g}"),
            ("imagined reward since resync", f"{self.imagined_score:+.2f}"),
        ]
        if self.prediction:
            rows.append(("predicted discount", f"{float(self.prediction.discount[0]):.3f}"))
        series = {"imagined": tuple(self.errors), "frozen frame": tuple(self.frozen_errors)}
        note = "frozen frame: the error of repeating the frame at the last resync"
        axes = "imagined steps since resync", "mean squared error, squared gray levels"
        return [Table("Dream", tuple(rows)), LineChart("Error by horizon", series, *axes, note)]

    def _append(self, step: TimeStep) -> None:
        """Keep the observation; stack frames, on zeros at first, if the predictor's has more."""
        first, channels = bool(step.first[0]), self.predictor.channels
        frames = torch.zeros(self.predictor.obs_shape, dtype=torch.uint8) if first else self.obs[-1]
        obs = step.obs[0].cpu()
        if obs.shape != frames.shape:
            obs = torch.cat([frames[channels:], step.frame[0].cpu()])
        self.obs.append(obs)
        self.first.append(first)
        self.frames_in_episode = 1 if first else self.frames_in_episode + 1

    def _true_frame(self) -> UInt8[Tensor, "C H W"]:
        return self.obs[-1][-self.predictor.channels :]

    def _error(self) -> Float[Tensor, "C H W"]:
        imagined = self.carry["obs"][0, -self.predictor.channels :]
        return imagined.cpu().float() - self._true_frame().float()
