"""Minari's datasets (Younis et al. 2024), written and read by Minari.

What Minari has no field for is kept beside it: ``infos["reverie"]`` holds the discounts and the
actions at every frame and, if they were recorded, the true states; ``metadata.json`` has the
manifest of the recording as ``reverie``.
"""

import copy
import os
import warnings
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs.atari.atari import AtariConfig
from ...envs.errors import UsageError
from ...envs.gym import GymConfig
from ...envs.interface import EnvConfig
from .aside import writing_aside
from .recorded_episodes import Episode, Source
from .recording_header import header_text

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
        return gymnasium.registry.get(env.id.rpartition(":")[2])
    if not isinstance(env, AtariConfig):
        return None
    import ale_py

    gymnasium.register_envs(ale_py)
    spec = copy.deepcopy(
        gymnasium.spec(f"ALE/{''.join(x.capitalize() for x in env.game.split('_'))}-v5")
    )
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


def _packed(episode: Episode) -> str:
    """Return the one frame of an episode without actions, and its true state, as text."""
    state = episode.privileged if episode.privileged is not None else np.zeros(0, np.uint8)
    action = np.array(episode.action[-1:], "<i8")
    data = action.tobytes() + episode.frames.tobytes() + state.tobytes()
    return b64encode(zlib.compress(data)).decode()


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
