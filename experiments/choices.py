"""Who can be pretrained, by role: the command line reads this table."""

from experiments.predictors import PredictorPretraining
from experiments.pretraining import Pretraining
from experiments.representations import RepresentationPretraining

PRETRAININGS: dict[str, type[Pretraining]] = {
    "predictor": PredictorPretraining,
    "representation": RepresentationPretraining,
}
