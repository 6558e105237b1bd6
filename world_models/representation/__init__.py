"""Representation: turn a frame into a vector whose distances mean something."""

from world_models.interface import RepresentationConfig
from world_models.representation.projection import ProjectionConfig

REPRESENTATIONS: dict[str, type[RepresentationConfig]] = {"projection": ProjectionConfig}
"""Every representation by name: the command line, ``reverie list`` and the law tests read it."""
