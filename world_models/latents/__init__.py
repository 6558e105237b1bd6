"""Latent-variable models of frames: keys of representations, and densities by a bound."""

from .air import AIRConfig
from .binary_vae import BinaryVAEConfig
from .conv_draw import ConvDRAWConfig
from .draw import DRAWConfig
from .interface import LatentConfig
from .one_shot_draw import OneShotDRAWConfig
from .semi_vae import SemiVAEConfig
from .vae import VAEConfig

LATENTS: dict[str, type[LatentConfig]] = {
    "vae": VAEConfig,
    "binary-vae": BinaryVAEConfig,
    "semi-vae": SemiVAEConfig,
    "conv-draw": ConvDRAWConfig,
    "draw": DRAWConfig,
    "air": AIRConfig,
    "one-shot-draw": OneShotDRAWConfig,
}
"""Every latent-variable model by name, for both roles that it fills and for the tests of them."""
