"""The recipes behind the committed results, by name."""

from dataclasses import replace
from typing import Any

from ...agents.networks import MLPConfig
from ...agents.ppo import PPOConfig
from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS
from ...envs.maze import MazeConfig
from ...envs.minatar import MinAtarConfig
from ...world_models.density.bound import BoundConfig
from ...world_models.density.made import MADEConfig
from ...world_models.density.pixelcnn import PixelCNNConfig
from ...world_models.interface import PlannerConfig
from ...world_models.latents.binary_vae import BinaryVAEConfig
from ...world_models.latents.draw import DRAWConfig
from ...world_models.latents.vae import VAEConfig
from ...world_models.planning.figar import FiGARConfig
from ...world_models.planning.reactive import ReactiveConfig
from ...world_models.planning.straw import STRAWConfig, STRAWeConfig
from ...world_models.representation.variational import VariationalConfig
from ..config.experiment import Experiment
from ..config.presets import PRESETS
from ..config.roles import choose_all
from ..evaluation.run_evaluation import Evaluation
from ..reporting.atari_subsets import SUBSETS
from ..sessions.options import TrainOptions
from ..training.imagined_env import ImaginationConfig
from ..training.representations import RepresentationPretraining
from .amortization_benchmark import AmortizationBenchmark
from .compression_benchmark import CompressionBenchmark
from .constant_action_benchmark import ConstantActions
from .deep_sea_agents import DEEP_SEA_CURVES
from .endurance import KillStorm, Soak
from .exploration_benchmark import ExplorationBenchmark
from .fashion_mnist import FashionMNIST
from .one_shot_benchmark import OneShotBenchmark
from .prediction_benchmark import PredictorBenchmark
from .probe_benchmark import ProbeBenchmark
from .recipe import Recipe
from .representation_benchmark import RepresentationBenchmark
from .rounds_benchmark import IMAGINED_ROUNDS
from .sb3_exploration import SB3Exploration
from .sprite_counting import SpriteCounting
from .training_recipe import TrainingRecipe
from .verdict_errors import VerdictErrors

BF16 = TrainOptions(precision="bf16")
STOCHASTIC = Evaluation(stochastic=True)
BINARY_CELLS = VariationalConfig.of(BinaryVAEConfig(size=24))
"""Whose codes of bits are the cells of an archive."""
STRAW = STRAWConfig(length=10, filters=5, initial_replan_logit=-1.0)
STRAWE = STRAWeConfig(length=10, filters=5, initial_replan_logit=-1.0)


def in_game(preset: str, game: str, steps: int = 0, **agent: Any) -> Experiment:
    """Return a preset in a game, with other settings of its agent and, if given, its length."""
    base = PRESETS[preset]
    env = replace(base.env, game=game)  # type: ignore[call-arg]
    steps = steps or base.total_timesteps
    return replace(base, env=env, agent=replace(base.agent, **agent), total_timesteps=steps)


def mfec(game: str, steps: int, protocol: str = "mfec", **settings: Any) -> TrainingRecipe:
    """Return a recipe of episodic control under a variation of a protocol."""
    env = AtariConfig(game, replace(PROTOCOLS[protocol], **settings))
    return TrainingRecipe("mfec", Experiment(env=env, total_timesteps=steps), seeds=(0,))


def two_values(bonus: str) -> Experiment:
    """Return PPO in Montezuma's Revenge with a bonus whose value is estimated apart."""
    agent = {"intrinsic_value": True, "gamma": 0.999, "ent_coef": 0.001, "anneal_steps": 1_000_000}
    base = in_game("ppo", "montezuma_revenge", 1_000_000, **agent)
    base = replace(base, env=AtariConfig("montezuma_revenge", PROTOCOLS["machado"]))
    return choose_all(base, [f"bonus:{bonus}"])


def maze(preset: str, planner: PlannerConfig, *, replan_coef: float = 0.1) -> TrainingRecipe:
    """Return a recipe in mazes of 3 x 3 rooms and some loops, fully observed.

    Rollouts are of many envs and few timesteps.
    """
    agent = PPOConfig(
        network=MLPConfig(hidden=(256, 256)),
        planner=planner,
        replan_coef=replan_coef,
        bptt_length=16,
        num_steps=16,
        clip_coef=0.2,
        clip_vloss=False,
        learning_rate=1e-3,
        anneal_steps=3_000_000,
    )
    env = MazeConfig(rooms=3, view=9, loops=0.2)
    experiment = Experiment(agent, env, num_envs=256, total_timesteps=3_000_000)
    return TrainingRecipe(preset, experiment, seeds=(0,), evaluation=Evaluation(episodes=256))


