"""Settings of densities that are refused."""

import math
from typing import Any

import pytest

from reverie.envs.errors import UsageError
from reverie.world_models.density.bound import BoundConfig
from reverie.world_models.density.pixelcnn import PixelCNNConfig


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (PixelCNNConfig, {"rmsprop_alpha": 1.0}, "rmsprop_alpha is 1.0; it must be below 1"),
        (PixelCNNConfig, {"rmsprop_alpha": -0.1}, "rmsprop_alpha is -0.1; it must be 0 or more"),
        (BoundConfig, {"alpha": math.nan}, "density.alpha is nan"),
        (BoundConfig, {"samples": 0}, "density.samples is 0; it must be 1 or more"),
    ],
)
def test_invalid_settings_are_refused(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        kind(**settings)
