"""Videos of a predictor's dreams beside the recorded frames, with what they lose."""

from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image as Pillow
from PIL import ImageDraw
from torch import Tensor

from ...envs.atari.atari import AtariConfig
from ...world_models.interface import Predictor
from ..datasets.dataset import Recording
from ..datasets.open_loop import evenly_spaced, future_rows, newest_frame, predictions
from ..dreams.moving_objects import ANY, lost_objects
from ..evaluation.drawn_text import font, shortened, text_width
from ..evaluation.screen import enlarged, frame_to_image
from ..evaluation.video import Image, VideoWriter

PANELS = ("truth", "dream", "difference")
CAPTION_WIDTH, LINE = 504, 18
"""Least width of a video, for its text, and the height of a line of text, in pixels."""
GAP = 4
"""Pixels between panels."""


def write_prediction_video(
    name: str,
    model: Predictor,
    recording: Recording,
    starts: Int64[Tensor, " M"],
    stack: int,
    median: UInt8[Tensor, "C H W"],
    path: Path,
    *,
    num_rollouts: int = 3,
    num_steps: int = 100,
) -> None:
    """Write an MP4 of truth, dream and difference side by side, with the step and the action.

    A dream begins with the frame of its row of ``starts``. The text names the model and the objects
    that its dream has lost, relative to the ``median`` frame.
    """
    env = recording.manifest.env
    game = env.game if isinstance(env, AtariConfig) else ""
    actions = env.action_names(recording.num_actions)
    video = VideoWriter(path)
    for row in torch.split(evenly_spaced(starts, num_rollouts), 1):
        length = min(num_steps, int(recording.columns["steps_left"][row]))
        future = future_rows(recording, row, length)[0]
        start = recording.frames(future[:1])  # the last observation that the predictor receives
        dreamed = predictions(model, recording, row, stack, length)
        for t, frame in enumerate(chain([start], (newest_frame(x, recording) for x in dreamed))):
            truth = recording.frames(future[t : t + 1])
            lost = lost_objects(truth, frame, median, game=game)
            missing = lost.displaced + lost.erased
            named = [x for x in missing if x != ANY] or [f"{n} {x}" for x, n in missing.items()]
            action = actions[int(recording.columns["action"][future[t - 1]])] if t else "start"
            texts = (f"step {t:>3} of {length}  {action}", f"lost: {', '.join(named) or '-'}")
            video.add(_drawn(truth[0], frame[0], name, texts))
    video.close()


def _drawn(
    truth: UInt8[Tensor, "C H W"],
    dreamed: UInt8[Tensor, "C H W"],
    name: str,
    texts: tuple[str, str],
) -> Image:
    """Return the three panels, each below its title, and lines of text at the bottom."""
    difference = (truth.int() - dreamed.int()).abs().to(torch.uint8)
    panels = [enlarged(frame_to_image(x)) for x in (truth, dreamed, difference)]
    height, width = panels[0].shape[:2]
    step = max(width + GAP, (CAPTION_WIDTH + GAP) // 3)
    total = 3 * step - GAP
    canvas = np.zeros((height + 3 * LINE, total, 3), np.uint8)
    for i, panel in enumerate(panels):
        left = i * step + (step - GAP - width) // 2
        canvas[LINE : LINE + height, left : left + width] = panel
    image = Pillow.fromarray(canvas)
    draw = ImageDraw.Draw(image)

    def write(x: float, y: int, text: str) -> None:
        draw.text((x, y + 2), text, fill="white", font=font())

    for i, title in enumerate(PANELS):
        write(i * step + (step - GAP - text_width(title)) / 2, 0, title)
    write(4, LINE + height, texts[0])
    write(total / 2, LINE + height, shortened(texts[1], total / 2 - 4))
    write(4, 2 * LINE + height, shortened(f"dreamed by {name}", total - 8))
    return np.asarray(image)