LONG_PONG = TrainingRecipe(
    "ppo",
    in_game("ppo", "pong", 2_500_000, anneal_steps=2_500_000),
    TrainOptions(pipeline=2, precision="bf16"),
    seeds=(0,),
    evaluation=STOCHASTIC,
)

# Short enough for a CPU, with a shorter exploration schedule and a smaller replay buffer.
SHORT_DQN = {"buffer_size": 250_000, "learning_starts": 10_000, "exploration_steps": 100_000}

# A short run in which every part of a checkpoint changes.
KILLED = replace(
    in_game("dqn-cts", "pong", 6000, buffer_size=4000, learning_starts=300, batch_size=4),
    env=AtariConfig("pong", replace(PROTOCOLS["machado"], frames_cap=400)),
    num_envs=2,
)

# Runs whose tables and replay buffers are full before memory is measured.
SOAKED = {
    "mfec": in_game("mfec", "ms_pacman", capacity=5000),
    "dqn-cts": in_game("dqn-cts", "pong", buffer_size=8000, learning_starts=1000),
    "ppo": in_game("ppo", "pong"),
}

PREDICTORS = {
    f"{game}-predictors": PredictorBenchmark(AtariConfig(game)) for game in ("freeway", "pong")
}

# Bounds are evidence lower bounds of one code, as are those of others.
ELBO = BoundConfig(alpha=1.0, samples=1, learning_rate=1e-3)
FASHION_MNIST = FashionMNIST(
    {
        "made": MADEConfig(hidden=4000, learning_rate=1e-3),
        "pixel-cnn": PixelCNNConfig(maps=32, blocks=6, position=True, learning_rate=3e-3),
        "vae": replace(ELBO, latent=VAEConfig()),
        "draw": replace(ELBO, latent=DRAWConfig()),
        "draw without attention": replace(ELBO, latent=DRAWConfig(attention=False)),
    }
)

