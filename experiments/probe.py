"""What a key knows: a linear probe from frozen keys to where the player is.

The player's position is read from the console's memory, which no representation sees; a probe is
fitted on some streams' play and judged on others' (Anand et al. 2019, section 4).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from agents.loop import interact
from agents.policies import RandomPolicy
from envs.atari import AtariConfig
from envs.errors import UsageError
from envs.stream import Stream
from experiments.visits import Followed

PLAYER: dict[str, tuple[int, int]] = {
    "ms_pacman": (10, 16),
    "frostbite": (102, 100),
    "qbert": (43, 67),
}
"""Addresses of the player's x and y in the console's memory, as in the AtariARI annotations of
Anand et al. 2019 ("Unsupervised State Representation Learning in Atari"). A test plays to them."""

Encode = Callable[[UInt8[Tensor, "B K H W"]], Float[Tensor, "B D"]]


@dataclass(frozen=True, slots=True)
class Places:
    """Looks, where the player was in each, and the stream each is of."""

    looks: UInt8[Tensor, "M K H W"]
    position: Float[Tensor, "M 2"]
    stream: Tensor


def play(env: AtariConfig, ticks: int, *, streams: int = 8, seed: int = 1) -> Places:
    """Random play, each stream followed by a shadow; raises UsageError for an unknown game."""
    if env.game not in PLAYER:
        raise UsageError(
            f"Where the player is in {env.game} is not known; it is in {', '.join(PLAYER)}."
        )
    stream = Stream(env.build(streams, threads=1), seed=seed, purpose="collect")
    shadows = [Followed(stream, i) for i in range(streams)]
    looks, positions = [], []
    for t in islice(interact(stream, RandomPolicy(stream.spec.num_actions, seed)), ticks):
        for shadow in shadows:
            shadow.step(t)
        looks.append(t.next_step.obs.clone())
        places = [[int(s.shadow.ram[i]) for i in PLAYER[env.game]] for s in shadows]
        positions.append(torch.tensor(places, dtype=torch.float32))
    stream.close()
    return Places(torch.cat(looks), torch.cat(positions), torch.arange(streams).repeat(ticks))


def probe(encode: Encode, places: Places) -> dict[str, float]:
    """R^2 of the player's x and y from keys, judged on the last quarter of the streams."""
    keys = torch.cat([encode(looks) for looks in torch.split(places.looks, 256)])
    judged = places.stream >= 3 * (int(places.stream.max()) + 1) // 4
    fitted = linear_fit(keys[~judged], places.position[~judged], keys[judged])
    truth = places.position[judged]
    unexplained = (truth - fitted).square().sum(0) / (truth - truth.mean(0)).square().sum(0)
    x, y = (1 - unexplained).tolist()
    return {"x": x, "y": y, "mean": (x + y) / 2}


def linear_fit(
    x: Float[Tensor, "B D"],
    y: Float[Tensor, "B C"],
    at: Float[Tensor, "M D"],
    penalty: float = 1e-3,
) -> Float[Tensor, "M C"]:
    """What ridge regression on standardised features says at other points."""
    mean, scale = x.double().mean(0), x.double().std(0).clamp(min=1e-8)
    features, centre = (x.double() - mean) / scale, y.double().mean(0)
    gram = features.T @ features / len(x) + penalty * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, features.T @ (y.double() - centre) / len(x))
    said: Tensor = ((at.double() - mean) / scale) @ weights + centre
    return said.to(y.dtype)
