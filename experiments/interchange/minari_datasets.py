"""Minari's datasets (Younis et al. 2024), written and read by Minari.

What Minari has no field for is kept beside it: ``infos["reverie"]`` holds the discounts and the
actions at every frame and, if they were recorded, the true states; ``metadata.json`` has the
manifest of the recording as ``reverie``.
"""

import copy
import os
import warnings
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs.atari.atari import AtariConfig
from ...envs.errors import UsageError
from ...envs.gym import GymConfig
from ...envs.interface import EnvConfig
from ..runs.files import read_json
from .array_checks import (
    MAX_ACTIONS,
    check_size,
    frame_axes,
    frame_shape,
    to_actions,
    to_frames,
    to_rewards,
)
from .aside import writing_aside
from .foreign_manifest import foreign_manifest
from .hdf5_access import open_hdf5
from .recorded_episodes import Episode, Source
from .recording_header import MAX_BYTES, Header, header_text, read_header

Array = NDArray[Any]

ROOT = "MINARI_DATASETS_PATH"
"""Variable of the environment that names the folder of Minari's datasets."""
DATA, METADATA, MAIN = "data", "metadata.json", "main_data.hdf5"


def require_minari() -> Any:
    """Return the module minari; raises UsageError if it is not installed."""
    try:
        import h5py  # noqa: F401
        import minari
    except ImportError as error:
        raise UsageError(
            f"Minari's datasets need the package minari ({error}); run `pip install "
            "'reverie[data]'`."
        ) from error
    return minari


def datasets_root() -> Path:
    """Return the folder of Minari's datasets."""
    return Path(os.environ.get(ROOT) or Path.home() / ".minari" / "datasets")


def root_and_id(path: Path) -> tuple[Path, str]:
    """Return the folder of datasets and the id, under which Minari loads the dataset of a path.

    A path below Minari's folder has the rest of it as its id; any other one its last part. Raises
    UsageError for a path that is no id.
    """
    root, path = datasets_root().resolve(), path.resolve()
    if not path.is_relative_to(root):
        root = path.parent
    name = path.relative_to(root).as_posix()
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        parse_dataset_id(name)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{name} is no id of a Minari dataset; end the path in a name and a version, such as "
            f"{root / 'catch' / 'random-v0'}."
        ) from error
    return root, name


def write_minari(path: Path, source: Source, show: Callable[[int], object]) -> None:
    """Write episodes as a dataset, which has its name only when it is complete."""
    minari = require_minari()
    from gymnasium.spaces import Box, Discrete

    _, dataset_id = root_and_id(path)
    manifest = source.manifest
    unfinished, single_frames = list[int](), dict[str, str]()

    def buffers() -> Iterator[Any]:
        done = 0
        for number, episode in enumerate(source.episodes):
            unfinished.extend([] if episode.ended else [number])
            done += len(episode.action)
            show(done)
            if len(episode.reward):
                yield _to_buffer(minari, episode)
            else:  # Minari has no episode without an action
                single_frames[str(number)] = _packed(episode)

    with writing_aside(path) as aside, TemporaryDirectory(prefix=".", dir=path.parent) as root:
        with _environment(ROOT, str(Path(root).resolve())), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about authors and links that are not given
            dataset = minari.create_dataset_from_buffers(
                dataset_id=dataset_id,
                buffer=buffers(),
                env=env_spec(manifest.env),
                observation_space=Box(0, 255, manifest.frame_shape, np.uint8),
                action_space=Discrete(manifest.num_actions),
                algorithm_name=manifest.policy,
                description=f"{manifest.env.env_name}, {manifest.env.protocol_label}; frames CHW.",
                data_format="hdf5",
                jpeg_encoding=False,
            )
            if not len(dataset):
                raise UsageError("There is no episode with an action to convert.")
            header = {"header": header_text(source, unfinished, path), "frames": single_frames}
            dataset.storage.update_metadata({"reverie": header})
        (Path(root) / dataset_id).rename(aside)


