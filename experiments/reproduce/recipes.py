"""Recipes: the commands behind the committed learning results, by name."""

from dataclasses import dataclass, replace

from ...world_models.prediction.feedforward import SMALL
from ...world_models.prediction.mlp import SMALL_MLP
from ..training.predictors import PredictorPretraining


@dataclass(frozen=True)
class Recipe:
    """A training command, the seeds it is run with, and how the result is evaluated."""

    train: str
    """Arguments of ``reverie train``; the seed is added."""
    seeds: tuple[int, ...] = (0, 1, 2)
    episodes: int = 30
    stochastic: bool = False
    """Whether the agent is evaluated as it acts in training, sampling from its policy."""
    dreams_of: str = ""
    """Game whose predictor is fitted first, if the agent is trained in its imagination."""


# Mazes of 3 x 3 rooms and some loops, fully observed; rollouts of many envs and few timesteps.
MAZES = (
    "env:maze agent.network:mlp --num-envs 256 --total-timesteps 3000000 --env.rooms 3 "
    "--env.view 9 --env.loops 0.2 --agent.network.hidden 256 256 --agent.num-steps 16 "
    "--agent.bptt-length 16 --agent.clip-coef 0.2 --agent.no-clip-vloss "
    "--agent.learning-rate 1e-3 --agent.anneal-steps 3000000 --agent.replan-coef {replan_coef}"
)
STRAW = (
    " --agent.planner.length 10 --agent.planner.filters 5 --agent.planner.initial-replan-logit -1"
)
MAZE_PLANNERS = {
    "ppo": "",
    "figar": " --agent.planner.max-repetitions 8",
    "straw": STRAW,
    "strawe": STRAW,
}
"""Presets compared in mazes, with the settings of their planners."""

# Short enough for a CPU, with a shorter exploration schedule and a smaller replay buffer.
SHORT_DQN = (
    "--total-timesteps 250000 --agent.buffer-size 250000 --agent.learning-starts 10000 "
    "--agent.exploration-steps 100000 --precision bf16 --visit-envs 8"
)

RECIPES: dict[str, Recipe] = {
    "ms_pacman-mfec": Recipe("mfec --game ms_pacman --total-timesteps 600000"),
    "ms_pacman-mfec-4-frames": Recipe(
        "mfec --game ms_pacman --env.protocol.stack 4 --total-timesteps 600000"
    ),
    **{  # 10 million frames, as published
        f"{game}-mfec{name}-2500k": Recipe(
            f"mfec --game {game} {stack}--total-timesteps 2500000", seeds=(0,)
        )
        for game in ("qbert", "ms_pacman")
        for name, stack in (("", ""), ("-4-frames", "--env.protocol.stack 4 "))
    },
    **{  # a lost life ends a return, as in the public re-implementation of the published re-run
        f"{game}-mfec{name}-lives-2500k": Recipe(
            f"mfec --game {game} {stack}--env.protocol.life-loss --total-timesteps 2500000",
            seeds=(0,),
        )
        for game in ("qbert", "ms_pacman")
        for name, stack in (("", ""), ("-4-frames", "--env.protocol.stack 4 "))
    },
    "ms_pacman-mfec-4-frames-lives-sticky-1000k": Recipe(
        "mfec --game ms_pacman --protocol machado --env.protocol.stack 4 "
        "--env.protocol.life-loss --total-timesteps 1000000",
        seeds=(0,),
    ),
    "pong-ppo": Recipe(
        "ppo --game pong --total-timesteps 2500000 --agent.anneal-steps 2500000 "
        "--pipeline 2 --precision bf16",
        seeds=(0,),
        stochastic=True,
    ),
    "pong-ppo-quarter": Recipe(  # the first quarter of CleanRL's schedule
        "ppo --game pong --total-timesteps 2500000 --pipeline 2 --precision bf16",
        seeds=(0,),
        stochastic=True,
    ),
    **{
        f"{game}-{preset}": Recipe(f"{preset} --game {game} {SHORT_DQN}", seeds=(0, 1), episodes=10)
        for game in ("freeway", "montezuma_revenge")
        for preset in ("dqn", "dqn-cts")
    },
    **{
        f"{game}-{preset}-300k": Recipe(
            f"{preset} --game {game} --total-timesteps 300000", seeds=(0, 1)
        )
        for game in ("ms_pacman", "frostbite")
        for preset in ("mfec", "mfec-vae")
    },
    **{
        f"{game}-{preset}": Recipe(
            f"{preset} --game {game} --total-timesteps 300000 --agent.anneal-steps 300000 "
            "--precision bf16",
            seeds=(0, 1),
            stochastic=True,
        )
        for game in ("ms_pacman", "breakout")
        for preset in ("ppo", "figar", "strawe")
    },
    **{
        f"ms_pacman-{preset}": Recipe(
            f"{preset} --game ms_pacman --count-states --precision bf16", seeds=(0, 1)
        )
        for preset in ("dqn-short", "dqn-informed")
    },
    "imagination-ppo-pong": Recipe(
        "ppo env:imagination --env.horizon 50 --num-envs 64 --agent.num-steps 32 "
        "--total-timesteps 500000 --agent.anneal-steps 500000 --precision bf16",
        seeds=(0,),
        stochastic=True,
        dreams_of="pong",
    ),
    **{
        f"maze-{preset}": Recipe(
            f"{preset} {MAZES.format(replan_coef=0.1)}{settings}", seeds=(0,), episodes=256
        )
        for preset, settings in MAZE_PLANNERS.items()
    },
    "maze-straw-cost-0.2": Recipe(  # replans less often
        f"straw {MAZES.format(replan_coef=0.2)}{STRAW}", seeds=(0,), episodes=256
    ),
}

FRAMES, NUM_UPDATES = 100_000, 10_000
PREDICTORS = {
    "predictor": PredictorPretraining(predictor=SMALL),
    "no-action": PredictorPretraining(predictor=replace(SMALL, action_conditional=False)),
    "mlp": PredictorPretraining(predictor=SMALL_MLP),
}
"""Predictors compared by their error at each horizon, each pretrained for ``NUM_UPDATES`` updates
on the same ``FRAMES`` frames of random play."""
PREDICTION_RECIPES = {f"{game}-predictors": game for game in ("freeway", "pong")}
