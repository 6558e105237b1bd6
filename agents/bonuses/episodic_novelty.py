"""Episodic novelty of Never Give Up (NGU), Badia et al. 2020: what an episode has not yet shown.

Each env remembers the keys of its episode. A frame pays the less, the more of its nearest neighbors
are near (section 2 and algorithm 1). What was seen in other episodes does not matter, so that the
bonus never vanishes; the life-long modulator of the paper is left out.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ...envs.checks import above, at_least, check
from ...envs.errors import UsageError
from ...envs.interface import EnvSpec, TimeStep, Transition
from ...world_models.interface import Representation, RepresentationConfig
from ...world_models.precision import FLOAT32, Precision
from ...world_models.representation.projection import ProjectionConfig
from ...world_models.state import HasState
from ..episodic.key_storage import grown
from .bonus import BonusConfig, bonus_of_next, check_finite


@dataclass(frozen=True)
class EpisodicNoveltyConfig(BonusConfig):
    """Episodic novelty with the settings of NGU."""

    in_order = False

    representation: RepresentationConfig = ProjectionConfig()
    """The encoder of frames as keys, one that needs no training."""
    scale: float = 0.3
    """Scale of the bonus, beta; NGU's actors have 0 to 0.3."""
    num_neighbors: int = 10
    """k of the nearest-neighbor search."""
    capacity: int = 5_000
    """Keys of an episode that an env remembers, the newest ones; NGU's is 30,000."""
    kernel_epsilon: float = 1e-3
    """epsilon of the kernel."""
    cluster_distance: float = 0.008
    """Squared distance, in units of the mean one, below which two frames are the same."""
    kernel_constant: float = 1e-3
    """c, which is added to the similarity and bounds the bonus."""
    max_similarity: float = 8.0
    """Similarity above which the bonus is 0."""

    def __post_init__(self) -> None:
        check(self, "bonus", at_least(1), "num_neighbors", "capacity")
        check(self, "bonus", at_least(0), "scale", "cluster_distance", "max_similarity")
        check(self, "bonus", above(0), "kernel_epsilon", "kernel_constant")
        if self.representation.trainable:
            name = type(self.representation).__name__.removesuffix("Config")
            raise UsageError(
                f"bonus.representation is {name}, which has to be trained, and bonus:episodic does "
                "not train it; choose bonus.representation:projection or true-state."
            )

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "EpisodicNovelty":
        representation, columns = self.representation.build_for(
            spec, newest=True, seed=seed, device=device, precision=precision
        )
        return EpisodicNovelty(self, spec, representation, columns, device=device)


