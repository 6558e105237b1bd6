"""Episodes written as other projects write them."""

import gzip
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from reverie.experiments.interchange.recorded_episodes import Episode

Array = NDArray[Any]
NUM_ACTIONS = 3


def write_dreamer(folder: Path, episodes: Sequence[Episode], version: int, per_file: int) -> None:
    """Write files of some episodes each, as DreamerV2 (one-hot, before a frame) or V3 (indices)."""
    folder.mkdir()
    for k in range(0, len(episodes), per_file):
        rows: dict[str, list[Array]] = {}
        for x in episodes[k : k + per_file]:
            n, row = len(x.action), np.arange(len(x.action))
            taken = np.eye(NUM_ACTIONS, dtype=np.float32)[x.action[:-1]]
            no_action = np.zeros((1, NUM_ACTIONS), np.float32)
            arrays = {
                "image": x.frames.transpose(0, 2, 3, 1),
                "action": np.concatenate([no_action, taken])
                if version == 2
                else np.append(x.action[:-1], 0).astype(np.int32),
                "reward": np.append(0, x.reward).astype(np.float32),
                "is_first": row == 0,
                "is_last": row == n - 1,
                "is_terminal": (row == n - 1) & x.terminated,
            }
            for name, array in arrays.items():
                rows.setdefault(name, []).append(array)
        columns: dict[str, Any] = {name: np.concatenate(parts) for name, parts in rows.items()}
        np.savez_compressed(folder / f"{k:03d}.npz", **columns)


def write_d4rl(path: Path, episodes: Sequence[Episode], *, next_observations: bool) -> None:
    def rows(parts: list[Array]) -> Array:
        return np.concatenate(parts)

    ends = [_last(x) for x in episodes]
    with h5py.File(path, "w") as file:
        file["observations"] = rows([x.frames[:-1].transpose(0, 2, 3, 1) for x in episodes])
        if next_observations:
            file["next_observations"] = rows([x.frames[1:].transpose(0, 2, 3, 1) for x in episodes])
        file["actions"] = rows([x.action[:-1, None] for x in episodes]).astype(np.int32)
        file["rewards"] = rows([x.reward for x in episodes]).astype(np.float32)
        pairs = list(zip(ends, episodes, strict=True))
        file["terminals"] = rows([end & x.terminated for end, x in pairs])
        file["timeouts"] = rows([end & (not x.terminated) for end, x in pairs])


def write_minari(
    folder: Path, episodes: Sequence[Episode], *, jpeg: bool = False, start: int = 2
) -> None:
    """Write a dataset of images with the channels last, whose first action is ``start``."""
    os.environ["MINARI_DATASETS_PATH"] = str(folder.parent.resolve())
    shape = episodes[0].frames.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            dataset_id=folder.name,
            buffer=[
                minari.data_collector.EpisodeBuffer(
                    observations=x.frames.transpose(0, 2, 3, 1),
                    actions=x.action[:-1] + start,
                    rewards=x.reward,
                    terminations=_last(x) & x.terminated,
                    truncations=_last(x) & (not x.terminated),
                )
                for x in episodes
            ],
            observation_space=Box(0, 255, (*shape[2:], shape[1]), np.uint8),
            action_space=Discrete(NUM_ACTIONS, start=start),
            jpeg_encoding=jpeg,
        )


def _last(x: Episode) -> Array:
    last: Array = np.arange(len(x.reward)) == len(x.reward) - 1
    return last


def write_dopamine(
    folder: Path, episodes: Sequence[Episode], *, capacity: int, number: int = 0
) -> None:
    """Write a full or partly filled ring of ``capacity`` rows, with empty ones before episodes."""
    folder.mkdir(exist_ok=True)
    size = episodes[0].frames.shape[2:]
    ring = {
        "observation": np.zeros((capacity, *size), np.uint8),
        "action": np.zeros(capacity, np.int32),
        "reward": np.zeros(capacity, np.float32),
        "terminal": np.zeros(capacity, np.uint8),
    }
    count = 0
    for x in episodes:
        n = len(x.reward)
        rows = {
            "observation": np.concatenate([np.zeros((3, *size), np.uint8), x.frames[:-1, 0]]),
            "action": np.append([0, 0, 0], x.action[:-1]),
            "reward": np.append([0, 0, 0], x.reward),
            "terminal": np.arange(-3, n) == n - 1,
        }
        place = (count + np.arange(n + 3)) % capacity
        for name, array in rows.items():
            ring[name][place] = array
        count += n + 3
    for name, array in ring.items():
        with gzip.open(folder / f"$store$_{name}_ckpt.{number}.gz", "wb") as file:
            np.save(file, array)
    with gzip.open(folder / f"add_count_ckpt.{number}.gz", "wb") as file:
        np.save(file, np.array(count))
