"""Representations: encoders of frames as vectors with meaningful Euclidean distances."""

from ..interface import RepresentationConfig
from ..latents import LATENTS
from .bigan import BiGANConfig
from .contrastive import ContrastiveConfig
from .dct import DCTConfig
from .downscaled import DownscaledConfig
from .inverse_dynamics import InverseDynamicsConfig
from .projection import ProjectionConfig
from .true_state import TrueStateConfig
from .variational import VariationalConfig

REPRESENTATIONS: dict[str, type[RepresentationConfig] | RepresentationConfig] = {
    "projection": ProjectionConfig,
    "downscaled": DownscaledConfig,
    "dct": DCTConfig,
    **{name: VariationalConfig.of(kind()) for name, kind in LATENTS.items()},
    "contrastive": ContrastiveConfig,
    "inverse": InverseDynamicsConfig,
    "bigan": BiGANConfig,
    "true-state": TrueStateConfig,
}
"""Every representation by name, for the command line, ``reverie list`` and the role's tests."""
