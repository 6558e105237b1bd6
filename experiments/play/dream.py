"""The dream beside the truth: a predictor that is told the same actions as the emulator."""

from collections import deque
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from envs.interface import Memory, Segment, Step
from experiments.play.panels import Images, Line, Numbers, Panel, Picture
from experiments.play.pictures import heat, picture
from world_models.interface import Predictor

LONGEST = 300
"""Imagined steps whose errors are drawn."""


class Dream:
    """What a predictor imagines since it was last shown the truth, and how far off it is."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.stack = predictor.obs_shape[0] // predictor.colours
        # The frames of the last looks: of each whether it was a first one, and what was done then.
        keep = predictor.context + self.stack - 1
        self.frames: deque[UInt8[Tensor, "C H W"]] = deque(maxlen=keep)
        self.first: deque[bool] = deque(maxlen=keep)
        self.actions: deque[int] = deque(maxlen=keep)
        self.state: Memory = {}
        self.since = 0  # frames seen of this episode
        self.horizon = 0
        """Imagined steps since the truth was last seen."""

    def begin(self, step: Step) -> None:
        """Forget all, and see this step."""
        for line in (self.frames, self.first, self.actions):
            line.clear()
        self._see(step)
        self.resync()

    def see(self, action: int, step: Step) -> None:
        """Take note of a step of the emulator, without dreaming."""
        self.actions.append(action)
        self._see(step)

    def tick(self, action: int, step: Step) -> None:
        """Imagine a step that the emulator took too.

        A new episode is seen, until a look is full of its frames: what came before is unknown.
        """
        full = self.since >= self.stack
        self.see(action, step)
        if bool(step.first[0]) or not full:
            self.resync()
            return
        asked = torch.tensor([action], device=self.state["obs"].device)
        self.prediction, self.state = self.predictor.predict(self.state, asked)
        self.horizon += 1
        self.imagined_score += float(self.prediction.reward[0])
        self.true_score += float(step.reward[0])
        error = self._error()
        self.errors.append(float(error.square().mean()))
        frozen = (self._truth() - self.before).square().mean()
        self.frozen.append(float(frozen))

    def resync(self) -> None:
        """Wake up: see the newest looks, and dream on from there."""
        count = max(1, min(len(self.frames) - self.stack + 1, self.predictor.context))
        looks = [self._look(len(self.frames) - 1 - back) for back in reversed(range(count))]
        obs = torch.stack(looks)[None]
        first = torch.tensor([list(self.first)[-count:]])
        actions = torch.tensor([list(self.actions)[len(self.actions) - count + 1 :]]).long()
        nothing = torch.zeros(1, count - 1)
        self.state = self.predictor.start(
            Segment(
                action=actions.view(1, count - 1),
                obs=obs,
                reward=nothing,
                bonus=nothing,
                discount=nothing + 1,
                first=first,
                last=torch.zeros_like(first),
                memory={},
            )
        )
        self.horizon, self.imagined_score, self.true_score = 0, 0.0, 0.0
        self.errors: deque[float] = deque(maxlen=LONGEST)
        self.frozen: deque[float] = deque(maxlen=LONGEST)
        self.before = self._truth()

    def dreamt(self, step: Step) -> Step:
        """The step as the dream has it: what an agent that lives in it would see."""
        obs = self.state["obs"].to(step.obs.device)
        return replace(step, obs=obs, frame=obs[:, -self.predictor.colours :])

    def stage(self) -> Images:
        """Truth, dream and error side by side."""
        imagined = self.state["obs"][0, -self.predictor.colours :]
        error = self._error().abs().mean(0).numpy() / 255
        return Images(
            "dream",
            (
                Picture(picture(self.frames[-1]), "emulator"),
                Picture(picture(imagined), "imagined"),
                Picture(heat(np.sqrt(error)), "error"),
            ),
        )

    def panels(self) -> list[Panel]:
        """How far the dream is from the truth."""
        now = f"{self.errors[-1]:,.1f}" if self.errors else "0"
        rows = [
            ("steps since the truth was seen", str(self.horizon)),
            ("squared error a pixel, in grey levels", now),
            ("reward since: emulator", f"{self.true_score:g}"),
            ("reward since: imagined", f"{self.imagined_score:+.2f}"),
        ]
        if self.horizon:
            rows.append(("chance that it goes on", f"{float(self.prediction.discount[0]):.3f}"))
        series = {"imagined": tuple(self.errors), "a frozen frame": tuple(self.frozen)}
        return [
            Numbers("The dream", tuple(rows)),
            Line("Error by horizon", series, "squared grey levels; a frozen frame for comparison"),
        ]

    def _see(self, step: Step) -> None:
        self.frames.append(step.frame[0].cpu())
        self.first.append(bool(step.first[0]))
        self.since = 1 if bool(step.first[0]) else self.since + 1

    def _look(self, newest: int) -> UInt8[Tensor, "K H W"]:
        """The stack that ends with a kept frame; it restarts with zeros where an episode does."""
        frames, first = list(self.frames), list(self.first)
        look: list[Tensor] = []
        for place in range(newest, newest - self.stack, -1):
            born = any(first[max(place, -1) + 1 : newest + 1])
            look.append(torch.zeros_like(frames[newest]) if born or place < 0 else frames[place])
        return torch.cat(look[::-1])

    def _truth(self) -> Float[Tensor, "C H W"]:
        return self.frames[-1].float()

    def _error(self) -> Float[Tensor, "C H W"]:
        return self.state["obs"][0, -self.predictor.colours :].cpu().float() - self._truth()
