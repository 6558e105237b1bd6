"""Prediction: imagine the next frame, given an action."""

from world_models.interface import PredictorConfig
from world_models.prediction.feedforward import SMALL, FeedforwardConfig
from world_models.prediction.mlp import SMALL_MLP, MLPPredictorConfig
from world_models.prediction.recurrent import SMALL_RECURRENT, RecurrentConfig
from world_models.prediction.stochastic import SMALL_STOCHASTIC, StochasticConfig

PREDICTORS: dict[str, type[PredictorConfig] | PredictorConfig] = {
    "feedforward": FeedforwardConfig,
    "recurrent": RecurrentConfig,
    "stochastic": StochasticConfig,
    "mlp": MLPPredictorConfig,
    "small": SMALL,
    "small-recurrent": SMALL_RECURRENT,
    "small-stochastic": SMALL_STOCHASTIC,
    "small-mlp": SMALL_MLP,
}
"""Every predictor by name: the command line, ``reverie list`` and the law tests read it.

Those called small are for 84 x 84 grey frames, with as many updates each, minutes on a CPU; rates
and batches are their kind's own. The others are as published.
"""
