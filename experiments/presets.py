"""Named experiments; an ablation is ``replace(PRESET, ...)``."""

from agents.dqn import DQNConfig
from envs.atari import AtariConfig
from envs.protocol import PROTOCOLS
from experiments.config import Experiment

PRESETS: dict[str, Experiment] = {
    # Blundell et al. 2016, section 4.1: the key is a projection of one frame.
    "episodic": Experiment(),
    # Machado et al. 2018: sticky actions, all 18 actions, episodes rather than lives.
    "dqn": Experiment(DQNConfig(), AtariConfig(protocol=PROTOCOLS["machado"]), streams=8),
}
