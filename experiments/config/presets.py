"""Named experiments; an ablation is ``replace(PRESET, ...)``. What each is says descriptions.py."""

from dataclasses import replace

from ...agents.bonuses.density_bonus import PseudoCountConfig, SurpriseConfig
from ...agents.bonuses.rnd import RNDConfig
from ...agents.bonuses.simhash import SimHashConfig
from ...agents.dqn import DQNConfig
from ...agents.dyna import DynaConfig
from ...agents.episodic.mfec import MFECConfig
from ...agents.episodic.nait import NAITConfig
from ...agents.episodic.nec import NECConfig
from ...agents.go_explore import GoExploreConfig
from ...agents.informed import InformedConfig
from ...agents.mpc import MPCConfig
from ...agents.networks import MLPConfig, SmallConvConfig
from ...agents.ppo import PPOConfig
from ...agents.pqn import PQNConfig
from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import did_you_mean
from ...envs.atari.protocol import PROTOCOLS
from ...envs.errors import UsageError
from ...envs.minatar import MinAtarConfig
from ...world_models.density.pixelcnn import PixelCNNConfig
from ...world_models.latents.binary_vae import BinaryVAEConfig
from ...world_models.planning.figar import FiGARConfig
from ...world_models.planning.straw import STRAWConfig, STRAWeConfig
from ...world_models.prediction.rssm import SMALL_RSSM
from ...world_models.representation.variational import VariationalConfig
from .experiment import Experiment

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

# Kostrikov et al. 2020, DrQ, without the change of intensity, and with the lower epsilon of Agarwal
# et al. 2021: the settings of Dopamine's DrQ_eps.
DRQ = replace(
    SHORT,
    agent=DQNConfig(
        dueling=True,
        n_step=10,
        monte_carlo_weight=0.0,
        end_epsilon=0.01,
        exploration_steps=5_000,
        buffer_size=100_000,
        learning_starts=1_600,
        replay_ratio=1.0,
        target_network_frequency=1,
        random_shift=4,
        learning_rate=1e-4,
    ),
    num_envs=1,
)

# Huang et al. 2022, as CleanRL's ppo_atari: 8 envs, 40 million frames.
PPO = Experiment(
    PPOConfig(), AtariConfig(protocol=PROTOCOLS["nature"]), total_timesteps=10_000_000, num_envs=8
)

# Burda et al. 2018, with the settings of CleanRL's ppo_rnd_envpool. The network is that of PPO, and
# an episode is a game with sticky actions, as in the paper, where CleanRL's ends with a life.
PPO_RND = Experiment(
    PPOConfig(
        intrinsic_value=True,
        gamma=0.999,
        ent_coef=0.001,
        learning_rate=1e-4,
        anneal_steps=2_000_000_000,
    ),
    AtariConfig("montezuma_revenge", PROTOCOLS["machado"]),
    RNDConfig(initial_frames=50 * 128 * 128, update_every=128 * 128),
    total_timesteps=2_000_000_000,
    num_envs=128,
)

# Gallici et al. 2024: 128 envs, 200 million frames.
PQN = Experiment(
    PQNConfig(), AtariConfig(protocol=PROTOCOLS["nature"]), total_timesteps=50_000_000, num_envs=128
)

# Obando-Ceron & Castro 2021, "Revisiting Rainbow": their DQN of MinAtar with Adam. The network is
# that of Young & Tian 2019.
DQN_MINATAR = Experiment(
    DQNConfig(
        network=SmallConvConfig(),
        double_q=False,
        monte_carlo_weight=0.0,
        reward_clip=None,
        end_epsilon=0.01,
        exploration_steps=250_000,
        buffer_size=100_000,
        learning_starts=1_000,
        target_network_frequency=1_000,
        learning_rate=2.5e-4,
    ),
    MinAtarConfig(),
    num_envs=4,
)

# Lange 2022, gymnax, whose published agents of MinAtar have these settings.
PPO_MINATAR = Experiment(
    PPOConfig(
        network=MLPConfig((256, 256)),
        separate_critic=True,
        num_steps=128,
        num_minibatches=8,
        gamma=0.999,
        reward_clip=None,
        clip_coef=0.2,
        learning_rate=5e-4,
        anneal_steps=0,
    ),
    MinAtarConfig(),
    total_timesteps=10_000_000,
    num_envs=64,
)


