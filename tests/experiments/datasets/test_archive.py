"""Archives: symbols come back, and a changed, foreign or half-written file is refused."""

import json
import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.envs.errors import UsageError
from reverie.experiments.datasets import archive
from reverie.experiments.datasets.archive import (
    MAGIC,
    Archive,
    Header,
    digest_of_state,
    made_with,
    untrained,
    write_archive,
)
from reverie.world_models.density.capabilities import TemporalDensityConfig
from reverie.world_models.density.cts import CTSConfig
from reverie.world_models.density.histogram import Histogram, HistogramConfig
from reverie.world_models.density.pixelcnn import PixelCNNConfig
from reverie.world_models.interface import Density

from sample_models import random_frames

SHAPE, LEVELS = (3, 4), 3
FRAMES = random_frames(30, SHAPE, LEVELS)
CTS = CTSConfig()
PIXEL_CNN = PixelCNNConfig(maps=2, blocks=1, head=4)


def header(config: Any = CTS, **settings: Any) -> Header:
    settings = {"num_frames": len(FRAMES)} | settings
    density = untrained(config, SHAPE, LEVELS, temporal=settings.get("temporal", False))
    return Header(
        "catch", shape=SHAPE, levels=LEVELS, density=config, made_with=made_with(density),
        **settings,
    )  # fmt: skip


def written(path: Path, config: Any = CTS, frames: Tensor = FRAMES, **settings: Any) -> Path:
    about = header(config, num_frames=len(frames), **settings)
    size = write_archive(path, about, about.build(), frames)
    assert path.stat().st_size == size
    return path


@pytest.mark.parametrize("config", [CTSConfig(), HistogramConfig(), PIXEL_CNN])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 4},
        {"learn": False},
        {"temporal": True},
        {"temporal": True, "num_envs": 3},
    ],
)
def test_symbols_come_back_in_several_chunks(
    config: Any, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings.get("temporal") and not isinstance(config, TemporalDensityConfig):
        with pytest.raises(UsageError, match="is of single frames and cannot be given those"):
            header(config, **settings)
        return
    monkeypatch.setattr(archive, "SYMBOLS_PER_CHUNK", 13 * 12)
    frames, done = FRAMES if config != PIXEL_CNN else FRAMES[:17], list[int]()
    found = Archive(written(tmp_path / "a", config, frames, **settings))
    assert len(found.messages) == -(-len(frames) // (12 if settings.get("batch_size") else 13))
    assert torch.equal(found.read(found.header.build(), done.append), frames)
    assert done[-1] == len(frames)
    assert done == sorted(done)
    assert found.header == header(config, num_frames=len(frames), **settings)


def test_every_cut_and_every_changed_byte_is_found(tmp_path: Path) -> None:
    path = written(tmp_path / "a")
    data = path.read_bytes()
    changed = [data[:k] for k in range(len(data))]
    changed += [data[:k] + bytes([data[k] ^ 1 << k % 8]) + data[k + 1 :] for k in range(len(data))]
    changed += [data + b"\0", data + data[len(MAGIC) :], b"", MAGIC]
    for each in changed:
        path.write_bytes(each)
        with pytest.raises(UsageError, match=f"{path} (is no archive|is truncated)"):
            Archive(path)
    path.write_bytes(data)
    Archive(path)


def test_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UsageError, match="is no archive of `reverie compress`"):
        Archive(tmp_path / "a.png")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        Archive(tmp_path / "b")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        Archive(tmp_path)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UsageError, match="is no file; name an archive"):
            Archive(path)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"num_frames": 1 << 60}, "is truncated: it has 1 of 1,649"),
        ({"num_frames": 29}, "cannot be decompressed"),
        ({"batch_size": 1 << 50}, "a batch, and a frame of each env"),
        ({"num_envs": 1 << 50}, "a batch, and a frame of each env"),
        ({"shape": (0, 4)}, "a batch, and a frame of each env"),
        ({"shape": (True, 4)}, "a batch, and a frame of each env"),
        ({"shape": (1 << 20, 1 << 20)}, "a batch, and a frame of each env"),
    ],
)
def test_sizes_of_a_header_are_checked_before_memory_is_taken(
    settings: dict[str, Any], match: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "a")
    first, *others = archive._chunks(path, path.read_bytes()[len(MAGIC) :])
    changed = json.loads(zlib.decompress(first)) | settings
    chunks = [zlib.compress(json.dumps(changed).encode()), *others]
    path.write_bytes(MAGIC + b"".join(map(archive._chunk, chunks)))

    def read() -> None:
        found = Archive(path)
        found.read(found.header.build())

    with pytest.raises(UsageError, match=match):
        read()


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a", format=1)
    with pytest.raises(UsageError, match="has format 1, and this version of"):
        Archive(path)


