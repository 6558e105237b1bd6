"""Recorded frames as films, for viewing: H.264 changes pixels, and a film has no actions."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ..evaluation.screen import enlarged, frame_to_image
from ..evaluation.video import VideoWriter
from .aside import writing_aside
from .recorded_episodes import Episode, Source


def write_mp4(
    path: Path,
    source: Source,
    show: Callable[[int], object],
    *,
    episodes: int = 0,
    frames_per_second: int = 15,
) -> None:
    """Write episodes as one film or, if the path has no suffix .mp4, a folder with one of each.

    Only the first ``episodes`` are written; 0 for all. Tiny frames are enlarged.
    """
    shown = itertools.islice(source.episodes, episodes or None)
    if path.suffix == ".mp4":
        film = VideoWriter(path, frames_per_second)
        for episode in shown:
            _add(film, episode)
            show(film.length)
        film.close()
        return
    with writing_aside(path) as aside:
        for done in _films(shown, aside, frames_per_second):
            show(done)


def _films(episodes: Iterator[Episode], folder: Path, frames_per_second: int) -> Iterator[int]:
    """Write a film of every episode, and yield the number of frames after each."""
    done = 0
    for number, episode in enumerate(episodes):
        film = VideoWriter(folder / f"episode-{number:05d}.mp4", frames_per_second)
        _add(film, episode)
        film.close()
        done += film.length
        yield done


def _add(film: VideoWriter, episode: Episode) -> None:
    for frame in episode.frames:
        film.add(enlarged(frame_to_image(torch.from_numpy(frame))))
