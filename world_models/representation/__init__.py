"""Representations: encoders of frames as vectors with meaningful Euclidean distances."""

from ..interface import RepresentationConfig
from .binary_vae import BinaryVAEConfig
from .projection import ProjectionConfig
from .true_state import TrueStateConfig
from .vae import VAEConfig

REPRESENTATIONS: dict[str, type[RepresentationConfig]] = {
    "projection": ProjectionConfig,
    "vae": VAEConfig,
    "binary-vae": BinaryVAEConfig,
    "true-state": TrueStateConfig,
}
"""Every representation by name, for the command line, ``reverie list`` and the role's tests."""
