"""Committed results that were made before a fault was mended or a recipe changed, and what it was.

Delete the entry of a result when it is made again.
"""

PLANNER = (
    "Made before two faults of planners were mended: the policy's loss was averaged over all "
    "timesteps instead of those at which the planner decides, and the value did not depend on the "
    "plan."
)
PLAN_CODE = (
    "Made while the plan code of STRAWe was almost pure noise at first and its KL cost outweighed "
    "the policy's gradient."
)
FIRE = (
    "Made while FIRE was pressed at the start of a game but not after a lost life, so that a "
    "player who does not press it waits for ever."
)
BONUS = (
    "The evaluation is of a greedy, frozen policy, whose action values contain the bonus of the "
    "moment at which training ended."
)
DREAM = (
    "Made before the stack of frames of an imagined env was compared with that of the env it "
    "imagines."
)

RERUNS: dict[str, tuple[str, ...]] = {
    "breakout-ppo": (FIRE,),
    "breakout-figar": (FIRE, PLANNER),
    "breakout-strawe": (FIRE, PLANNER, PLAN_CODE),
    "ms_pacman-figar": (PLANNER,),
    "ms_pacman-strawe": (PLANNER, PLAN_CODE),
    "maze-figar": (PLANNER,),
    "maze-straw": (PLANNER,),
    "maze-straw-cost-0.2": (PLANNER,),
    "maze-strawe": (PLANNER, PLAN_CODE),
    "freeway-dqn-cts": (BONUS,),
    "montezuma_revenge-dqn-cts": (BONUS,),
    "imagination-ppo-pong": (DREAM,),
}
"""Faults by the name of a recipe or of a grid."""

BENCH_RERUNS: dict[str, str] = {
    "watching ": "Measured while the page received binary messages.",
    "import of ": "Measured before the modules of the package were moved.",
    "import reverie": "Measured before the modules of the package were moved.",
}
"""Changes since a row of the benchmark was measured, by the beginning of its name."""
