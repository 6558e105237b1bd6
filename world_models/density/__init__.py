"""Densities: log-probabilities of frames."""

from ..interface import DensityConfig
from .bound import BoundConfig
from .cts import CTSConfig
from .flow import FlowConfig
from .histogram import HistogramConfig
from .made import MADEConfig
from .orderless import OrderlessConfig
from .pixel_rnn import PixelRNNConfig
from .pixelcnn import PixelCNNConfig

DENSITIES: dict[str, type[DensityConfig] | DensityConfig] = {
    "histogram": HistogramConfig,
    "cts": CTSConfig,
    "pixel-cnn": PixelCNNConfig,
    "pixel-cnn-position": PixelCNNConfig(position=True, learning_rate=3e-3, rmsprop_eps=1e-5),
    "pixel-rnn": PixelRNNConfig,
    "made": MADEConfig,
    "orderless": OrderlessConfig,
    "bound": BoundConfig,
    "flow": FlowConfig,
    "affine-flow": FlowConfig(transform="affine"),
    "additive-flow": FlowConfig(transform="additive"),
}
"""Every density by name, for the command line, ``reverie list`` and the tests of the role."""
