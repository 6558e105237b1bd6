"""Model-free episodic control (MFEC), Blundell et al. 2016.

Each action has a table of keys, with the highest return that ever followed each of them. The value
of a new state is the mean return of its nearest neighbors. Tables are updated when an episode ends.
"""

from dataclasses import dataclass
from itertools import compress
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...envs import prng
from ...envs.checks import at_least, check, refuse, within
from ...envs.digest import frame_digest
from ...envs.interface import Carry, EnvSpec, Metrics, TimeStep, Transition
from ...world_models.interface import Representation, RepresentationConfig
from ...world_models.precision import FLOAT32, Precision
from ...world_models.representation.projection import ProjectionConfig
from ...world_models.state import HasState
from ..interface import ActOutput, AgentConfig
from ..notices import Notice
from ..policies import epsilon_greedy_with_random_ties
from ..returns import learning_reward, returns_to_go
from .fitting import RepresentationFitter
from .neighbor_tables import Encode, NeighborTables


@dataclass(frozen=True)
class MFECConfig(AgentConfig):
    """Episodic control with the published Atari settings."""

    num_neighbors: int = 11
    """k of the nearest-neighbor search. An action with fewer keys is always tried, so an
    environment with few states needs a small k."""
    gamma: float = 1.0
    """Discount factor per agent step; 1 on Atari, as published."""
    epsilon: float = 0.005
    """Probability of a random action during training, constant."""
    capacity: int = 1_000_000
    """Maximum number of keys per action."""
    representation: RepresentationConfig = ProjectionConfig()
    """The encoder of observations as keys."""
    fit_after: int = 20_000
    """Agent steps of random play before a learned representation is fitted to their frames."""
    fit_updates: int = 4_000
    """Updates of a fit, one per agent step, still of random play; then it is frozen."""
    fit_batch_size: int = 16
    """Frames per update of a fit."""
    refit_every: int = 0
    """Agent steps between later fits, each to the newest ``fit_after`` frames, after which all keys
    are recomputed; 0 for none. The tables then store an observation per key (7 kB on Atari)."""

    def __post_init__(self) -> None:
        check(self, "agent", at_least(1), "num_neighbors")
        check(self, "agent", at_least(1), "fit_after", "fit_updates", "fit_batch_size")
        check(self, "agent", at_least(0), "refit_every")
        check(self, "agent", within(0, 1), "gamma", "epsilon")
        if self.capacity < self.num_neighbors:
            refuse(self, "agent", "capacity", f"num_neighbors ({self.num_neighbors}) or more")

    @property
    def no_bonus_reason(self) -> str:
        return "its maximum over returns keeps a bonus after the bonus has decayed"

    def first_update(self, num_envs: int) -> int:
        return self.fit_after + self.fit_updates if self.representation.trainable else 0

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "MFEC":
        columns = self.representation.privileged_columns(spec.privileged)
        representation = self.representation.build(
            obs_shape=spec.obs_shape if columns is None else (1, 1, len(columns)),
            seed=seed, device=device, precision=precision,
        )  # fmt: skip
        return MFEC(self, spec, representation, columns, seed=seed, device=device)


