"""Named experiments; an ablation is ``replace(PRESET, ...)``."""

from dataclasses import replace
from pathlib import Path

from ...agents.bonuses.density_bonus import PseudoCountConfig, SurpriseConfig
from ...agents.bonuses.simhash import SimHashConfig
from ...agents.dqn import DQNConfig
from ...agents.dyna import DynaConfig
from ...agents.episodic.mfec import MFECConfig
from ...agents.informed import InformedConfig
from ...agents.mpc import MPCConfig
from ...agents.ppo import PPOConfig
from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS
from ...world_models.density.pixelcnn import PixelCNNConfig
from ...world_models.planning.figar import FiGARConfig
from ...world_models.planning.straw import STRAWConfig, STRAWeConfig
from ...world_models.representation.binary_vae import BinaryVAEConfig
from ...world_models.representation.vae import VAEConfig
from .experiment import Experiment
from .serialization import fingerprint

# Machado et al. 2018: sticky actions, all 18 actions, episodes rather than lives. Every preset of
# its family shares double Q and the Monte-Carlo weight, so that presets differ in the bonus, and in
# the clip of its sum with the reward, alone.
DQN = Experiment(DQNConfig(), AtariConfig(protocol=PROTOCOLS["machado"]), num_envs=8)

# 100,000 steps (Kaiser et al. 2020), with a replay buffer and a schedule to match.
SHORT = Experiment(
    DQNConfig(
        monte_carlo_weight=0.0, learning_starts=2_000, exploration_steps=20_000, buffer_size=100_000
    ),
    AtariConfig(protocol=PROTOCOLS["atari100k"]),
    total_timesteps=100_000,
    num_envs=8,
)

# Huang et al. 2022, as CleanRL's ppo_atari: 8 envs, 40 million frames.
PPO = Experiment(
    PPOConfig(), AtariConfig(protocol=PROTOCOLS["nature"]), total_timesteps=10_000_000, num_envs=8
)


PRESETS: dict[str, Experiment] = {
    # Blundell et al. 2016, section 4.1: the key is a projection of one frame.
    "mfec": Experiment(),
    # With a VAE's posterior as the key, fitted to the frames of the agent's first, random steps.
    "mfec-vae": Experiment(MFECConfig(representation=VAEConfig())),
    # Higgins et al. 2017.
    "mfec-beta-vae": Experiment(MFECConfig(representation=VAEConfig(beta=4.0))),
    "mfec-binary-vae": Experiment(MFECConfig(representation=BinaryVAEConfig())),
    # As published: fitted to a million frames (7 GB of memory) in 400,000 updates.
    "mfec-vae-published": Experiment(
        MFECConfig(
            representation=VAEConfig(optimizer="rmsprop", learning_rate=1e-5),
            fit_after=1_000_000,
            fit_updates=400_000,
            fit_batch_size=100,
        ),
        total_timesteps=10_000_000,
    ),
    "dqn": DQN,
    # Bellemare et al. 2016.
    "dqn-cts": replace(DQN, bonus=PseudoCountConfig()),
    # Ostrovski et al. 2017: bonuses of up to 10, their sum with the reward clipped to [-1, 1].
    "dqn-pixelcnn": replace(
        DQN,
        agent=DQNConfig(total_clip=1.0),
        bonus=PseudoCountConfig(density=PixelCNNConfig(), form="gain"),
    ),
    # Tang et al. 2017.
    "dqn-simhash": replace(DQN, bonus=SimHashConfig()),
    "dqn-surprise": replace(DQN, bonus=SurpriseConfig()),
    "ppo": PPO,
    # Mnih et al. 2016, with Adam: one update per segment of five timesteps.
    "a2c": replace(
        PPO,
        agent=PPOConfig(
            num_steps=5,
            update_epochs=1,
            num_minibatches=1,
            gae_lambda=1.0,
            clip_coef=None,
            clip_vloss=False,
            norm_adv=False,
        ),
        num_envs=16,
    ),
    # Sharma et al. 2017.
    "figar": replace(PPO, agent=PPOConfig(planner=FiGARConfig())),
    # Vezhnevets et al. 2016.
    "straw": replace(PPO, agent=PPOConfig(planner=STRAWConfig())),
    "strawe": replace(PPO, agent=PPOConfig(planner=STRAWeConfig())),
    # Mohamed 2016: generalizes STRAWe; KL divergence and entropy are part of the return. Its
    # temperature lies between the coefficients of the two elsewhere, 1e-4 and 0.01.
    "variational-mdp": replace(
        PPO,
        agent=PPOConfig(
            planner=STRAWeConfig(prior="learned"),
            free_energy=True,
            plan_kl_coef=1e-3,
            ent_coef=1e-3,
        ),
    ),
    "dqn-short": SHORT,
    # The same with a learned model: imagined training between real steps, and planning at each.
    "dyna": replace(SHORT, agent=DynaConfig(inner=SHORT.agent)),
    "mpc": replace(SHORT, agent=MPCConfig()),
    # Oh et al. 2015, section 4.3.
    "dqn-informed": replace(
        SHORT, agent=InformedConfig(inner=SHORT.agent, exploration_steps=20_000)
    ),
}


def default_folder(preset: str, experiment: Experiment) -> Path:
    """Return runs/PRESET-ENV-sSEED, with a fingerprint if the preset's settings were changed."""
    plain = replace(
        PRESETS[preset], seed=experiment.seed, total_timesteps=experiment.total_timesteps
    )
    if isinstance(plain.env, AtariConfig) and isinstance(experiment.env, AtariConfig):
        plain = replace(plain, env=replace(plain.env, game=experiment.env.game))
    suffix = "" if plain == experiment else f"-{fingerprint(experiment)}"
    return Path("runs") / f"{preset}-{experiment.env.env_name}-s{experiment.seed}{suffix}"
