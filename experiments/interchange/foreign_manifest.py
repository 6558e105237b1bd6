"""The manifest of episodes whose env is known from their arrays alone."""

import re
from collections.abc import Sequence

from ...envs.recorded import RecordedConfig
from ..datasets.writer import Manifest


def foreign_manifest(
    name: str, num_actions: int, shape: Sequence[int], source: str, policy: str = "unknown"
) -> Manifest:
    """Return the manifest of an env's episodes that another program recorded.

    ``source`` says what they are converted from.
    """
    channels, height, width = map(int, shape)
    name = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "recorded"
    return Manifest(
        env=RecordedConfig(name, num_actions, (channels, height, width)),
        num_actions=num_actions,
        frame_shape=(channels, height, width),
        policy=policy,
        epsilon=0.0,
        greedy=False,
        seed=0,
        num_envs=1,
        source=source,
    )