EXAMPLE = "reverie train ppo --game pong --total-timesteps 200000"

PRESETS: dict[str, Experiment] = {
    "mfec": Experiment(),
    "mfec-vae": Experiment(MFECConfig(representation=VariationalConfig())),
    "mfec-beta-vae": Experiment(MFECConfig(representation=VariationalConfig(beta=4.0))),
    "mfec-binary-vae": Experiment(
        MFECConfig(representation=VariationalConfig.of(BinaryVAEConfig()))
    ),
    "mfec-vae-published": Experiment(
        MFECConfig(
            representation=VariationalConfig(optimizer="rmsprop", learning_rate=1e-5),
            fit_after=1_000_000,
            fit_updates=400_000,
            fit_batch_size=100,
        ),
        total_timesteps=10_000_000,
    ),
    # Pritzel et al. 2017: stacks of 4 frames, which their MFEC has, too; no sticky actions. Returns
    # end with a life, as in Kaixhin/EC.
    "nec": Experiment(
        NECConfig(),
        AtariConfig(protocol=replace(PROTOCOLS["mfec"], stack=4, life_loss=True)),
        num_envs=8,
    ),
    # Long et al. 2022: 100,000 steps (Kaiser et al. 2020).
    "nait": Experiment(
        NAITConfig(),
        AtariConfig(protocol=PROTOCOLS["atari100k"]),
        total_timesteps=100_000,
        num_envs=8,
    ),
    "dqn": DQN,
    "dqn-cts": replace(DQN, bonus=PseudoCountConfig()),
    # Ostrovski et al. 2017: bonuses of up to 10, their sum with the reward clipped to [-1, 1].
    "dqn-pixelcnn": replace(
        DQN,
        agent=DQNConfig(total_clip=1.0),
        bonus=PseudoCountConfig(density=PixelCNNConfig(), form="gain"),
    ),
    "dqn-simhash": replace(DQN, bonus=SimHashConfig()),
    "dqn-surprise": replace(DQN, bonus=SurpriseConfig()),
    "ppo": PPO,
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
    "ppo-rnd": PPO_RND,
    "pqn": PQN,
    "pqn-cts": replace(PQN, bonus=PseudoCountConfig()),
    "figar": replace(PPO, agent=PPOConfig(planner=FiGARConfig())),
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
    "dqn-minatar": DQN_MINATAR,
    "ppo-minatar": PPO_MINATAR,
    "dqn-short": SHORT,
    "drq": DRQ,
    "dyna": replace(SHORT, agent=DynaConfig(inner=SHORT.agent)),
    # Hafner et al. 2023 learn an actor and a critic in latent dreams; here PPO does, whose rollout
    # is a round of dreams.
    "dyna-rssm": replace(
        SHORT,
        agent=DynaConfig(
            SMALL_RSSM,
            inner=PPOConfig(
                network=MLPConfig((256, 256)),
                num_steps=16,
                num_minibatches=8,
                clip_coef=0.2,
                learning_rate=3e-4,
                anneal_steps=0,
            ),
            dreams="latent",
            imagination_envs=256,
        ),
    ),
    "mpc": replace(SHORT, agent=MPCConfig()),
    "go-explore": Experiment(GoExploreConfig(), AtariConfig(protocol=PROTOCOLS["deterministic"])),
    "dqn-informed": replace(
        SHORT, agent=InformedConfig(inner=SHORT.agent, exploration_steps=20_000)
    ),
}


def take_preset(argv: list[str]) -> tuple[str, list[str]]:
    """Return the preset that the arguments begin with, and the others; raises UsageError."""
    if not argv or argv[0].startswith("-"):
        raise UsageError(f"Name a preset first: {', '.join(PRESETS)}. For example: {EXAMPLE}")
    if ":" in argv[0]:
        raise UsageError(
            f"{argv[0]} chooses a part of a preset; name the preset before it, whose env and other "
            f"settings stay: dqn {argv[0]}."
        )
    if argv[0] not in PRESETS:
        hint = did_you_mean(argv[0], PRESETS) or f" The presets are {', '.join(PRESETS)}."
        raise UsageError(f"There is no preset '{argv[0]}'.{hint}")
    return argv[0], argv[1:]