class MFEC(HasState):
    """An agent that acts greedily on the returns of nearest neighbors.

    Its keys are codes of observations or, with ``columns``, of those bytes of the true state.
    Raises UsageError if ``fit_after`` is too small for a segment of the representation.
    """

    STATE = ("representation", "fitter", "tables", "episodes")
    BUFFERS = ("episodes",)

    def __init__(
        self,
        config: MFECConfig,
        spec: EnvSpec,
        representation: Representation,
        columns: list[int] | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.spec, self.seed = config, spec, seed
        self.device = torch.device(device)
        self.representation, self.columns = representation, columns
        self.fitter = RepresentationFitter(
            representation,
            spec,
            buffer_size=config.fit_after,
            updates_per_fit=config.fit_updates,
            batch_size=config.fit_batch_size,
            refit_every=config.refit_every if config.representation.trainable else 0,
            seed=seed,
            fitted=not config.representation.trainable,
        )
        self.tables = NeighborTables(
            spec.num_actions,
            representation.dim,
            capacity=config.capacity,
            num_neighbors=config.num_neighbors,
            device=device,
            obs_shape=spec.obs_shape if self.fitter.refit_every else None,
        )
        self.episodes = EpisodeBuffer(spec.num_envs, self.device)
        self.notice = Notice(patience=10_000)
        self.keys_changed = False  # by the last ``learn``; ``act`` may have run before it

    def initial(self, n: int) -> Carry:
        return {"rng": prng.initial_rng(self.seed, prng.Purpose.TRAIN, n).to(self.device)}

    def encoded(self, step: TimeStep) -> UInt8[Tensor, "N K H W"]:
        """Return what keys are codes of: observations, or true states as images of one row."""
        if self.columns is None:
            return step.obs
        assert step.privileged is not None
        return step.privileged[:, None, None, self.columns]

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        """Act greedily on the tables' estimates; the extras are the observations' keys.

        Actions are uniformly random, without extras, until the representation is fitted.
        """
        next_carry = {"rng": prng.next_rng(carry["rng"])}
        if not self.fitter.fitted:
            action = prng.randint(carry["rng"], self.spec.num_actions, prng.Purpose.ACTION)
            return ActOutput(action, next_carry)
        obs = self.encoded(step)
        key, digest = self.representation.encode(obs), frame_digest(obs)
        values, exact = self.tables.estimate(key, digest)  # [A, N]
        epsilon = self.config.epsilon if explore else 0.0
        action = epsilon_greedy_with_random_ties(values.T, carry["rng"], epsilon)
        extras = {"key": key, "digest": digest, "exact": exact.amax(0)}
        return ActOutput(action, next_carry, extras)

    def learn(self, t: Transition) -> Metrics:
        """Store the timestep; when an episode ends, update the tables (section 2, Algorithm 1)."""
        metrics, keys_changed = self.fitter.update(t)
        if "key" not in t.extras:  # random play is for the fit only
            return metrics
        obs = {"obs": t.step.obs} if self.fitter.refit_every else {}
        key = t.extras["key"]
        self.episodes.append(
            key=self.representation.encode(t.step.obs) if self.keys_changed else key,
            digest=t.extras["digest"],
            action=t.action,
            reward=learning_reward(t.next_step.reward, t.bonus),
            discount=self.config.gamma * t.next_step.discount,
            valid=t.valid,
            **obs,
        )
        self.keys_changed = keys_changed
        if keys_changed:
            self.tables.reencode(self.representation.encode)
            self.episodes.reencode(self.representation.encode)
        ended = t.next_step.last.tolist()
        self.notice.update(
            self.spec.num_envs,
            happened=any(self.tables.sizes) or any(ended),
            sentence=f"No episode has ended in {self.notice.patience:,} agent steps, so MFEC has "
            "stored no return and acts at random; it learns only from whole episodes: choose an "
            "env with a time limit, or another agent, such as agent:dqn with "
            "--agent.monte_carlo_weight 0.",
        )
        metrics["mfec/exact_hits"] = t.extras["exact"].mean()
        for i in compress(range(len(ended)), ended):
            episode = self.episodes.pop(i)
            returns = returns_to_go(
                episode["reward"][None], episode["discount"][None], episode["valid"][None]
            )[0]
            for action in range(self.spec.num_actions):
                visits = (episode["valid"] & (episode["action"] == action)).nonzero()[:, 0]
                if len(visits):
                    self.tables.update(
                        action,
                        episode["key"][visits],
                        episode["digest"][visits],
                        returns[visits],
                        episode["obs"][visits] if "obs" in episode else None,
                    )
            metrics["mfec/keys"] = float(sum(self.tables.sizes))
        return metrics

    def load_pretrained(self, role: str, state: dict[str, Any]) -> None:
        """Start from a pretrained representation, which is not fitted again."""
        self.representation.load_state_dict(state)
        self.fitter.skip_fit()


class EpisodeBuffer:
    """The timesteps of all envs since the oldest unfinished episode began, time-major."""

    def __init__(self, num_envs: int, device: torch.device) -> None:
        self.device = device
        self.episode_starts = [0] * num_envs  # row at which each env's unfinished episode begins
        self.num_rows = 0
        self.fields: dict[str, Tensor] = {}  # each [capacity, N, ...]

    def append(self, **timestep: Tensor) -> None:
        """Add one timestep of all envs; every field is [N, ...]."""
        if not self.fields:
            self.fields = {name: x.new_empty(1024, *x.shape) for name, x in timestep.items()}
        if self.num_rows == len(self.fields["valid"]):
            self._compact_or_grow()
        for name, x in timestep.items():
            self.fields[name][self.num_rows] = x
        self.num_rows += 1

    def pop(self, env: int) -> dict[str, Tensor]:
        """Return an env's finished episode, each field [T, ...], and begin its next one."""
        start, self.episode_starts[env] = self.episode_starts[env], self.num_rows
        return {name: x[start : self.num_rows, env] for name, x in self.fields.items()}

    def reencode(self, encode: Encode) -> None:
        """Recompute all keys from their observations."""
        for row in range(self.num_rows):
            self.fields["key"][row] = encode(self.fields["obs"][row])

    def _compact_or_grow(self) -> None:
        """Drop the rows of finished episodes; double the capacity if they are less than half."""
        finished = min(self.episode_starts)
        unfinished = {name: x[finished:] for name, x in self.fields.items()}
        capacity = len(self.fields["valid"]) * (1 if finished > self.num_rows // 2 else 2)
        self.fields = {name: x.new_empty(capacity, *x.shape[1:]) for name, x in unfinished.items()}
        for name, x in unfinished.items():
            self.fields[name][: len(x)] = x
        self.num_rows -= finished
        self.episode_starts = [start - finished for start in self.episode_starts]

    def state_dict(self) -> dict[str, Any]:
        """Return the timesteps since the oldest unfinished episode began."""
        finished = min(self.episode_starts)
        return {
            "episode_starts": [start - finished for start in self.episode_starts],
            "fields": {name: x[finished : self.num_rows] for name, x in self.fields.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the timesteps; raises ValueError if an episode starts outside of them."""
        starts, self.num_rows, self.fields = state["episode_starts"], 0, {}
        for row in zip(*state["fields"].values(), strict=True):
            timestep = zip(state["fields"], row, strict=True)
            self.append(**{name: x.to(self.device) for name, x in timestep})
        rows = range(self.num_rows + 1)
        if len(starts) != len(self.episode_starts) or any(start not in rows for start in starts):
            raise ValueError(f"episodes start at rows {starts} of {self.num_rows}")
        self.episode_starts = [int(start) for start in starts]
