"""A recording as one page of HTML: its episodes frame by frame, with their rewards and ends.

The page holds a bounded number of frames, as sheets of PNG, and loads nothing from the network.
"""

import io
import math
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy.typing import NDArray
from PIL import Image as Pillow

from ..datasets.dataset import Recording
from ..evaluation.screen import frame_to_image
from ..reporting.document import Block, Element, Heading, Paragraph, Table, to_html
from ..runs.files import to_json, write_file
from .recorded_episodes import Episode, Span, read_episode, spans_of
from .recording_list import describe

Array = NDArray[Any]

SHEET_FRAMES, SHEET_COLUMNS = 256, 16
"""Most frames of a sheet, and of a row of it."""
SCRIPT = Path(__file__).with_suffix(".js")
STYLE = Path(__file__).with_suffix(".css")

NOTE = (
    "Play an episode, step through it with the arrow keys, or click into its timeline or its film "
    "strip. Bars of the timeline are rewards, upwards if they are positive; the line at its end is "
    "solid after a death and dashed after a time-out, and lost lives are dots."
)


def write_page(
    recording: Recording, path: Path, *, episodes: int = 8, max_frames: int = 2000
) -> int:
    """Write the page of a recording of one folder, and return the number of frames in it.

    It shows ``episodes`` episodes, evenly spaced, in about ``max_frames`` frames: of an episode
    that is longer than its share, every k-th one.
    """
    spans = spans_of(recording).all
    chosen = np.linspace(0, len(spans) - 1, min(episodes, len(spans))).round().astype(int)
    share = max(2, max_frames // len(chosen))
    actions = recording.manifest.env.action_names(recording.num_actions)
    items = [
        _item(f"{i}", spans[i], read_episode(recording, spans[i]), share) for i in chosen.tolist()
    ]
    data = to_json({"actions": list(actions), "episodes": items}).replace("<", "\\u003c")
    width, height = _size(recording.frame_shape)
    reduced = "All of their frames are shown."
    if any(len(item["steps"]) <= item["length"] for item in items):
        reduced = f"Of one with more than {share:,} frames every k-th is shown, and the last."
    title = f"Recording of {recording.env_name}"
    element = (
        f'<style>{STYLE.read_text(encoding="utf-8")}</style>\n<div id="player" '
        f'data-width="{width}" data-height="{height}"><noscript>The frames need JavaScript.'
        f'</noscript></div>\n<script type="application/json" id="recording">{data}</script>\n'
        f"<script>{SCRIPT.read_text(encoding='utf-8')}</script>"
    )
    blocks: list[Block] = [
        Heading("Episodes"),
        Paragraph(NOTE),
        Element(element),
        Paragraph(f"{len(items):,} of {len(spans):,} episodes, evenly spaced. {reduced}"),
        Heading("About"),
        Table(["recording", str(recording.folders[0])], [list(row) for row in describe(recording)]),
    ]
    write_file(path, to_html(title, blocks))
    return sum(len(item["steps"]) for item in items)


def _size(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the width and height in which a frame is shown; the console's pixels are wide."""
    _, height, width = shape
    return (2 * width if (height, width) == (210, 160) else width), height


def _item(name: str, span: Span, episode: Episode, share: int) -> dict[str, Any]:
    """Return an episode as the script reads it."""
    steps = shown_steps(len(episode.frames), share)
    died = episode.discount == 0
    if episode.terminated:
        died[-1] = False
    end = "death" if episode.terminated else "time-out" if episode.ended else "unfinished"
    return {
        "name": name,
        "env": span.env,
        "length": span.length,
        "total": span.total_reward,
        "end": end,
        "steps": steps.tolist(),
        "actions": episode.action[steps].tolist(),
        "rewards": [[int(t) + 1, float(episode.reward[t])] for t in np.flatnonzero(episode.reward)],
        "lost": (np.flatnonzero(died) + 1).tolist(),
        "columns": SHEET_COLUMNS,
        "sheet": SHEET_FRAMES,
        "sheets": [
            _sheet(episode.frames[steps[i : i + SHEET_FRAMES]])
            for i in range(0, len(steps), SHEET_FRAMES)
        ],
    }


def shown_steps(num_frames: int, share: int) -> Int64[Array, " S"]:
    """Return at most ``share`` timesteps of an episode: every k-th one, and the last."""
    every = max(1, math.ceil((num_frames - 1) / max(1, share - 1)))
    return np.append(np.arange(0, num_frames - 1, every), num_frames - 1)


def _sheet(frames: Array) -> str:
    """Return frames side by side, row by row, as the URL of a PNG."""
    images = [frame_to_image(torch.from_numpy(frame)) for frame in frames]
    height, width = images[0].shape[:2]
    rows = -(-len(images) // SHEET_COLUMNS)
    size = rows * height, min(len(images), SHEET_COLUMNS) * width
    sheet = np.zeros((*size, *images[0].shape[2:]), np.uint8)
    for i, image in enumerate(images):
        row, column = divmod(i, SHEET_COLUMNS)
        y, x = row * height, column * width
        sheet[y : y + height, x : x + width] = image
    buffer = io.BytesIO()
    Pillow.fromarray(sheet).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
