"""Model-free episodic control (Blundell et al. 2016): act as in the best episode remembered.

Each action has a table of keys and of the highest return that ever followed them; a new state is
worth the mean of its nearest neighbours. Everything is learned at the end of an episode.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from agents.fitting import Fitting, check_same, load_pretrained
from agents.interface import AgentConfig
from agents.neighbours import Encode, NeighbourTables
from agents.policies import ACTION, argmax_with_random_ties, epsilon_greedy
from agents.returns import learning_reward, returns_to_go
from envs import dice
from envs.checks import at_least, check, refuse, within
from envs.digest import frame_digest
from envs.interface import EnvSpec, Memory, Metrics, Step, Transition
from world_models.interface import Representation, RepresentationConfig
from world_models.representation.projection import ProjectionConfig

KEPT = ("key", "digest", "look")
"""What the tables keep of a tick, beside its return."""


@dataclass(frozen=True)
class EpisodicConfig(AgentConfig):
    """Episodic control with the published Atari settings."""

    neighbours: int = 11
    """k: a new state is worth the mean of this many nearest keys; an action with fewer keys is
    always tried, so a world of few states wants a small k."""
    gamma: float = 1.0
    epsilon: float = 0.005
    """Probability of a random action while exploring, constant."""
    capacity: int = 1_000_000
    """Keys in one action's table."""
    representation: RepresentationConfig = ProjectionConfig()
    """What turns a frame into a key."""
    fit_after: int = 20_000
    """Agent steps of random play before a representation that learns is fitted, on their frames."""
    fit_steps: int = 4_000
    """Updates of it, one an agent step, all still of random play; then it is frozen."""
    fit_batch: int = 16
    refit_every: int = 0
    """Agent steps between two later fits, each on the newest ``fit_after`` frames, after which
    every key is made anew; 0 for none. The tables then keep each key's frame (7 kB on Atari)."""
    pretrained: str = ""
    """Folder of a run of `reverie pretrain` to start from, whose frames count as spent."""

    def __post_init__(self) -> None:
        check(self, "agent", at_least(1), "neighbours", "fit_after", "fit_steps", "fit_batch")
        check(self, "agent", at_least(0), "refit_every")
        check(self, "agent", within(0, 1), "gamma", "epsilon")
        if self.capacity < self.neighbours:
            refuse(self, "agent", "capacity", f"as many as the {self.neighbours} neighbours")

    @property
    def refuses_bonus(self) -> str:
        return "a maximum over returns never forgets a bonus that has decayed"

    def build(
        self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "EpisodicControl":
        representation = self.representation.build(
            obs_shape=spec.obs_shape, seed=seed, device=device
        )
        if self.pretrained:
            pretrained = load_pretrained(self.pretrained)
            check_same(self.pretrained, pretrained["representation"], repr(self.representation))
            representation.load_state_dict(pretrained["state"])
        return EpisodicControl(self, spec, representation, seed=seed, device=device)

    @property
    def steps_spent(self) -> int:
        return int(load_pretrained(self.pretrained)["frames"]) if self.pretrained else 0


class EpisodicControl:
    """Per-action tables over a representation's keys."""

    def __init__(
        self,
        config: EpisodicConfig,
        spec: EnvSpec,
        representation: Representation,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.spec, self.seed = config, spec, seed
        self.device = torch.device(device)
        self.representation = representation
        self.fitting = Fitting(
            representation,
            spec.obs_shape,
            keep=config.fit_after,
            steps=config.fit_steps,
            batch=config.fit_batch,
            every=config.refit_every if config.representation.learns else 0,
            seed=seed,
            fitted=bool(config.pretrained) or not config.representation.learns,
        )
        self.tables = NeighbourTables(
            spec.num_actions,
            representation.dim,
            capacity=config.capacity,
            neighbours=config.neighbours,
            device=device,
            look_shape=spec.obs_shape if self.fitting.every else None,
        )
        self.episodes = EpisodeTrace(spec.num_envs, self.device)
        self.refitted = False  # by the last tick, when the next one may have been under way

    def initial(self, n: int) -> Memory:
        return {
            "dice": dice.keys(self.seed, "train", n).to(self.device),
            "key": torch.zeros(n, self.representation.dim, device=self.device),
            "digest": torch.zeros(n, dtype=torch.int64, device=self.device),
            "exact": torch.zeros(n, device=self.device),
            "keyed": torch.zeros(n, dtype=torch.bool, device=self.device),
        }

    def act(
        self, step: Step, memory: Memory, *, explore: bool = True
    ) -> tuple[Int64[Tensor, " N"], Memory]:
        """Greedy in the tables' estimates; the memory carries the key to ``learn``.

        Uniform while there are no keys yet.
        """
        if not self.fitting.fitted:
            action = dice.integers(memory["dice"], self.spec.num_actions, ACTION)
            return action, memory | {"dice": dice.roll(memory["dice"])}
        key, digest = self.representation.encode(step.obs), frame_digest(step.obs)
        values, exact = self.tables.estimate(key, digest)  # [A, N]
        action = argmax_with_random_ties(values.T, memory["dice"])
        if explore:
            action = epsilon_greedy(
                action, memory["dice"], self.spec.num_actions, self.config.epsilon
            )
        return action, {
            "dice": dice.roll(memory["dice"]),
            "key": key,
            "digest": digest,
            "exact": exact.amax(0),
            "keyed": torch.ones_like(memory["keyed"]),
        }

    def learn(self, t: Transition) -> Metrics:
        """Note the tick; where an episode ends, store its returns (section 2, Algorithm 1)."""
        metrics, new_keys = self.fitting.learn(t.step.obs[t.valid])
        if not t.next_memory["keyed"].any():  # what was played by chance is for the fit alone
            return metrics
        look = {"look": t.step.obs} if self.fitting.every else {}
        key = t.next_memory["key"]
        self.episodes.append(
            key=self.representation.encode(t.step.obs) if self.refitted else key,
            digest=t.next_memory["digest"],
            action=t.action,
            reward=learning_reward(t.next_step.reward, t.bonus),
            discount=self.config.gamma * t.next_step.discount,
            valid=t.valid & t.next_memory["keyed"],
            **look,
        )
        self.refitted = new_keys
        if new_keys:
            self.tables.encode_again(self.representation.encode)
            self.episodes.encode_again(self.representation.encode)
        metrics["episodic/exact_hits"] = t.next_memory["exact"].mean()
        for stream in t.next_step.last.nonzero()[:, 0].tolist():
            episode = self.episodes.pop(stream)
            returns = returns_to_go(
                episode["reward"][None], episode["discount"][None], episode["valid"][None]
            )[0]
            for action in range(self.spec.num_actions):
                visits = (episode["valid"] & (episode["action"] == action)).nonzero()[:, 0]
                if len(visits):
                    kept = {name: x[visits] for name, x in episode.items() if name in KEPT}
                    self.tables.store(action, returns=returns[visits], **kept)
            metrics["episodic/keys"] = float(sum(self.tables.sizes))
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {
            "representation": self.representation.state_dict(),
            "fitting": self.fitting.state_dict(),
            "tables": self.tables.state_dict(),
            "episodes": self.episodes.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.representation.load_state_dict(state["representation"])
        self.fitting.load_state_dict(state["fitting"])
        self.tables.load_state_dict(state["tables"])
        self.episodes.load_state_dict(state["episodes"])


class EpisodeTrace:
    """The ticks of all streams since the oldest unfinished episode began, time-major."""

    def __init__(self, num_envs: int, device: torch.device) -> None:
        self.device = device
        self.start = [0] * num_envs  # where each stream's unfinished episode begins
        self.rows = 0
        self.ticks: dict[str, Tensor] = {}  # each [capacity, N, ...]

    def append(self, **tick: Tensor) -> None:
        """Add one tick of all streams."""
        if not self.ticks:
            self.ticks = {name: x.new_empty(1024, *x.shape) for name, x in tick.items()}
        if self.rows == len(self.ticks["valid"]):
            self._make_room()
        for name, x in tick.items():
            self.ticks[name][self.rows] = x
        self.rows += 1

    def pop(self, stream: int) -> dict[str, Tensor]:
        """The stream's finished episode, each field [T, ...]; its next one begins here."""
        begin, self.start[stream] = self.start[stream], self.rows
        return {name: x[begin : self.rows, stream] for name, x in self.ticks.items()}

    def encode_again(self, encode: Encode) -> None:
        """Make the keys of all ticks from their looks."""
        for row in range(self.rows):
            self.ticks["key"][row] = encode(self.ticks["look"][row])

    def _make_room(self) -> None:
        done = min(self.start)
        kept = {name: x[done:] for name, x in self.ticks.items()}
        room = len(self.ticks["valid"]) * (1 if done > self.rows // 2 else 2)
        self.ticks = {name: x.new_empty(room, *x.shape[1:]) for name, x in kept.items()}
        for name, x in kept.items():
            self.ticks[name][: len(x)] = x
        self.rows -= done
        self.start = [begin - done for begin in self.start]

    def state_dict(self) -> dict[str, Any]:
        done = min(self.start)
        return {
            "start": [begin - done for begin in self.start],
            "ticks": {name: x[done : self.rows] for name, x in self.ticks.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        start, self.rows, self.ticks = state["start"], 0, {}
        for row in zip(*state["ticks"].values(), strict=True):
            tick = zip(state["ticks"], row, strict=True)
            self.append(**{name: x.to(self.device) for name, x in tick})
        places = range(self.rows + 1)
        if len(start) != len(self.start) or any(begin not in places for begin in start):
            raise ValueError(f"its episodes begin at {start}, of {self.rows} ticks")
        self.start = [int(begin) for begin in start]
