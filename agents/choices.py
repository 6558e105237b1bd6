"""Every agent and bonus by name: the command line, ``reverie list`` and the law tests read it."""

from agents.actor_critic import ActorCriticConfig
from agents.bonus import BonusConfig, NoBonusConfig
from agents.density_bonus import PseudoCountConfig, SurpriseConfig
from agents.dqn import DQNConfig
from agents.dreamer import DreamerConfig
from agents.episodic import EpisodicConfig
from agents.informed import InformedConfig
from agents.interface import AgentConfig
from agents.shooting import ShootingConfig
from agents.simhash import SimHashConfig

AGENTS: dict[str, type[AgentConfig]] = {
    "episodic": EpisodicConfig,
    "dqn": DQNConfig,
    "actor-critic": ActorCriticConfig,
    "dreamer": DreamerConfig,
    "shooting": ShootingConfig,
    "informed": InformedConfig,
}

BONUSES: dict[str, type[BonusConfig]] = {
    "none": NoBonusConfig,
    "pseudo-count": PseudoCountConfig,
    "simhash": SimHashConfig,
    "surprise": SurpriseConfig,
}
