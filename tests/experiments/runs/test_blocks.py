"""Blocks: no single damaged file loses a checkpoint, and nothing that may be needed is removed."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.experiments.runs import blocks as blocks_module
from reverie.experiments.runs import checkpoints as checkpoints_module
from reverie.experiments.runs import packed_state
from reverie.experiments.runs.blocks import PARITY, Blocks, BlockWriter, xor
from reverie.experiments.runs.checkpoints import Checkpoints
from reverie.experiments.runs.files import open_own

from sample_agents import equal

SIZE = 64


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (blocks_module, packed_state):
        monkeypatch.setattr(module, "BLOCK_SIZE", SIZE)
    monkeypatch.setattr(blocks_module, "GROUP_SIZE", 4)


def state_at(step: int) -> dict[str, Any]:
    """Return a ring buffer with a few new rows, equal rows, single blocks and odd sizes."""
    generator = torch.Generator().manual_seed(7)
    ring = torch.randint(0, 256, (9, SIZE), dtype=torch.uint8, generator=generator)
    ring[3:5] = 0
    ring[step % 9] = step
    return {
        "ring": ring,
        "ones": torch.full((SIZE,), 255, dtype=torch.uint8),
        "zeros": torch.zeros(2, SIZE, dtype=torch.uint8),
        "weights": torch.full((SIZE // 4 + 3,), float(step)),
        "small": [torch.arange(3), "word"],
    }


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


def saved(folder: Path, steps: int = 3) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for step in range(1, steps + 1):
        checkpoints.save(step, state_at(step))
    return checkpoints


def restore(folder: Path, contents: dict[Path, bytes]) -> None:
    """Make the files of a folder those of ``files``."""
    for path in files(folder).keys() - contents.keys():
        path.unlink()
    for path, data in contents.items():
        path.write_bytes(data)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def assert_undamaged(folder: Path) -> None:
    for path in folder.iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.removesuffix(PARITY)


@pytest.mark.parametrize("damage", [Path.unlink, cut, lengthen, flip])
def test_any_single_block_may_be_lost(
    damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that both checkpoints share, and a parity; the next checkpoint heals it."""
    folder = saved(tmp_path).blocks.folder
    contents = files(tmp_path)
    newest = packed_state.names_of_files(Checkpoints(tmp_path).read_packed(3))
    older = packed_state.names_of_files(Checkpoints(tmp_path).read_packed(2))
    assert len(newest & older) > 4
    assert len([name for name in newest if name.endswith(PARITY)]) >= 3
    for name in sorted(newest):
        damage(folder / name)
        checkpoints = Checkpoints(tmp_path)
        damaged = files(tmp_path)
        assert equal(checkpoints.load(), state_at(3)), name
        (sentence,) = capsys.readouterr().err.splitlines()
        assert f"1 of the blocks in {folder} were damaged or missing" in sentence
        assert name[:12] in sentence
        assert files(tmp_path) == damaged, "loading changes nothing"
        checkpoints.save(4, state_at(4))
        assert_undamaged(folder)
        assert equal(Checkpoints(tmp_path).load(), state_at(4))
        checkpoints.path(4).unlink()
        assert equal(Checkpoints(tmp_path).load(), state_at(3))
        assert not capsys.readouterr().err
        restore(tmp_path, contents)


def test_a_block_that_is_lost_while_the_run_goes_on_is_written_again(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    for damage in (Path.unlink, cut):
        for path in checkpoints.blocks.folder.iterdir():
            damage(path)
        checkpoints.save(3, state_at(3))
        assert_undamaged(checkpoints.blocks.folder)
        assert equal(Checkpoints(tmp_path).load(), state_at(3))


def test_two_lost_blocks_of_a_group_lose_the_newest_checkpoint_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = saved(tmp_path)
    newest, older = (packed_state.names_of_files(checkpoints.read_packed(step)) for step in (3, 2))
    for name in newest - older:
        (checkpoints.blocks.folder / name).unlink()
    assert equal(Checkpoints(tmp_path).load(), state_at(2))
    assert "continuing from the one of step 2" in capsys.readouterr().err


def test_an_input_error_at_any_read_of_a_block_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path)
    contents, read, reads, failing = files(tmp_path), Blocks._read, list[str](), [0]

    def read_with_error(self: Blocks, name: str, target: memoryview) -> None:
        reads.append(name)
        if len(reads) == failing[0]:
            raise OSError(errno.EIO, "Input/output error")
        read(self, name, target)

    monkeypatch.setattr(Blocks, "_read", read_with_error)
    Checkpoints(tmp_path).load()
    for failing[0] in range(1, len(reads) + 1):
        reads.clear()
        checkpoints = Checkpoints(tmp_path)
        assert equal(checkpoints.load(), state_at(3))
        assert "1 of the blocks" in capsys.readouterr().err
        checkpoints.save(4, state_at(4))
        for step in (4, 3):
            assert equal(Checkpoints(tmp_path).load(), state_at(step))
            checkpoints.path(step).unlink()
        restore(tmp_path, contents)