def env_spec(env: EnvConfig) -> Any:
    """Return Gymnasium's spec of a registered env, or of the game behind one of Atari; else None.

    That of Atari has the protocol's dynamics, and not its frames.
    """
    import gymnasium

    if isinstance(env, GymConfig):
        return gymnasium.spec(env.id)
    if not isinstance(env, AtariConfig):
        return None
    import ale_py

    gymnasium.register_envs(ale_py)
    spec = copy.deepcopy(gymnasium.spec(f"ALE/{''.join(x.capitalize() for x in env.game.split('_'))}-v5"))
    spec.kwargs |= {
        "frameskip": env.protocol.skip,
        "repeat_action_probability": env.protocol.sticky,
        "full_action_space": env.protocol.full_actions,
        "max_num_frames_per_episode": env.protocol.frames_cap,
        "obs_type": "grayscale" if env.protocol.grayscale else "rgb",
    }
    return spec


def _to_buffer(minari: Any, episode: Episode) -> Any:
    ends = np.zeros((2, len(episode.reward)), np.bool_)
    ends[0 if episode.terminated else 1, -1] = True
    infos: dict[str, Array] = {
        "action": episode.action,
        "discount": np.append(episode.discount, np.float32(1)),
    }
    if episode.privileged is not None:
        infos["privileged"] = episode.privileged
    return minari.data_collector.EpisodeBuffer(
        observations=episode.frames,
        actions=episode.action[:-1],
        rewards=episode.reward,
        terminations=ends[0],
        truncations=ends[1],
        infos={"reverie": infos},
    )


def read_minari(path: Path, name: str = "", axes: str = "") -> Source:
    """Return the episodes of a dataset in a folder, of an env called ``name``, by default as it.

    Raises UsageError for a dataset that is not stored in HDF5, or has other observations and
    actions than images and indices.
    """
    require_minari()
    metadata_file = path / DATA / METADATA
    if metadata_file.stat().st_size > MAX_BYTES:
        raise UsageError(f"{metadata_file} is larger than {MAX_BYTES:,} bytes.")
    metadata = read_json(metadata_file)
    if metadata.get("data_format") != "hdf5":
        raise UsageError(
            f"{path} is stored as {metadata.get('data_format')}, and Minari's datasets are read "
            "from hdf5; write it again by minari with data_format='hdf5'."
        )
    if not all(isinstance(metadata.get(x), str) for x in ("observation_space", "action_space")):
        # Minari would make the env that it names, whose code is not to be run.
        raise UsageError(f"{path} does not describe its spaces; write it again by minari.")
    try:
        return _read_minari(path, metadata, name, axes)
    except UsageError:
        raise
    except Exception as error:  # what Minari and Gymnasium raise for damaged metadata is not fixed
        raise UsageError(f"{path} is damaged ({type(error).__name__}: {error}).") from error


def _read_minari(path: Path, metadata: dict[str, Any], name: str, axes: str) -> Source:
    from gymnasium.spaces import Box, Discrete
    from minari.dataset.minari_dataset import MinariDataset

    dataset = MinariDataset(path / DATA)
    space, actions = dataset.observation_space, dataset.action_space
    if not isinstance(space, Box) or not isinstance(actions, Discrete):
        raise UsageError(
            f"{path} has observations {type(space).__name__} and actions {type(actions).__name__}; "
            "recordings have images (a Box) and indices (Discrete)."
        )
    if actions.n > MAX_ACTIONS:
        raise UsageError(f"{path} has {actions.n} actions; at most {MAX_ACTIONS} are read.")
    own = metadata.get("reverie")
    axes = frame_axes(f"The space of {path}", space.shape, space.dtype, "CHW" if own else axes)
    shape = frame_shape(space.shape, axes)
    _check_sizes(path, dataset.total_episodes, space)
    if own:
        header = read_header(path, own["header"], shape, 1)
        episodes = _own_episodes(path, dataset, header, own["frames"], axes)
        return Source(header.manifest, episodes, header.provenance, header.per_env)
    manifest = foreign_manifest(
        name or str(metadata["dataset_id"]), int(actions.n), shape, f"the Minari dataset {path}",
        str(metadata.get("algorithm_name", "unknown")),
    )  # fmt: skip
    return Source(manifest, _foreign_episodes(path, dataset, axes), {})


