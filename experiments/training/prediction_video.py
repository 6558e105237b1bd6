"""Videos of a predictor's predictions beside the recorded frames."""

from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image as Pillow
from PIL import ImageDraw
from torch import Tensor

from ...world_models.interface import Predictor
from ..datasets.dataset import Recording
from ..evaluation.screen import enlarged, frame_to_image
from ..evaluation.video import Image, VideoWriter
from .prediction_error import CONTEXT_LENGTH, evenly_spaced, future_rows, predicted_frames

CAPTION_WIDTH, CAPTION_HEIGHT = 336, 16
"""Pixels of the line of text, which is wider than a narrow frame."""


def write_prediction_video(
    model: Predictor,
    recording: Recording,
    starts: Int64[Tensor, " M"],
    stack: int,
    path: Path,
    *,
    num_rollouts: int = 3,
    num_steps: int = 100,
) -> None:
    """Write an MP4 of truth, prediction and error side by side, with the step and the action.

    ``starts`` are the rows at which the context segments begin. A rollout begins with the frame
    that it starts from.
    """
    names = recording.manifest.env.action_names(recording.num_actions)
    video = VideoWriter(path)
    for row in torch.split(evenly_spaced(starts, num_rollouts), 1):
        length = min(num_steps, int(recording.columns["steps_left"][row]) - (CONTEXT_LENGTH - 1))
        future = future_rows(recording, row, length)[0]
        start = recording.frames(future[:1])  # the last observation that the predictor receives
        rollout = chain([start], predicted_frames(model, recording, row, stack, length))
        for t, (predicted,) in enumerate(rollout):
            truth = recording.frames(future[t])
            error = (truth.int() - predicted.int()).abs().to(torch.uint8)
            action = names[int(recording.columns["action"][future[t - 1]])] if t else "start"
            panels = torch.cat([truth, predicted, error], 2)
            video.add(_with_caption(panels, f"step {t:>3}  {action}"))
    video.close()


def _with_caption(panels: UInt8[Tensor, "C H W"], caption: str) -> Image:
    """Return an enlarged image with a line of text below."""
    pixels = enlarged(frame_to_image(panels))
    height, width = pixels.shape[:2]
    right = max(0, CAPTION_WIDTH - width)
    image = Pillow.fromarray(np.pad(pixels, ((0, CAPTION_HEIGHT), (0, right), (0, 0))))
    text = f"truth | predicted | error   {caption}"
    ImageDraw.Draw(image).text((4, height + 2), text, fill="white")
    return np.asarray(image)
