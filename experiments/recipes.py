"""Recipes: the command behind every learning result in the README, by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """A training command, the seeds it is run with, and how the result is evaluated."""

    train: str
    """What follows ``reverie train``; the seed is added."""
    seeds: tuple[int, ...] = (0, 1, 2)
    episodes: int = 30
    explore: bool = False
    """Whether it is evaluated as it is trained, by draws from its policy."""
    dreams_of: str = ""
    """Game whose predictor is fitted first, where training is in its dreams."""


# Three rooms a side and some loops, seen whole; a segment is many mazes of few ticks.
MAZES = (
    "env:maze agent.network:mlp --streams 256 --steps 3000000 --env.rooms 3 --env.view 9 "
    "--env.loops 0.2 --agent.network.hidden 256 256 --agent.horizon 16 --agent.backprop 16 "
    "--agent.clip 0.2 --agent.value-clip None --agent.learning-rate 1e-3 "
    "--agent.anneal-steps 3000000 --agent.commitment-cost {cost}"
)
STRAW = " --agent.planner.length 10 --agent.planner.filters 5 --agent.planner.reluctance 1"
PLANNERS = {
    "actor-critic": "",
    "action-repeat": " --agent.planner.longest 8",
    "straw": STRAW,
    "strawe": STRAW,
}
"""Planners compared, and their settings for mazes."""

# As long as a processor allows, with a schedule and a replay as short.
COUNTING = (
    "--steps 250000 --agent.capacity 250000 --agent.learning-starts 10000 "
    "--agent.epsilon-steps 100000 --precision bf16 --visit-streams 8"
)

RECIPES: dict[str, Recipe] = {
    "ms_pacman-episodic": Recipe("episodic --game ms_pacman --steps 600000"),
    "ms_pacman-episodic-4-frames": Recipe(
        "episodic --game ms_pacman --env.protocol.stack 4 --steps 600000"
    ),
    **{  # 10 million frames, as published
        f"{game}-episodic{name}-2500k": Recipe(
            f"episodic --game {game} {stack}--steps 2500000", seeds=(0,)
        )
        for game in ("qbert", "ms_pacman")
        for name, stack in (("", ""), ("-4-frames", "--env.protocol.stack 4 "))
    },
    **{  # a lost life ends a return, as in the public re-implementation of the published re-run
        f"{game}-episodic{name}-lives-2500k": Recipe(
            f"episodic --game {game} {stack}--env.protocol.life-loss --steps 2500000", seeds=(0,)
        )
        for game in ("qbert", "ms_pacman")
        for name, stack in (("", ""), ("-4-frames", "--env.protocol.stack 4 "))
    },
    "ms_pacman-episodic-4-frames-lives-sticky-1000k": Recipe(
        "episodic --game ms_pacman --protocol machado --env.protocol.stack 4 "
        "--env.protocol.life-loss --steps 1000000",
        seeds=(0,),
    ),
    "pong-actor-critic": Recipe(
        "actor-critic --game pong --steps 2500000 --agent.anneal-steps 2500000 "
        "--pipeline 2 --precision bf16",
        seeds=(0,),
        explore=True,
    ),
    "pong-actor-critic-quarter": Recipe(  # the first quarter of CleanRL's schedule
        "actor-critic --game pong --steps 2500000 --pipeline 2 --precision bf16",
        seeds=(0,),
        explore=True,
    ),
    **{
        f"{game}-{preset}": Recipe(f"{preset} --game {game} {COUNTING}", seeds=(0, 1), episodes=10)
        for game in ("freeway", "montezuma_revenge")
        for preset in ("dqn", "dqn-cts")
    },
    **{
        f"{game}-{preset}-300k": Recipe(f"{preset} --game {game} --steps 300000", seeds=(0, 1))
        for game in ("ms_pacman", "frostbite")
        for preset in ("episodic", "episodic-vae")
    },
    **{
        f"{game}-{preset}": Recipe(
            f"{preset} --game {game} --steps 300000 --agent.anneal-steps 300000 --precision bf16",
            seeds=(0, 1),
            explore=True,
        )
        for game in ("ms_pacman", "breakout")
        for preset in ("actor-critic", "action-repeat", "strawe")
    },
    **{
        f"ms_pacman-{preset}": Recipe(
            f"{preset} --game ms_pacman --count-states --precision bf16", seeds=(0, 1)
        )
        for preset in ("dqn-short", "dqn-informed")
    },
    "imagination-actor-critic-pong": Recipe(
        "actor-critic env:imagination --env.horizon 50 --streams 64 --agent.horizon 32 "
        "--steps 500000 --agent.anneal-steps 500000 --precision bf16",
        seeds=(0,),
        explore=True,
        dreams_of="pong",
    ),
    **{
        f"maze-{preset}": Recipe(
            f"{preset} {MAZES.format(cost=0.1)}{settings}", seeds=(0,), episodes=256
        )
        for preset, settings in PLANNERS.items()
    },
    "maze-straw-cost-0.2": Recipe(  # plans anew less often
        f"straw {MAZES.format(cost=0.2)}{STRAW}", seeds=(0,), episodes=256
    ),
}

COLLECT = "random --game {game} --frames 100000"
PREDICTORS = {
    "predictor": "predictor:small",
    "no-action": "predictor:small --predictor.no-sees-action",
    "mlp": "predictor:small-mlp",
}
"""What is compared by horizon; each is trained for as many updates on the same frames."""
PREDICTION_RECIPES = {f"{game}-predictors": game for game in ("freeway", "pong")}