def _check_sizes(path: Path, num_episodes: int, space: Any) -> None:
    """Raise UsageError for an array that is too large, also once its JPEGs are decoded."""
    with open_hdf5(path / DATA / MAIN) as file:
        for episode in map(str, file):
            group = file[episode]
            steps = len(group["rewards"])
            check_size(f"{episode} of {path}", (steps + 1, *space.shape), space.dtype)
            for each in ("rewards", "actions", "terminations", "truncations"):
                check_size(f"{each} of {path}", group[each].shape, group[each].dtype)
            frames = group["observations"]
            raw = frames.ndim == 1 + len(space.shape)
            if len(frames) != steps + 1 or (raw and frames.shape[1:] != space.shape):
                raise UsageError(
                    f"{path} has {len(frames)} frames in {episode} of {steps} actions."
                )
        if len(file) < num_episodes:
            raise UsageError(f"{path} has {len(file)} of its {num_episodes} episodes.")


def _own_episodes(
    path: Path, dataset: Any, header: Header, single_frames: dict[str, str], axes: str
) -> Iterator[Episode]:
    """Yield the episodes of a dataset that was written from a recording."""
    episodes = iter(dataset.iterate_episodes())
    for number in range(dataset.total_episodes + len(single_frames)):
        ended = number not in header.unfinished
        if (single := single_frames.get(str(number))) is not None:
            yield replace(_unpacked(path, single, header), ended=ended)
        else:
            found = next(episodes)
            infos = found.infos["reverie"]
            state = infos.get("privileged")
            if (state is None) == bool(header.manifest.privileged):
                raise UsageError(f"{path} is damaged: its true states are not as its header says.")
            yield Episode(
                to_frames(found.observations, axes),
                np.asarray(infos["action"], np.int64),
                to_rewards(f"rewards of {path}", found.rewards),
                np.asarray(infos["discount"][:-1], np.float32),
                ended,
                state,
            )


def _foreign_episodes(path: Path, dataset: Any, axes: str) -> Iterator[Episode]:
    start = int(dataset.action_space.start)
    for found in dataset.iterate_episodes():
        discount = np.ones(len(found.rewards), np.float32)
        discount[-1:] = not found.terminations[-1]
        yield Episode(
            to_frames(np.asarray(found.observations), axes),
            np.append(to_actions(f"actions of {path}", np.asarray(found.actions) - start), 0),
            to_rewards(f"rewards of {path}", np.asarray(found.rewards)),
            discount,
        )


def _packed(episode: Episode) -> str:
    """Return the one frame of an episode without actions, and its true state, as text."""
    state = episode.privileged if episode.privileged is not None else np.zeros(0, np.uint8)
    action = np.array(episode.action[-1:], "<i8")
    data = action.tobytes() + episode.frames.tobytes() + state.tobytes()
    return b64encode(zlib.compress(data)).decode()


def _unpacked(path: Path, text: str, header: Header) -> Episode:
    shape, num_bytes = header.manifest.frame_shape, len(header.manifest.privileged)
    size = int(np.prod(shape))
    data = zlib.decompressobj().decompress(b64decode(text), 8 + size + num_bytes + 1)
    if len(data) != 8 + size + num_bytes:
        raise UsageError(f"{path} is damaged: a single frame has {len(data)} bytes.")
    state = np.frombuffer(data, np.uint8, offset=8 + size)[None] if num_bytes else None
    return Episode(
        np.frombuffer(data, np.uint8, size, 8).reshape(1, *shape),
        np.frombuffer(data, "<i8", 1).astype(np.int64),
        np.zeros(0),
        np.zeros(0, np.float32),
        privileged=state,
    )


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
