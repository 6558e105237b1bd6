"""Named experiments; an ablation is ``replace(PRESET, ...)``."""

from dataclasses import replace

from agents.actor_critic import ActorCriticConfig
from agents.density_bonus import PseudoCountConfig, SurpriseConfig
from agents.dqn import DQNConfig
from agents.simhash import SimHashConfig
from envs.atari import AtariConfig
from envs.protocol import PROTOCOLS
from experiments.config import Experiment
from world_models.density.pixelcnn import PixelCNNConfig

# Machado et al. 2018: sticky actions, all 18 actions, episodes rather than lives. Every preset of
# its family shares double Q and the Monte-Carlo weight, so that a twin differs in its bonus alone.
DQN = Experiment(DQNConfig(), AtariConfig(protocol=PROTOCOLS["machado"]), streams=8)

PRESETS: dict[str, Experiment] = {
    # Blundell et al. 2016, section 4.1: the key is a projection of one frame.
    "episodic": Experiment(),
    "dqn": DQN,
    # Bellemare et al. 2016.
    "dqn-cts": replace(DQN, bonus=PseudoCountConfig()),
    # Ostrovski et al. 2017.
    "dqn-pixelcnn": replace(DQN, bonus=PseudoCountConfig(density=PixelCNNConfig(), form="gain")),
    # Tang et al. 2017.
    "dqn-simhash": replace(DQN, bonus=SimHashConfig()),
    "dqn-surprise": replace(DQN, bonus=SurpriseConfig()),
    # Huang et al. 2022, as CleanRL's ppo_atari: 8 streams, 40 million frames.
    "actor-critic": Experiment(
        ActorCriticConfig(),
        AtariConfig(protocol=PROTOCOLS["nature"]),
        steps=10_000_000,
        streams=8,
    ),
}
