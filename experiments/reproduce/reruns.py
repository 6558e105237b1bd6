"""Committed results that were made before a fault was mended or a recipe changed, and what it was.

Delete the entry of a result when it is made again.
"""

BONUS = (
    "The evaluation is of a greedy, frozen policy, whose action values contain the bonus of the "
    "moment at which training ended."
)
DREAM = (
    "Made before the stack of frames of an imagined env was compared with that of the env it "
    "imagines."
)

MEAN_FRAME = (
    "Made while the mean frame of a predictor could hold frames after the end of an episode, and "
    "the attention of the diffusion model began with a random bias."
)
EPISODES = (
    "Made while all agents of a grid were evaluated on the same episodes; how much a difference "
    "depends on these is not part of its interval."
)
GREEDY = (
    "Evaluated by the mode of each policy, which without a plan can repeat a loop until an episode "
    "times out; the recipe evaluates as trained."
)
SHARED = "Made while the policy and the critic of ppo-minatar shared their features."

EXPLORATION = (
    "The score is the mean return of training, in which the agents with a model explore for more "
    "real steps than the baseline."
)

RERUNS: dict[str, tuple[str, ...]] = {
    "freeway-dqn-cts": (BONUS,),
    "montezuma_revenge-dqn-cts": (BONUS,),
    "imagination-ppo-pong": (DREAM,),
    "catch-dreams": (MEAN_FRAME, EXPLORATION),
    "catch-imagined": (MEAN_FRAME,),
    "minatar-breakout-ppo-minatar": (SHARED,),
    "maze-3": (GREEDY, EPISODES),
    "mfec-choices": (EPISODES,),
    "mfec-frames": (EPISODES,),
    "mfec-settings": (EPISODES,),
    "minatar-keys": (EPISODES,),
}
"""Faults by the name of a recipe or of a grid."""

BENCH_RERUNS: dict[str, str] = {
    "watching ": "Measured while the page received binary messages.",
    "import of ": "Measured before the modules of the package were moved.",
    "training ppo-minatar": SHARED,
    "parts of ppo-minatar": SHARED,
    "import reverie": "Measured before the modules of the package were moved.",
}
"""Changes since a row of the benchmark was measured, by the beginning of its name."""
