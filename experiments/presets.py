"""Named experiments; an ablation is ``replace(PRESET, ...)``."""

from experiments.config import Experiment

PRESETS: dict[str, Experiment] = {
    # Blundell et al. 2016, section 4.1: the key is a projection of one frame.
    "episodic": Experiment(),
}
