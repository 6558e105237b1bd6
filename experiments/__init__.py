"""What is run, and what came of it: ``from experiments import Experiment, PRESETS, train, ...``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.config import Experiment as Experiment
    from experiments.evaluation import evaluate as evaluate
    from experiments.evaluation import load as load
    from experiments.presets import PRESETS as PRESETS
    from experiments.training import TrainOptions as TrainOptions
    from experiments.training import train as train

_HOMES = {
    "Experiment": "config",
    "PRESETS": "presets",
    "TrainOptions": "training",
    "train": "training",
    "evaluate": "evaluation",
    "load": "evaluation",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for: ``reverie --help`` loads no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'experiments' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"experiments.{_HOMES[name]}"), name)
