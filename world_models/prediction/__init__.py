"""Prediction: imagine the next frame, given an action."""

from world_models.interface import PredictorConfig
from world_models.prediction.feedforward import SMALL, FeedforwardConfig
from world_models.prediction.mlp import MLPPredictorConfig
from world_models.prediction.recurrent import RecurrentConfig
from world_models.prediction.stochastic import StochasticConfig

PREDICTORS: dict[str, type[PredictorConfig] | PredictorConfig] = {
    "feedforward": FeedforwardConfig,
    "small": SMALL,
    "recurrent": RecurrentConfig,
    "stochastic": StochasticConfig,
    "mlp": MLPPredictorConfig,
}
"""Every predictor by name: the command line, ``reverie list`` and the law tests read it."""
