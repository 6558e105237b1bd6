"""Named experiments; an ablation is ``replace(PRESET, ...)``."""

from dataclasses import replace
from typing import Any

from agents.actor_critic import ActorCriticConfig
from agents.density_bonus import PseudoCountConfig, SurpriseConfig
from agents.dqn import DQNConfig
from agents.dreamer import DreamerConfig
from agents.episodic import EpisodicConfig
from agents.informed import InformedConfig
from agents.shooting import ShootingConfig
from agents.simhash import SimHashConfig
from envs.atari import AtariConfig
from envs.protocol import PROTOCOLS
from experiments.config import Experiment
from world_models.density.pixelcnn import PixelCNNConfig
from world_models.interface import PlannerConfig
from world_models.planning.action_repeat import ActionRepeatConfig
from world_models.planning.straw import STRAWConfig, STRAWeConfig
from world_models.representation.binary_vae import BinaryVAEConfig
from world_models.representation.vae import VAEConfig

# Machado et al. 2018: sticky actions, all 18 actions, episodes rather than lives. Every preset of
# its family shares double Q and the Monte-Carlo weight, so that a twin differs in its bonus alone.
DQN = Experiment(DQNConfig(), AtariConfig(protocol=PROTOCOLS["machado"]), streams=8)

# A hundred thousand steps (Kaiser et al. 2020), with a replay and a schedule as short.
SHORT = Experiment(
    DQNConfig(
        monte_carlo_weight=0.0, learning_starts=2_000, epsilon_steps=20_000, capacity=100_000
    ),
    AtariConfig(protocol=PROTOCOLS["atari100k"]),
    steps=100_000,
    streams=8,
)

# Huang et al. 2022, as CleanRL's ppo_atari: 8 streams, 40 million frames.
ACTOR_CRITIC = Experiment(
    ActorCriticConfig(), AtariConfig(protocol=PROTOCOLS["nature"]), steps=10_000_000, streams=8
)


def planned(planner: PlannerConfig, **settings: Any) -> Experiment:
    """The actor-critic with a planner: its twin in everything else."""
    return replace(
        ACTOR_CRITIC,
        agent=replace(ACTOR_CRITIC.agent, planner=planner, **settings),  # type: ignore[call-arg]
    )


PRESETS: dict[str, Experiment] = {
    # Blundell et al. 2016, section 4.1: the key is a projection of one frame.
    "episodic": Experiment(),
    # The same with a VAE's posterior as the key, fitted to the agent's first, random frames.
    "episodic-vae": Experiment(EpisodicConfig(representation=VAEConfig())),
    # Higgins et al. 2017.
    "episodic-beta-vae": Experiment(EpisodicConfig(representation=VAEConfig(beta=4.0))),
    "episodic-binary-vae": Experiment(EpisodicConfig(representation=BinaryVAEConfig())),
    # As published: a million frames (7 GB of memory) and many small steps on them.
    "episodic-vae-published": Experiment(
        EpisodicConfig(
            representation=VAEConfig(optimiser="rmsprop", learning_rate=1e-5),
            fit_after=1_000_000,
            fit_steps=400_000,
            fit_batch=100,
        ),
        steps=10_000_000,
    ),
    "dqn": DQN,
    # Bellemare et al. 2016.
    "dqn-cts": replace(DQN, bonus=PseudoCountConfig()),
    # Ostrovski et al. 2017.
    "dqn-pixelcnn": replace(DQN, bonus=PseudoCountConfig(density=PixelCNNConfig(), form="gain")),
    # Tang et al. 2017.
    "dqn-simhash": replace(DQN, bonus=SimHashConfig()),
    "dqn-surprise": replace(DQN, bonus=SurpriseConfig()),
    "actor-critic": ACTOR_CRITIC,
    # Sharma et al. 2017.
    "action-repeat": planned(ActionRepeatConfig()),
    # Vezhnevets et al. 2016.
    "straw": planned(STRAWConfig()),
    "strawe": planned(STRAWeConfig()),
    # Mohamed 2016: what STRAWe is a case of, with nats and entropy part of the return.
    "variational-mdp": planned(STRAWeConfig(prior="learned"), free_energy=True),
    "dqn-short": SHORT,
    # Its twins that imagine: dreaming between real steps, and planning at each of them.
    "dreamer": replace(SHORT, agent=DreamerConfig(inner=SHORT.agent)),
    "shooting": replace(SHORT, agent=ShootingConfig()),
    # Oh et al. 2015, section 4.3.
    "dqn-informed": replace(SHORT, agent=InformedConfig(inner=SHORT.agent, epsilon_steps=20_000)),
}
