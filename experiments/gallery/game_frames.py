"""The frames of the gallery: recordings of each game, and what general compressors make of them."""

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import expand_games
from ...envs.errors import UsageError
from ..datasets.collect import collect
from ..datasets.dataset import Recording
from ..datasets.writer import MANIFEST, Manifest
from ..evaluation.evaluate import random_policy
from .gallery_options import GalleryOptions

DEFAULT_GAMES = "pong,ms_pacman"
NUM_ENVS = 8


@dataclass(frozen=True)
class GameFrames:
    """The recordings of one game."""

    name: str
    folders: tuple[Path, ...]
    env: AtariConfig | None = None
    """The env of the frames that are still to be collected; None for those that are given."""

    @property
    def missing(self) -> bool:
        """Whether the frames are still to be collected."""
        return self.env is not None and not (self.folders[0] / MANIFEST).exists()

    def collect(self, frames: int, seed: int) -> None:
        """Record random play, unless that is done; raises UsageError for another number."""
        if self.env is not None and self.missing:
            print(f"{self.name}: collecting {frames:,} frames of random play.", flush=True)
            policy = random_policy(self.env, seed)
            collect(policy, self.env, self.folders[0], frames=frames, seed=seed, num_envs=NUM_ENVS)
        elif self.env is not None:
            found = len(Recording(*self.folders, cache_bytes=0))
            if found != frames // NUM_ENVS * NUM_ENVS:
                raise UsageError(
                    f"{self.folders[0]} holds {found:,} frames, and --frames is {frames:,}; choose "
                    "another --folder."
                )

    @property
    def about(self) -> str:
        """The frames and the policies that made them, in one sentence."""
        recording = Recording(*self.folders, cache_bytes=0)
        policies = " and ".join(dict.fromkeys(Manifest.read(x).policy for x in self.folders))
        return (
            f"{len(recording):,} frames of {recording.num_episodes} episodes of {self.name}, "
            f"protocol {recording.manifest.env.protocol_label}, by {policies}"
        )


def frames_of_games(options: GalleryOptions) -> list[GameFrames]:
    """Return the recordings of each game, given or to be collected below the folder."""
    if options.data:
        given: dict[str, list[Path]] = {}
        for folder in options.data:
            given.setdefault(Manifest.read(folder).env.env_name, []).append(folder.resolve())
        return [GameFrames(name, tuple(folders)) for name, folders in given.items()]
    folder = options.folder.resolve()
    return [
        GameFrames(game, (folder / game / "data",), AtariConfig(game))
        for game in expand_games(options.games or DEFAULT_GAMES)
    ]


def compressed_sizes(x: UInt8[Tensor, "B h w"]) -> dict[str, float]:
    """Return the bytes per frame of general compressors, each in the form that suits it best."""
    from ..datasets.image_codecs import CODECS  # slow to import

    symbols = x.cpu().numpy()
    sizes = {}
    for codec, forms in CODECS.items():
        fitting = [form for form in forms if int(symbols.max()) < form.max_levels]
        size = min(sum(map(len, form.encode(symbols))) for form in fitting)
        sizes[codec] = size / len(symbols)
    return sizes