RECIPES: dict[str, Recipe] = {
    "ms_pacman-mfec-4-frames": replace(mfec("ms_pacman", 600_000, stack=4), seeds=(0, 1, 2)),
    "qbert-mfec-4-frames-2500k": mfec("qbert", 2_500_000, stack=4),  # as long as published
    **{  # a lost life ends a return, as in the public re-implementation of the published re-run
        f"{game}-mfec-4-frames-lives-2500k": mfec(game, 2_500_000, stack=4, life_loss=True)
        for game in ("qbert", "ms_pacman")
    },
    "ms_pacman-mfec-4-frames-lives-sticky-1000k": mfec(
        "ms_pacman", 1_000_000, "machado", stack=4, life_loss=True
    ),
    **{
        f"{game}-mfec-1000k": replace(
            mfec(game, 1_000_000, stack=4, life_loss=True), seeds=(0, 1, 2)
        )
        for game in SUBSETS["Atari-3"]
    },
    **{  # with the schedule of epsilon and of the learning rate over the whole run
        f"{game}-pqn-1000k": TrainingRecipe(
            "pqn",
            in_game("pqn", game, 1_000_000, exploration_steps=100_000, anneal_steps=1_000_000),
            BF16,
            seeds=(0, 1, 2),
        )
        for game in SUBSETS["Atari-3"]
    },
    "pong-ppo": LONG_PONG,
    # The first quarter of CleanRL's schedule.
    "pong-ppo-quarter": replace(LONG_PONG, experiment=in_game("ppo", "pong", 2_500_000)),
    **{
        f"{game}-{preset}": TrainingRecipe(
            preset,
            in_game(preset, game, 250_000, **SHORT_DQN),
            replace(BF16, count_rooms=True),
            evaluation=Evaluation(episodes=10),
            training_score=True,
        )
        for game in ("freeway", "montezuma_revenge")
        for preset in ("dqn", "dqn-cts")
    },
    **{  # with two values, as in ppo-rnd; few envs and short schedules, for a CPU
        f"montezuma_revenge-ppo-{bonus}-1000k": TrainingRecipe(
            "ppo",
            two_values(bonus),
            replace(BF16, count_rooms=True),
            seeds=(0, 1, 2),
            evaluation=Evaluation(episodes=10, stochastic=True),
            training_score=True,
            variation=bonus,
        )
        for bonus in ("none", "pseudo-count", "rnd", "episodic")
    },
    **{
        f"{game}-{preset}-300k": TrainingRecipe(preset, in_game(preset, game, 300_000))
        for game in ("ms_pacman", "frostbite")
        for preset in ("mfec", "mfec-vae")
    },
    **{
        f"ms_pacman-{preset}": TrainingRecipe(
            preset, in_game(preset, "ms_pacman"), replace(BF16, count_states=True)
        )
        for preset in ("dqn-short", "dqn-informed")
    },
    **{
        f"{game}-drq": TrainingRecipe("drq", in_game("drq", game), BF16, seeds=(0, 1, 2))
        for game in ("ms_pacman", "pong", "frostbite")
    },
    "imagination-ppo-pong": TrainingRecipe(
        "ppo",
        Experiment(
            PPOConfig(num_steps=32, anneal_steps=500_000),
            ImaginationConfig(horizon=50),
            num_envs=64,
            total_timesteps=500_000,
        ),
        BF16,
        seeds=(0,),
        evaluation=STOCHASTIC,
        imagination=PREDICTORS["pong-predictors"],
    ),
    **IMAGINED_ROUNDS,
    "maze-ppo": maze("ppo", ReactiveConfig()),
    "maze-figar": maze("figar", FiGARConfig(max_repetitions=8)),
    "maze-straw": maze("straw", STRAW),
    "maze-strawe": maze("strawe", STRAWE),
    # Replans less often.
    "maze-straw-cost-0.2": replace(maze("straw", STRAW, replan_coef=0.2), variation="cost-0.2"),
    **PREDICTORS,
    **{
        f"representations-{game}": RepresentationBenchmark(game)
        for game in ("ms_pacman", "frostbite", "qbert")
    },
    "probes": ProbeBenchmark(
        ("pong", "ms_pacman", "freeway"),
        {"beta-vae": PRESETS["mfec-beta-vae"].agent.representation},  # type: ignore[attr-defined]
    ),
    "amortization": AmortizationBenchmark(("pong", "ms_pacman")),
    "one-shot": OneShotBenchmark(),
    "compression": CompressionBenchmark(("pong", "ms_pacman", "freeway")),
    "fashion-mnist": FASHION_MNIST,
    "fashion-mnist-static": replace(FASHION_MNIST, binarization="static"),
    "constant-actions": ConstantActions(
        {
            "freeway": ("machado",),
            "breakout": ("nature",),
            "frostbite": ("mfec",),
            "ms_pacman": ("mfec", "nature", "machado", "atari100k"),
            "pong": ("mfec", "nature"),
            "qbert": ("mfec",),
            "montezuma_revenge": ("machado",),
        }
    ),
    "minatar-breakout-dqn-minatar": TrainingRecipe(
        "dqn-minatar", PRESETS["dqn-minatar"], seeds=(0,), evaluation=Evaluation(episodes=100)
    ),
    **{  # the games of gymnax, whose agents have these settings: nothing sticks, and episodes end
        f"minatar-{game}-ppo-minatar": TrainingRecipe(
            "ppo-minatar",
            replace(
                PRESETS["ppo-minatar"],
                env=MinAtarConfig(game, 0.0, minimal_actions=True, max_episode_steps=1_000),
            ),
            seeds=(0, 1, 2),
            evaluation=Evaluation(episodes=164, stochastic=True),
        )
        for game in ("breakout", "asterix")
    },
    "montezuma_revenge-go-explore": ExplorationBenchmark(
        "go-explore", in_game("go-explore", "montezuma_revenge")
    ),
    "montezuma_revenge-go-explore-300k": ExplorationBenchmark(
        "go-explore", in_game("go-explore", "montezuma_revenge", 300_000), seeds=(0, 1, 2, 3, 4)
    ),
    "montezuma_revenge-go-explore-vae-300k": ExplorationBenchmark(
        "go-explore",
        in_game("go-explore", "montezuma_revenge", 300_000, resolution=1.0),
        seeds=(0, 1, 2, 3, 4),
        pretraining=RepresentationPretraining(
            representation=BINARY_CELLS, num_updates=500, batch_size=32
        ),
    ),
    **DEEP_SEA_CURVES,
    "deep-sea-sb3": SB3Exploration(),
    "count-sprites": SpriteCounting(),
    "verdict-errors": VerdictErrors(),
    "kill-storm": KillStorm(KILLED),
    "soak": Soak(SOAKED),
}
