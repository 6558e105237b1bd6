"""Videos of a predictor's predictions beside the recorded frames."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from ...world_models.interface import Predictor
from ..datasets.dataset import Recording
from .prediction_error import CONTEXT_LENGTH, evenly_spaced


@torch.no_grad()
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

    ``starts`` are the rows at which the context segments begin.
    """
    import imageio.v3 as imageio

    channels = recording.frame_shape[0]
    names = recording.manifest.env.action_names(recording.num_actions)
    images = []
    for row in evenly_spaced(starts, num_rollouts):
        context = recording.segments(row[None], CONTEXT_LENGTH - 1, stack)
        stride = int(recording.columns["stride"][row])
        length = min(num_steps, int(recording.columns["steps_left"][row]) - (CONTEXT_LENGTH - 1))
        future = row + stride * (CONTEXT_LENGTH - 1 + torch.arange(length + 1))
        actions = recording.columns["action"][future].long()
        truth, carry = recording.frames(future), model.start(context)
        for t in range(length):
            action = actions[t : t + 1].to(carry["obs"].device)
            prediction, carry = model.predict(carry, action)
            predicted = prediction.obs[0, -channels:].cpu()
            error = (truth[t + 1].int() - predicted.int()).abs().to(torch.uint8)
            panels = torch.cat([truth[t + 1], predicted, error], 2)
            images.append(_with_caption(panels, f"step {t + 1:>3}  {names[int(actions[t])]}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(path, np.stack(images), plugin="pyav", codec="libx264", fps=15)


def _with_caption(panels: UInt8[Tensor, "C H W"], caption: str) -> NDArray[np.uint8]:
    """Return an enlarged image of even height and width, with a line of text below."""
    from PIL import Image, ImageDraw

    scale = max(1, 200 // panels.shape[1])
    pixels = panels.permute(1, 2, 0).expand(-1, -1, 3).numpy()
    pixels = pixels.repeat(scale, 0).repeat(scale, 1)
    height, width = pixels.shape[0] + 16, pixels.shape[1]
    image = Image.new("RGB", (width + width % 2, height + height % 2))
    image.paste(Image.fromarray(np.ascontiguousarray(pixels)), (0, 0))
    ImageDraw.Draw(image).text((4, pixels.shape[0] + 2), f"truth | predicted | error   {caption}")
    return np.asarray(image)
