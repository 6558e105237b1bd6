"""Latent-variable models of frames: keys of representations, and densities by a bound."""

from .air import AIRConfig
from .binary_vae import BinaryVAEConfig
from .interface import LatentConfig
from .vae import VAEConfig

LATENTS: dict[str, type[LatentConfig]] = {
    "vae": VAEConfig,
    "binary-vae": BinaryVAEConfig,
    "air": AIRConfig,
}
"""Every latent-variable model by name, for both roles that it fills and for the tests of them."""
