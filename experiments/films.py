"""Films of what a predictor imagines, beside the truth."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from experiments.horizons import SEEN, evenly
from experiments.recording import Recording
from world_models.interface import Predictor


@torch.no_grad()
def film(
    model: Predictor,
    recording: Recording,
    moments: Int64[Tensor, " M"],
    stack: int,
    path: Path,
    *,
    dreams: int = 3,
    steps: int = 100,
) -> None:
    """Truth, imagination and their difference side by side, with the step and the action."""
    import imageio.v3 as imageio

    colours = recording.frame_shape[0]
    names = recording.manifest.env.action_names(recording.num_actions)
    images = []
    for row in evenly(moments, dreams):
        seen = recording.segments(row[None], SEEN - 1, stack)
        stride = int(recording.columns["stride"][row])
        length = min(steps, int(recording.columns["left"][row]) - (SEEN - 1))
        future = row + stride * (SEEN - 1 + torch.arange(length + 1))
        actions = recording.columns["action"][future].long()
        truth, state = recording.frames(future), model.start(seen)
        for t in range(length):
            action = actions[t : t + 1].to(state["obs"].device)
            prediction, state = model.predict(state, action)
            imagined = prediction.obs[0, -colours:].cpu()
            error = (truth[t + 1].int() - imagined.int()).abs().to(torch.uint8)
            side = torch.cat([truth[t + 1], imagined, error], 2)
            images.append(_captioned(side, f"step {t + 1:>3}  {names[int(actions[t])]}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(path, np.stack(images), plugin="pyav", codec="libx264", fps=15)


def _captioned(side: UInt8[Tensor, "C H W"], caption: str) -> NDArray[np.uint8]:
    """An image of even sizes, large enough for a person, with a line of text below."""
    from PIL import Image, ImageDraw

    scale = max(1, 200 // side.shape[1])
    pixels = side.permute(1, 2, 0).expand(-1, -1, 3).numpy()
    pixels = pixels.repeat(scale, 0).repeat(scale, 1)
    height, width = pixels.shape[0] + 16, pixels.shape[1]
    image = Image.new("RGB", (width + width % 2, height + height % 2))
    image.paste(Image.fromarray(np.ascontiguousarray(pixels)), (0, 0))
    ImageDraw.Draw(image).text((4, pixels.shape[0] + 2), f"truth | imagined | error   {caption}")
    return np.asarray(image)