class EpisodicNovelty(HasState):
    """A bonus of scale / (sqrt(sum_i K(f(x), f_i)) + c) for the nearest keys f_i of the episode.

        K(f, f_i) = epsilon / (d + epsilon),  d = max(|f - f_i|^2 / m - xi, 0)

    m is the mean squared distance of a key to its nearest ones so far, in all envs, and xi is
    ``cluster_distance``. Where c plus the root is above ``max_similarity`` the bonus is 0. The
    memory of an env is emptied at an episode's first observation, which is remembered too. Raises
    NumericalError if the bonus is not finite.
    """

    STATE = ("representation", "memory", "mean_distance")

    def __init__(
        self,
        config: EpisodicNoveltyConfig,
        spec: EnvSpec,
        representation: Representation,
        columns: list[int] | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.representation, self.columns = config, representation, columns
        self.memory = EpisodeKeys(spec.num_envs, representation.dim, config.capacity, device)
        self.mean_distance = MeanDistance()

    def __call__(self, t: Transition) -> Float[Tensor, " N"]:
        first = t.step.first.cpu()
        if first.any():
            envs = first.nonzero()[:, 0]
            self.memory.clear(envs)
            self.memory.append(envs, self.representation.encode(self._encoded(t.step)[first]))
        valid = t.valid.cpu()
        inputs = self._encoded(t.next_step)
        return bonus_of_next(t, inputs, lambda x: self.observe(x, valid))

    def observe(
        self, inputs: UInt8[Tensor, "n K H W"], valid: Bool[Tensor, " N"]
    ) -> Float[Tensor, " n"]:
        """Return the bonus of each frame, and remember it in its env, one of the valid ones.

        Raises NumericalError if the bonus is not finite.
        """
        envs, keys = valid.nonzero()[:, 0], self.representation.encode(inputs)
        distances = self.memory.nearest(envs, keys, self.config.num_neighbors)
        self.memory.append(envs, keys)
        bonus = self.config.scale * self.novelty(distances)
        return check_finite(bonus, "episodic novelty")

    def novelty(self, distances: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        """Return the unscaled bonus at the squared distances of the nearest keys, +inf for none."""
        config = self.config
        mean = self.mean_distance.update(distances[distances.isfinite()])
        excess = (distances / mean - config.cluster_distance).clamp(min=0)
        kernel = config.kernel_epsilon / (excess + config.kernel_epsilon)
        similarity = kernel.sum(1).sqrt() + config.kernel_constant
        return torch.where(similarity > config.max_similarity, 0.0, 1 / similarity)

    def _encoded(self, step: TimeStep) -> UInt8[Tensor, "N K H W"]:
        """Return what keys are codes of: newest frames, or true states as images of one row."""
        if self.columns is None:
            return step.frame
        return step.state_image(self.columns).to(step.frame.device)


class MeanDistance(HasState):
    """The mean of all squared distances to nearest keys so far."""

    STATE = ("total", "count")

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, distances: Float[Tensor, " m"]) -> float:
        """Take the distances into the mean and return it; 1 while all of them are 0."""
        self.total += float(distances.sum())
        self.count += len(distances)
        return self.total / self.count if self.total else 1.0


class EpisodeKeys:
    """Up to ``capacity`` keys of the present episode of each env; new ones replace the oldest.

    An env has so few keys that their distances are computed as they are defined, without an index:
    those of equal keys are 0.
    """

    def __init__(
        self, num_envs: int, dim: int, capacity: int, device: torch.device | str = "cpu"
    ) -> None:
        self.capacity = capacity
        self.keys = torch.empty(num_envs, 0, dim, device=device)
        self.counts = [0] * num_envs
        """Number of keys of each env since its episode began."""

    @property
    def sizes(self) -> list[int]:
        """Number of keys that each env remembers."""
        return [min(count, self.capacity) for count in self.counts]

    def clear(self, envs: Int64[Tensor, " n"]) -> None:
        """Discard the keys of these envs."""
        for env in envs.tolist():
            self.counts[env] = 0

    def append(self, envs: Int64[Tensor, " n"], keys: Float[Tensor, "n D"]) -> None:
        """Store one key in each of these envs."""
        rows = [self.counts[env] % self.capacity for env in envs.tolist()]
        if (num_rows := self.keys.shape[1]) <= max(rows):
            self.keys = grown(self.keys, min(max(2 * num_rows, 64), self.capacity))
        self.keys[envs.to(keys.device), torch.tensor(rows, device=keys.device)] = keys
        for env in envs.tolist():
            self.counts[env] += 1

    def nearest(
        self, envs: Int64[Tensor, " n"], keys: Float[Tensor, "n D"], k: int
    ) -> Float[Tensor, "n k"]:
        """Return squared distances of each key to its env's nearest ones, +inf for none."""
        found, sizes = keys.new_full((len(keys), k), torch.inf), self.sizes
        for row, (env, key) in enumerate(zip(envs.tolist(), keys, strict=True)):
            distances = (self.keys[env, : sizes[env]] - key).square().sum(1)
            nearest = distances.topk(min(k, sizes[env]), largest=False).values
            found[row, : len(nearest)] = nearest
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return the keys remembered."""
        rows = zip(self.keys, self.sizes, strict=True)
        return {"counts": list(self.counts), "keys": [x[:size].clone() for x, size in rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the keys remembered."""
        self.counts = list(state["counts"])
        self.keys = grown(self.keys, max(self.keys.shape[1], *self.sizes, 1))
        for rows, keys in zip(self.keys, state["keys"], strict=True):
            rows[: len(keys)] = keys
