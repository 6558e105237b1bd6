"""The processes' own random generators, as plain values.

Nothing here draws from them once a part is built, but a user's part may.
"""

import random
from typing import Any

import numpy as np
import torch


def states() -> dict[str, Any]:
    """Of python, numpy and torch, on every device."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys, np.int64)),
            position,
            has_gauss,
            gauss,
        ],
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def restore(states: dict[str, Any]) -> None:
    """Put them back, as far as the devices are still there."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all(states["cuda"])
