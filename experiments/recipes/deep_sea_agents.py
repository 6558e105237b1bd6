"""Agents in DeepSea until they solve it, with the settings that suit so small an env."""

from dataclasses import replace

from ...agents.bonuses.density_bonus import PseudoCountConfig
from ...agents.bonuses.exemplar import ExemplarConfig
from ...agents.bonuses.rnd import RNDConfig
from ...agents.networks import MLPConfig
from ...agents.ppo import PPOConfig
from ...agents.thompson import ThompsonConfig
from ...envs.deep_sea import DeepSeaConfig
from ..config.experiment import Experiment
from .deep_sea_curve import DeepSeaCurve
from .recipe import SMALL_DQN

# Epsilon ends low: at a size of 50 an epsilon of 0.1 leaves 8% of the episodes without a mistake.
DEEP_SEA = Experiment(SMALL_DQN, DeepSeaConfig(), num_envs=8)

# Updates are fewer and smaller than those of bsuite's agent, for a CPU. The prior has a larger
# scale, because networks with torch's initialization vary less from state to state.
THOMPSON = replace(
    DEEP_SEA,
    agent=ThompsonConfig(
        network=MLPConfig(),
        double_q=False,
        prior_scale=30.0,
        learning_starts=500,
        replay_ratio=0.125,
        buffer_size=100_000,
        learning_rate=1e-3,
        target_network_frequency=32,
    ),
)

# A rollout is of four episodes of each env. Seeds of the curve are others than those that the
# settings were chosen with, 0 to 2.
PPO = PPOConfig(
    network=MLPConfig(),
    num_steps=40,
    bptt_length=40,
    reward_clip=None,
    clip_coef=0.2,
    learning_rate=1e-3,
    anneal_steps=0,
)
PPO_IN_DEEP_SEA = Experiment(PPO, DeepSeaConfig(), num_envs=8)
BONUSES_IN_DEEP_SEA = {
    "ppo": PPO_IN_DEEP_SEA,
    "ppo-rnd": replace(
        PPO_IN_DEEP_SEA,
        agent=replace(PPO, intrinsic_value=True),
        bonus=RNDConfig(
            initial_frames=400, update_every=320, update_proportion=1.0, learning_rate=1e-3
        ),
    ),
    "ppo-exemplar": replace(
        PPO_IN_DEEP_SEA,
        bonus=ExemplarConfig(
            "count",
            0.1,
            network=MLPConfig((128,)),
            code=8,
            kl_coef=1e-4,
            batch_size=128,
            update_ratio=0.5,
        ),
    ),
}

DEEP_SEA_CURVES = {
    "deep-sea-curve": DeepSeaCurve(
        {
            "dqn": DEEP_SEA,
            "dqn-cts": replace(DEEP_SEA, bonus=PseudoCountConfig(resolution=50)),
        }
    ),
    "deep-sea-thompson": DeepSeaCurve(
        {"dqn": DEEP_SEA, "thompson": THOMPSON}, sizes=(10, 20), seeds=(0, 1, 2)
    ),
    "deep-sea-bonuses": DeepSeaCurve(BONUSES_IN_DEEP_SEA, sizes=(10,), seeds=tuple(range(3, 13))),
}
