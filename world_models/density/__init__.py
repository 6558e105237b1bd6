"""Density: say how likely a frame is."""

from world_models.density.bound import BoundConfig
from world_models.density.cts import CTSConfig
from world_models.density.histogram import HistogramConfig
from world_models.density.pixelcnn import PixelCNNConfig
from world_models.interface import DensityConfig

DENSITIES: dict[str, type[DensityConfig]] = {
    "histogram": HistogramConfig,
    "cts": CTSConfig,
    "pixel-cnn": PixelCNNConfig,
    "bound": BoundConfig,
}
"""Every density by name: the command line, ``reverie list`` and the law tests read it."""
