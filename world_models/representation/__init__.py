"""Representation: turn a frame into a vector whose distances mean something."""

from world_models.interface import RepresentationConfig
from world_models.representation.binary_vae import BinaryVAEConfig
from world_models.representation.projection import ProjectionConfig
from world_models.representation.vae import VAEConfig

REPRESENTATIONS: dict[str, type[RepresentationConfig]] = {
    "projection": ProjectionConfig,
    "vae": VAEConfig,
    "binary-vae": BinaryVAEConfig,
}
"""Every representation by name: the command line, ``reverie list`` and the law tests read it."""