def test_an_input_error_at_a_read_of_the_newest_checkpoint_keeps_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = saved(tmp_path)

    newest = checkpoints.path(3)

    def open_or_fail(path: Path, mode: str) -> Any:
        if path == newest:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return open_own(path, mode)

    with monkeypatch.context() as failing:
        failing.setattr(checkpoints_module, "open_own", open_or_fail)
        again = Checkpoints(tmp_path)
        assert equal(again.load(), state_at(2))
        assert "Input/output error" in capsys.readouterr().err
    assert equal(Checkpoints(tmp_path).load(), state_at(3)), "nothing was removed"
    again.save(3, state_at(3))
    for step in (3, 2):
        assert equal(Checkpoints(tmp_path).load(), state_at(step))
        again.path(step).unlink()


def test_nothing_is_removed_while_a_kept_checkpoint_is_unreadable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path)
    path = tmp_path / f"{3:012d}.pt"
    body = path.read_bytes()
    before = set(files(tmp_path))
    checkpoints = Checkpoints(tmp_path)
    path.write_bytes(b"unreadable for now")
    checkpoints.save(4, state_at(4))
    message = capsys.readouterr().err
    assert f"{path} cannot be read" in message
    assert "all blocks are kept" in message
    assert before < set(files(tmp_path))
    assert checkpoints.steps() == [2, 3, 4]
    path.write_bytes(body)
    checkpoints.path(4).unlink()
    assert equal(Checkpoints(tmp_path).load(), state_at(3)), "nothing of it was removed"
    path.write_bytes(b"unreadable for ever")
    for step in (4, 5):
        checkpoints.save(step, state_at(step))
    assert checkpoints.steps() == [4, 5]
    assert len(files(tmp_path)) < len(before) + 8, "its blocks are removed after it"


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training would start again, and its first checkpoint would remove the later ones."""
    saved(tmp_path)

    def fail(path: Path) -> list[str]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "listdir", fail)
    with pytest.raises(OSError, match="Input/output error"):
        Checkpoints(tmp_path).load()


def test_a_selected_part_is_loaded_without_the_blocks_of_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = saved(tmp_path)
    packed = checkpoints.read_packed(3).state
    needed = set(packed["weights"][packed_state.BLOCKS_KEY])
    for path in checkpoints.blocks.folder.iterdir():
        if path.name not in needed:
            path.unlink()
    weights = Checkpoints(tmp_path).load(lambda state: {"weights": state["weights"]})
    assert equal(weights, {"weights": state_at(3)["weights"]})
    assert not capsys.readouterr().err
    with pytest.raises(Exception, match="and another one of the same group"):
        checkpoints.load()


def test_a_checkpoint_without_parity_loads_and_its_blocks_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As checkpoints were before there was parity."""
    with monkeypatch.context() as older:
        older.setattr(BlockWriter, "close", lambda self: [])
        older.setattr(BlockWriter, "_close_group", lambda self: self._open.clear())
        saved(tmp_path, 1)
    checkpoints = Checkpoints(tmp_path)
    assert equal(checkpoints.load(), state_at(1))
    checkpoints.save(2, state_at(2))
    checkpoints.path(2).unlink()
    assert equal(Checkpoints(tmp_path).load(), state_at(1))


def test_xor_restores_each_block_from_the_others() -> None:
    blocks = [bytes([i * 37 % 256] * (SIZE - i)) for i in range(5)]
    parity = xor(blocks)
    for i, block in enumerate(blocks):
        assert xor([parity, *blocks[:i], *blocks[i + 1 :]])[: len(block)] == block


def test_a_changed_block_changes_one_parity(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path)

    def write(rows: list[int]) -> set[tuple[str, ...]]:
        writer = BlockWriter(blocks)
        writer.write(memoryview(bytes([row] * SIZE)) for row in rows)
        return {tuple(group) for group in writer.close()}

    first, second = write([*range(40)]), write([*range(17), 99, *range(18, 40)])
    assert len(first) == 10, "also if groups have equal parities"
    assert len(second - first) == 1
