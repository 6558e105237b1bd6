"""Predictors: models of the next frame, reward and discount given an action."""

from ..interface import PredictorConfig
from .diffusion import SMALL_DIFFUSION, TINY_DIFFUSION, DiffusionConfig
from .emulator import EmulatorConfig
from .ensemble import EnsembleConfig
from .feedforward import SMALL, TINY, FeedforwardConfig
from .mlp import SMALL_MLP, TINY_MLP, MLPPredictorConfig
from .recurrent import SMALL_RECURRENT, RecurrentConfig
from .rssm import SMALL_RSSM, TINY_RSSM, RSSMConfig
from .stochastic import SMALL_STOCHASTIC, StochasticConfig

PREDICTORS: dict[str, type[PredictorConfig] | PredictorConfig] = {
    "feedforward": FeedforwardConfig,
    "recurrent": RecurrentConfig,
    "stochastic": StochasticConfig,
    "diffusion": DiffusionConfig,
    "mlp": MLPPredictorConfig,
    "rssm": RSSMConfig,
    "small": SMALL,
    "small-recurrent": SMALL_RECURRENT,
    "small-stochastic": SMALL_STOCHASTIC,
    "small-diffusion": SMALL_DIFFUSION,
    "small-mlp": SMALL_MLP,
    "small-rssm": SMALL_RSSM,
    "tiny": TINY,
    "tiny-diffusion": TINY_DIFFUSION,
    "tiny-mlp": TINY_MLP,
    "tiny-rssm": TINY_RSSM,
    "ensemble": EnsembleConfig,
    "emulator": EmulatorConfig,
}
"""Every predictor by name, for the command line, ``reverie list`` and the tests of the role.

The ``small`` ones are for 84 x 84 gray frames and train in minutes on a CPU; all have the same
number of updates, with learning rates and batch sizes of their own. The ``tiny`` ones are for the
frames of Catch, DeepSea and MinAtar. The ensemble is of ``small`` ones, or of any other as its
member. The emulator is the env itself; the others are as published.
"""
