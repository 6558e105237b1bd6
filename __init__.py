"""Reinforcement-learning agents built on generative models.

The public names are imported when they are first used, so that ``import reverie`` and
``reverie --help`` load neither torch nor gymnasium::

    from reverie import PRESETS, train

    train(PRESETS["mfec"], "runs/mfec")
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .experiments.config.experiment import Experiment as Experiment
    from .experiments.config.presets import PRESETS as PRESETS
    from .experiments.config.registry import register as register
    from .experiments.evaluation.evaluate import evaluate as evaluate
    from .experiments.evaluation.trained_agent import load as load
    from .experiments.laws.check_part import check_part as check_part
    from .experiments.sessions.callbacks import Callback as Callback
    from .experiments.sessions.options import TrainOptions as TrainOptions
    from .experiments.sharing.pretrained import pretrained as pretrained
    from .experiments.training.train import train as train

# Between two parallel regions torch's idle OpenMP threads spin, by default for milliseconds, which
# takes time from the emulators where cores are few. It is read once, when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_MODULES = {
    "Callback": "experiments.sessions.callbacks",
    "Experiment": "experiments.config.experiment",
    "PRESETS": "experiments.config.presets",
    "TrainOptions": "experiments.sessions.options",
    "check_part": "experiments.laws.check_part",
    "evaluate": "experiments.evaluation.evaluate",
    "load": "experiments.evaluation.trained_agent",
    "pretrained": "experiments.sharing.pretrained",
    "register": "experiments.config.registry",
    "train": "experiments.training.train",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
