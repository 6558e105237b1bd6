"""Model-free episodic control (MFEC), Blundell et al. 2016.

Each action has a table of keys, with the highest return that ever followed each of them. The value
of a new state is the mean return of its nearest neighbors. Tables are updated when an episode ends.

Settings choose other updates, kernels and ways to explore; ``agent:nait`` is such a choice.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64, UInt8
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
from ..returns import lambda_returns, learning_reward
from ..schedules import linear
from .episode_buffer import EpisodeBuffer
from .fitting import RepresentationFitter
from .kernels import Kernel
from .neighbor_tables import NeighborTables, ranks_in_groups


@dataclass(frozen=True)
class MFECConfig(AgentConfig):
    """Episodic control with the published Atari settings."""

    num_neighbors: int = 11
    """k of the nearest-neighbor search. An action with fewer keys is always tried, so an
    environment with few states needs a small k."""
    gamma: float = 1.0
    """Discount factor per agent step; 1 on Atari, as published."""
    kernel: Kernel = "mean"
    """Weights of the neighbors' returns by their distance d: equal, 1 / (d^2 + 0.001) as in NEC, or
    exp(-d / d_min) with the distance of the nearest one."""
    update: Literal["max", "average", "append"] = "max"
    """What the return of a stored state and action becomes at a visit: the greater one, or a step
    of ``update_rate`` towards the new one. With ``append``, as in NAIT, each visit is an entry; a
    state and action keep k of them, and one more takes the place of a random one."""
    update_rate: float = 0.1
    """Step of the update ``average``: Q <- Q + update_rate (G - Q)."""
    store_at_lost_life: bool = False
    """Update the tables also when a life is lost, not at the end of a game alone. It needs a
    protocol that ends returns there, such as ``--env.protocol.life-loss``."""
    bootstrap_every: int = 0
    """Timesteps of an unfinished episode after which its returns so far, plus the greatest estimate
    of its newest state, are stored until it ends; 0 for none. It needs the update ``append``."""
    epsilon: float = 0.005
    """Probability of a random action during training, after its decrease."""
    initial_epsilon: float = 1.0
    """Probability of a random action at first, if there are ``exploration_steps``."""
    exploration_steps: int = 0
    """Agent steps over which epsilon decreases linearly to ``epsilon``, from the first one with a
    fitted representation on; 0 for a constant epsilon."""
    distance_bonus: float = 0.0
    """During training, what is added to an estimate for neighbors at a mean distance, in standard
    deviations of the returns around the state: actions with distant neighbors are explored."""
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
    are recomputed; 0 for none. The tables then store an observation per key (7 kB on Atari). It has
    no effect on a representation that is not trained."""

    def __post_init__(self) -> None:
        check(self, "agent", at_least(1), "num_neighbors")
        check(self, "agent", at_least(1), "fit_after", "fit_updates", "fit_batch_size")
        check(self, "agent", at_least(0), "refit_every", "bootstrap_every", "exploration_steps")
        check(self, "agent", at_least(0), "distance_bonus")
        check(self, "agent", within(0, 1), "gamma", "epsilon", "initial_epsilon", "update_rate")
        if self.bootstrap_every and self.update != "append":
            refuse(self, "agent", "bootstrap_every", "0, unless agent.update is append")
        if self.capacity < self.num_neighbors:
            refuse(self, "agent", "capacity", f"num_neighbors ({self.num_neighbors}) or more")

    @property
    def no_bonus_reason(self) -> str:
        if self.update != "max":
            return ""
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
        representation, columns = self.representation.build_for(
            spec, seed=seed, device=device, precision=precision
        )
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
            kernel=config.kernel,
            update_rate={"max": None, "average": config.update_rate, "append": 1.0}[config.update],
            device=device,
            obs_shape=spec.obs_shape if self.fitter.refit_every else None,
        )
        self.episodes = EpisodeBuffer(spec.num_envs, self.device)
        self.notice = Notice.of_episodes(spec.num_envs)
        self.steps = 0
        """Agent steps with keys, which epsilon depends on."""
        self.keys_changed = False  # by the last ``learn``; ``act`` may have run before it

    @property
    def epsilon(self) -> float:
        """Current probability of a random action."""
        end, over = self.config.epsilon, self.config.exploration_steps
        begin = self.config.initial_epsilon
        return linear(self.steps, begin=begin, end=end, over=over) if over else end

    def initial(self, n: int) -> Carry:
        return {"rng": prng.initial_rng(self.seed, prng.Purpose.TRAIN, n).to(self.device)}

    def encoded(self, step: TimeStep) -> UInt8[Tensor, "N K H W"]:
        """Return what keys are codes of: observations, or true states as images of one row."""
        return step.obs if self.columns is None else step.state_image(self.columns)

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        """Act greedily on the tables' estimates; the extras are the observations' keys.

        Actions are uniformly random, without extras, until the representation is fitted.
        """
        next_carry = {"rng": prng.next_rng(carry["rng"])}
        if not self.fitter.fitted:
            action = prng.randint(carry["rng"], self.spec.num_actions, prng.Purpose.ACTION)
            return ActOutput(action, next_carry)
        obs = self.encoded(step)
        key = self.representation.encode(obs)
        digest = frame_digest(obs)
        stored = digest if self.config.update != "append" else None
        remoteness: Tensor | float = 0.0
        if explore and self.config.distance_bonus and self.tables.ready:
            found = self.tables.search(key)
            values, exact = self.tables.estimate_from_neighbors(key, stored, *found)  # [A, N]
            remoteness = self.tables.remoteness(*found)
        else:
            values, exact = self.tables.estimate(key, stored)
        extras = {"key": key, "digest": digest, "exact": exact.amax(0)}
        if stored is None:
            k = self.config.num_neighbors
            extras["place"] = prng.randint(carry["rng"], k, prng.Purpose.PLACE)
        if self.config.bootstrap_every:
            extras["value"] = values.masked_fill(values.isinf(), -torch.inf).amax(0)
        values = values + self.config.distance_bonus * remoteness
        epsilon = self.epsilon if explore else 0.0
        action = epsilon_greedy_with_random_ties(values.T, carry["rng"], epsilon)
        return ActOutput(action, next_carry, extras)

    def learn(self, t: Transition) -> Metrics:
        """Store the timestep; when an episode ends, update the tables (section 2, Algorithm 1)."""
        metrics, keys_changed = self.fitter.update(t)
        if "key" not in t.extras:  # random play is for the fit only
            return metrics
        self.steps += self.spec.num_envs
        if self.config.bootstrap_every:
            self._store_unfinished(t.extras["value"])
        optional = {"obs": t.step.obs} if self.fitter.refit_every else {}
        if self.config.update == "append":
            optional["place"] = t.extras["place"]
        key = t.extras["key"]
        self.episodes.append(
            key=self.representation.encode(t.step.obs) if self.keys_changed else key,
            digest=t.extras["digest"],
            action=t.action,
            reward=learning_reward(t.next_step.reward, t.bonus),
            discount=self.config.gamma * t.next_step.discount,
            valid=t.valid,
            **optional,
        )
        self.keys_changed = keys_changed
        if keys_changed:
            self.tables.reencode(self.representation.encode)
            self.episodes.reencode(self.representation.encode)
        ended = t.next_step.last
        if self.config.store_at_lost_life:
            ended = ended | (t.valid & (t.next_step.discount == 0))
        envs = ended.cpu().nonzero()[:, 0].tolist()
        self.notice.update(
            self.spec.num_envs,
            happened=any(self.tables.sizes) or bool(envs),
            sentence=f"No episode has ended in {self.notice.patience:,} agent steps, so MFEC has "
            "stored no return and acts at random; it learns only from whole episodes: choose an "
            "env with a time limit, or another agent, such as agent:dqn with "
            "--agent.monte_carlo_weight 0.",
        )
        metrics["mfec/exact_hits"] = t.extras["exact"].mean()
        for env in envs:
            self._store(self.episodes.pop(env))
        if envs:
            metrics["mfec/keys"] = float(sum(self.tables.sizes))
        return metrics

    def _store_unfinished(self, value: Float[Tensor, " N"]) -> None:
        """Store the unfinished episodes that are due, whose newest states have these values."""
        every = self.config.bootstrap_every
        lengths = [self.episodes.length(env) for env in range(self.spec.num_envs)]
        due = [env for env, length in enumerate(lengths) if length and length % every == 0]
        known = value.isfinite().tolist() if due else []
        for env in due:
            if known[env]:
                self._store(self.episodes.rows(env), value[env])

    def _store(self, episode: dict[str, Tensor], value: Tensor | float = 0.0) -> None:
        """Update the tables with an episode's returns, which end with a value of its last state."""
        reward, discount, valid = (episode[x][None] for x in ("reward", "discount", "valid"))
        values = torch.zeros(1, reward.shape[1] + 1, device=reward.device)
        values[0, -1] = value
        returns = lambda_returns(reward, discount, values, valid)[0]
        for action in range(self.spec.num_actions):
            visits = (episode["valid"] & (episode["action"] == action)).nonzero()[:, 0]
            if len(visits):
                if "place" in episode:
                    self._take_places(action, episode, visits)
                self.tables.update(
                    action,
                    episode["key"][visits],
                    episode["digest"][visits],
                    returns[visits],
                    episode["obs"][visits] if "obs" in episode else None,
                )

    def _take_places(
        self, action: int, episode: dict[str, Tensor], visits: Int64[Tensor, " M"]
    ) -> None:
        """Make the digest of each new visit that of its entry, the state's digest plus a place.

        It is the next free place of the state, or the drawn one if all k are taken. A place of -1
        marks a visit that has its entry, in the episode buffer too.
        """
        new = visits[episode["place"][visits] >= 0]
        if not len(new):
            return
        state, place = episode["digest"][new], episode["place"][new]
        entries = state[:, None] + torch.arange(self.config.num_neighbors, device=self.device)
        free = ~self.tables.contains(action, entries)
        rank, _ = ranks_in_groups(torch.unique(state, return_inverse=True)[1])
        own = free & (free.cumsum(1) == rank[:, None] + 1)
        place = torch.where(own.any(1), own.int().argmax(1), place)
        episode["digest"][new] = state + place
        episode["place"][new] = -1

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every part, and the steps if epsilon depends on them."""
        steps = {"steps": self.steps} if self.config.exploration_steps else {}
        return super().state_dict() | steps

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore every part, and the steps if the state has them."""
        super().load_state_dict(state)
        self.steps = state.get("steps", 0)

    def load_pretrained(self, role: str, state: dict[str, Any]) -> None:
        """Start from a pretrained representation, which is not fitted again."""
        self.representation.load_state_dict(state)
        self.fitter.skip_fit()
