"""The dream: a predictor's open-loop rollout beside the emulator, given the same actions."""

from collections import deque
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.interface import Carry, Segment, TimeStep
from ...world_models.interface import Predictor
from .images import frame_to_image, heat_map
from .panels import Images, LineChart, Panel, Picture, Table

MAX_ERRORS = 300
"""Imagined steps whose errors are plotted."""


class Dream:
    """A predictor's rollout since its last resync with the emulator, and its errors."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.stack = predictor.obs_shape[0] // predictor.channels
        # The newest frames, whether each was the first of its episode, and the actions after them.
        maxlen = predictor.context + self.stack - 1
        self.frames: deque[UInt8[Tensor, "C H W"]] = deque(maxlen=maxlen)
        self.first: deque[bool] = deque(maxlen=maxlen)
        self.actions: deque[int] = deque(maxlen=maxlen)
        self.carry: Carry = {}
        self.frames_in_episode = 0
        self.horizon = 0
        """Imagined steps since the last resync."""

    def reset(self, step: TimeStep) -> None:
        """Clear all frames, and start from this timestep."""
        for buffer in (self.frames, self.first, self.actions):
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
        stack_is_full = self.frames_in_episode >= self.stack
        self.observe(action, step)
        if bool(step.first[0]) or not stack_is_full:
            self.resync()
            return
        actions = torch.tensor([action], device=self.carry["obs"].device)
        self.prediction, self.carry = self.predictor.predict(self.carry, actions)
        self.horizon += 1
        self.imagined_score += float(self.prediction.reward[0])
        self.true_score += float(step.reward[0])
        error = self._error()
        self.errors.append(float(error.square().mean()))
        frozen_error = (self._true_frame() - self.resync_frame).square().mean()
        self.frozen_errors.append(float(frozen_error))

    def resync(self) -> None:
        """Restart the rollout from the newest observations of the emulator."""
        count = max(1, min(len(self.frames) - self.stack + 1, self.predictor.context))
        observations = [
            self._stacked_obs(len(self.frames) - 1 - back) for back in reversed(range(count))
        ]
        obs = torch.stack(observations)[None]
        first = torch.tensor([list(self.first)[-count:]])
        actions = torch.tensor([list(self.actions)[len(self.actions) - count + 1 :]]).long()
        zeros = torch.zeros(1, count - 1)
        self.carry = self.predictor.start(
            Segment(
                action=actions.view(1, count - 1),
                obs=obs,
                reward=zeros,
                bonus=zeros,
                discount=zeros + 1,
                first=first,
                last=torch.zeros_like(first),
                carry={},
            )
        )
        self.horizon, self.imagined_score, self.true_score = 0, 0.0, 0.0
        self.errors: deque[float] = deque(maxlen=MAX_ERRORS)
        self.frozen_errors: deque[float] = deque(maxlen=MAX_ERRORS)
        self.resync_frame = self._true_frame()

    def imagined_step(self, step: TimeStep) -> TimeStep:
        """Return the timestep with the imagined observation in place of the emulator's."""
        obs = self.carry["obs"].to(step.obs.device)
        return replace(step, obs=obs, frame=obs[:, -self.predictor.channels :])

    def images(self) -> Images:
        """Return the emulator's frame, the imagined frame and their difference, side by side."""
        imagined = self.carry["obs"][0, -self.predictor.channels :]
        error = self._error().abs().mean(0).numpy() / 255
        return Images(
            "Dream",
            (
                Picture(frame_to_image(self.frames[-1]), "emulator"),
                Picture(frame_to_image(imagined), "imagined"),
                Picture(heat_map(np.sqrt(error)), "error"),
            ),
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
        if self.horizon:
            rows.append(("predicted discount", f"{float(self.prediction.discount[0]):.3f}"))
        series = {"imagined": tuple(self.errors), "frozen frame": tuple(self.frozen_errors)}
        note = "mean squared error in gray levels; baseline: the frame at the last resync"
        return [Table("Dream", tuple(rows)), LineChart("Error by horizon", series, note)]

    def _append(self, step: TimeStep) -> None:
        self.frames.append(step.frame[0].cpu())
        self.first.append(bool(step.first[0]))
        self.frames_in_episode = 1 if bool(step.first[0]) else self.frames_in_episode + 1

    def _stacked_obs(self, newest: int) -> UInt8[Tensor, "K H W"]:
        """Stack the frames up to an index, with zeros before the first frame of an episode."""
        frames, first = list(self.frames), list(self.first)
        stacked: list[Tensor] = []
        for index in range(newest, newest - self.stack, -1):
            other_episode = any(first[max(index, -1) + 1 : newest + 1])
            missing = other_episode or index < 0
            stacked.append(torch.zeros_like(frames[newest]) if missing else frames[index])
        return torch.cat(stacked[::-1])

    def _true_frame(self) -> Float[Tensor, "C H W"]:
        return self.frames[-1].float()

    def _error(self) -> Float[Tensor, "C H W"]:
        imagined = self.carry["obs"][0, -self.predictor.channels :]
        return imagined.cpu().float() - self._true_frame()
