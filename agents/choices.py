"""Every agent by name: the command line, ``reverie list`` and the law tests read this table."""

from agents.dqn import DQNConfig
from agents.episodic import EpisodicConfig
from agents.interface import AgentConfig

AGENTS: dict[str, type[AgentConfig]] = {"episodic": EpisodicConfig, "dqn": DQNConfig}
