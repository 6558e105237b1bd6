"""NAIT, "Nonparametric Approximation of Inter-Trace returns" (Long, Blair & van Hoof 2022).

"Fast and Data Efficient Reinforcement Learning from Pixels via Non-Parametric Value Approximation".
It is episodic control with other settings. Of the paper, these parts are implemented:

- keys are fixed features that know nothing of the game: low frequencies of a discrete cosine
  transform of the frames;
- every visit of a state and action is an entry of its own, of which a state keeps k, and Q is the
  kernel-weighted mean of the returns of its nearest entries, computed when it is needed;
- while an episode is ongoing, its entries hold their rewards so far and then max_a Q of its newest
  state; when it has ended they hold its returns, so that the update is that of Monte-Carlo control;
- actions whose nearest entries are distant are explored.

The paper's abstract states these. How often entries are updated, the form of the bonus, which is
that of ``NeighborTables.remoteness``, and the transform's size are this project's. The kernel, its
width, the number of neighbors, the discount and traces that end with a life are those of an earlier
repository of the first author, AlexanderJLong/model-free-episodic-control. Its approximate search
in a proximity graph is replaced by our exact one.
"""

from dataclasses import dataclass
from typing import Literal

from ...world_models.interface import RepresentationConfig
from ...world_models.representation.dct import DCTConfig
from .kernels import Kernel
from .mfec import MFECConfig


@dataclass(frozen=True)
class NAITConfig(MFECConfig):
    """Episodic control whose entries are visits, with bootstrapped returns of unfinished episodes.

    The settings are those of ``agent:mfec``; their defaults are of 100,000 steps of Atari.
    """

    num_neighbors: int = 8
    """k of the search, and the visits that a state and action keep."""
    gamma: float = 0.95
    """Discount factor per agent step."""
    kernel: Kernel = "laplace"
    """Weights of the neighbors' returns by their distance."""
    update: Literal["max", "average", "append"] = "append"
    """What the return of a stored state and action becomes at a visit: here, one more entry."""
    store_at_lost_life: bool = True
    """Let an episode end when a life is lost, where the protocol sets its discount to 0."""
    bootstrap_every: int = 50
    """Timesteps of an unfinished episode after which it is stored with an estimate of the rest."""
    epsilon: float = 0.0
    """Probability of a random action during training."""
    distance_bonus: float = 0.5
    """What is added to an estimate for neighbors at a mean distance, in standard deviations."""
    capacity: int = 100_000
    """Maximum number of entries per action."""
    representation: RepresentationConfig = DCTConfig()
    """The encoder of observations as keys."""
