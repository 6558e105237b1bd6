"""Films of play that are cut off: by the end of the process, a full disk, or a signal."""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest

from reverie.experiments.cli import main as cli
from reverie.experiments.evaluation.video import Image, VideoWriter
from reverie.experiments.play.lockstep import Lockstep
from reverie.experiments.play.session import Session

from play_fixtures import build_session


def test_a_film_is_playable_while_it_is_written(tmp_path: Path) -> None:
    """What is in the file is what a killed process leaves."""
    (tmp_path / "film.mp4").write_text("an older one")
    film = VideoWriter(tmp_path / "film.mp4", live=True)
    levels = [2 * i for i in range(80)]
    for level in levels:
        film.add(np.full((32, 48, 3), level, np.uint8))
    assert film.partial
    assert film.path.read_text() == "an older one"
    frames = imageio.imread(film.partial, plugin="pyav")
    assert len(frames) >= 30
    assert np.allclose(frames.mean((1, 2, 3)), levels[: len(frames)], atol=4)
    film.close()
    assert list(tmp_path.iterdir()) == [film.path]
    assert len(imageio.imread(film.path, plugin="pyav")) == len(levels)


def write(film: VideoWriter, images: Image) -> None:
    for image in images:
        film.add(image)
    film.close()


@contextmanager
def disk_of(num_bytes: int) -> Iterator[None]:
    """Limit the size of files, in place of the room on the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_on_a_full_disk_a_film_keeps_its_whole_fragments(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 32, 48, 3), np.uint8)
    for num_bytes, kept in ((100, False), (60_000, True)):
        film = VideoWriter(tmp_path / "film.mp4", live=True)
        assert film.partial
        with disk_of(num_bytes), pytest.raises(OSError, match="too large") as error:
            write(film, noise)
        text = film.failure(error.value)
        assert text.startswith("File too large; ")
        assert (text.endswith(f"; {film.partial} is playable up to there")) == kept
        assert list(tmp_path.iterdir()) == [film.partial] * kept
        if kept:
            assert len(imageio.imread(film.partial, plugin="pyav")) >= 15


def test_on_a_full_disk_the_recording_ends_and_play_goes_on(tmp_path: Path) -> None:
    played = Lockstep([build_session()], tmp_path)
    for _ in range(2):
        played.execute({"command": "set_recording", "value": True})
        played.step()
        with disk_of(100):
            played.execute({"command": "set_recording", "value": False})
        assert "mp4 ended (File too large; nothing of it is kept)" in played.recording_result
        assert played.step()
    played.execute({"command": "set_recording", "value": True})
    played.close()
    assert [str(path) for path in tmp_path.iterdir()] == [played.recording_result]


def test_a_signal_ends_a_video_with_the_last_timestep(
    tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    step = Session.step

    def step_and_end(session: Session) -> bool:
        if session.timestep == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(session)

    monkeypatch.setattr(Session, "step", step_and_end)
    film = tmp_path / "film.mp4"
    assert cli.main(["play", "pretrained:freeway", "--video", str(film)]) == 128 + signal.SIGTERM
    assert "5 timesteps in" in capsys.readouterr().out
    assert len(imageio.imread(film, plugin="pyav")) == 6