@pytest.mark.parametrize(
    ("config", "name"),
    [(CTSConfig(), "reverie"), (PIXEL_CNN, "reverie"), (PIXEL_CNN, "torch"), (PIXEL_CNN, "cpu")],
)
def test_a_file_of_another_version_or_machine_is_refused(
    config: Any, name: str, tmp_path: Path
) -> None:
    there = header(config).made_with | {name: "another one"}
    path = tmp_path / "a"
    about = replace(header(config, num_frames=2), made_with=there)
    write_archive(path, about, about.build(), FRAMES[:2])
    found = Archive(path)
    with pytest.raises(UsageError, match=f"was written with {name} another one, here "):
        found.read(found.header.build())


def test_counts_are_read_on_every_machine() -> None:
    assert {*header(HistogramConfig()).made_with} == {"reverie"}
    assert {*header(PIXEL_CNN).made_with} == {"reverie", "torch", "cpu", "kernels"}


def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    def pretrained(seed: int) -> Density:
        density = PIXEL_CNN.build(shape=SHAPE, levels=LEVELS, seed=seed)
        density.observe(FRAMES[:3])
        return density

    weights = digest_of_state(pretrained(0).state_dict())
    about = header(PIXEL_CNN, num_frames=4, weights=weights, pretrained="runs/a")
    write_archive(tmp_path / "a", about, pretrained(0), FRAMES[:4])
    found = Archive(tmp_path / "a")
    assert torch.equal(found.read(pretrained(0)), FRAMES[:4])
    for other in (pretrained(1), about.build()):
        with pytest.raises(UsageError, match=f"{weights[:12]}.*was runs/a, as --init-from"):
            found.read(other)


def test_a_model_that_computes_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Archive(written(tmp_path / "a", HistogramConfig()))
    right = Histogram.conditional

    def conditional(self: Histogram, x: Tensor, i: int, j: int) -> Tensor:
        return right(self, x, i, j).flip(1)

    monkeypatch.setattr(Histogram, "conditional", conditional)
    with pytest.raises(UsageError, match="a cannot be decompressed: The density Histogram does"):
        found.read(found.header.build())


@pytest.mark.parametrize("existing", [b"before", None])
def test_what_is_not_completed_leaves_no_file(existing: bytes | None, tmp_path: Path) -> None:
    class Interrupted(Histogram):
        def observe(self, x: Tensor) -> tuple[Tensor, Tensor]:
            if self.num_frames == 7:
                raise KeyboardInterrupt
            return super().observe(x)

    path = tmp_path / "a"
    if existing:
        path.write_bytes(existing)
    with pytest.raises(KeyboardInterrupt):
        write_archive(path, header(HistogramConfig()), Interrupted(SHAPE, LEVELS), FRAMES)
    assert [x.read_bytes() for x in tmp_path.iterdir()] == ([existing] if existing else [])


def test_the_digest_is_of_every_name_and_value() -> None:
    state = {"a": torch.arange(3.0), "b": (1, 2.5), "c": {"d": "text"}}
    digests = {digest_of_state(state)}
    for other in (
        {"a": torch.tensor([0.0, 1.0, 2.0000002])}, {"a": torch.arange(3)}, {"b": (1, 2.6)},
        {"a": torch.arange(3.0)[None]}, {"c": {"e": "text"}}, {"f": 0},
    ):  # fmt: skip
        digests.add(digest_of_state(state | other))
    assert len(digests) == 7
    assert digest_of_state({**state}) in digests
