"""Neural episodic control (NEC), Pritzel et al. 2017.

A network encodes observations as keys h. Each action has a dictionary of keys with values, and Q is
the kernel-weighted mean of the values of the nearest keys,

    Q(s, a) = sum_i w_i v_i,  w_i = k(h, h_i) / sum_j k(h, h_j)
    k(h, h_i) = 1 / (|h - h_i|^2 + 0.001)

Targets are the rewards of N steps and max_a Q of the state after them. A target is written into the
dictionary at once, by Q_i <- Q_i + alpha (target - Q_i) if the state is stored, and kept in a
buffer, from which gradients of (Q(s, a) - target)^2 move the network, the keys and the values.

States are recognized by a digest of their pixels, as in the authors' code by the account of
Kaixhin/EC, from which come the settings that the paper leaves open. Own choices: a sampled state
is no neighbor of itself in learning; values are written once N more steps, or the episode's end,
are known, N states of an env at a time; mean squares of the dictionary's RMSProp are per key.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ...envs import prng
from ...envs.checks import above, at_least, check, refuse, within
from ...envs.digest import frame_digest
from ...envs.interface import Carry, EnvSpec, Metrics, TimeStep, Transition
from ...world_models.precision import FLOAT32, Precision
from ...world_models.state import HasState
from ..dqn import td_metrics
from ..interface import ActOutput, AgentConfig
from ..networks import AutoConfig, Network, NetworkConfig
from ..policies import epsilon_greedy_with_random_ties
from ..returns import learning_reward, n_step_returns
from ..schedules import Ratio, linear
from .episode_buffer import EpisodeBuffer
from .neural_dictionary import NeuralDictionary, RMSprop, lookup
from .target_buffer import TargetBuffer, Targets


@dataclass(frozen=True)
class NECConfig(AgentConfig):
    """Neural episodic control with the published Atari settings.

    Steps are agent steps, summed over all envs. Rewards are not clipped.
    """

    network: NetworkConfig = AutoConfig()
    """Network from stacked frames to features; keys are linear in them."""
    key_size: int = 128
    """Length of a key."""
    num_neighbors: int = 50
    """Nearest neighbors of which Q is a weighted mean; fewer if an action has fewer keys."""
    n_step: int = 100
    """N, rewards of a target before it bootstraps."""
    gamma: float = 0.99
    """Discount factor per agent step."""
    capacity: int = 500_000
    """Maximum number of keys per action; the least recently used are replaced."""
    update_rate: float = 0.1
    """alpha, the step of a stored value to a new target."""
    end_epsilon: float = 0.001
    """Final probability of a random action; it decreases linearly from 1."""
    exploration_steps: int = 25_000
    """Steps over which epsilon decreases."""
    buffer_size: int = 100_000
    """States in the buffer for gradients, each with its whole observation (28 kB on Atari)."""
    learning_starts: int = 50_000
    """Steps before the first gradient."""
    replay_ratio: float = 0.25
    """Updates per step: floor((steps - learning_starts) * replay_ratio) in total."""
    batch_size: int = 32
    """States per update."""
    learning_rate: float = 7.92e-6
    """Of RMSProp, for the network, the keys and the values."""

    def __post_init__(self) -> None:
        check(self, "agent", at_least(1), "key_size", "num_neighbors", "n_step", "batch_size")
        check(self, "agent", at_least(1), "exploration_steps", "buffer_size")
        check(self, "agent", at_least(0), "learning_starts")
        check(self, "agent", within(0, 1), "gamma", "update_rate", "end_epsilon")
        check(self, "agent", above(0), "replay_ratio", "learning_rate")
        if self.capacity < self.num_neighbors:
            refuse(self, "agent", "capacity", f"num_neighbors ({self.num_neighbors}) or more")

    def first_update(self, num_envs: int) -> int:
        return self.learning_starts + math.ceil(1 / self.replay_ratio)

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "NEC":
        return NEC(self, spec, seed=seed, device=device, precision=precision)


class KeyNetwork(nn.Module):
    """A feature extractor and a linear layer, whose outputs are keys."""

    def __init__(self, trunk: Network, key_size: int) -> None:
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(trunk.features, key_size)

    def forward(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B D"]:
        """Return the keys of observations."""
        keys: Tensor = self.head(self.trunk(obs))
        return keys


class NEC(HasState):
    """An epsilon-greedy agent whose Q-values are those of the nearest keys.

    Raises UsageError if the buffer does not fit in memory.
    """

    STATE = ("network", "optimizer", "tables", "replay", "episodes", "steps", "schedule")
    BUFFERS = ("replay", "episodes")

    def __init__(
        self,
        config: NECConfig,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.spec, self.seed, self.device = config, spec, seed, torch.device(device)
        with prng.seeded(seed):
            trunk = config.network.build(spec.obs_shape, precision)
            network = KeyNetwork(trunk, config.key_size)
        self.network = network.to(device)
        self._encode = precision.maybe_compile(self.network.forward, self.device)
        self.optimizer = RMSprop(self.network.parameters(), lr=config.learning_rate)
        self.tables = NeuralDictionary(
            spec.num_actions,
            config.key_size,
            capacity=config.capacity,
            num_neighbors=config.num_neighbors,
            update_rate=config.update_rate,
            device=device,
        )
        self.replay = TargetBuffer(spec, config.buffer_size, seed=seed)
        # Up to 2 N timesteps of an env wait for their targets.
        self.episodes = EpisodeBuffer(spec.num_envs, self.device, capacity=5 * config.n_step)
        self.steps = 0
        self.schedule = Ratio(
            config.replay_ratio, start=config.learning_starts, num_envs=spec.num_envs
        )

    @property
    def epsilon(self) -> float:
        """Current probability of a random action."""
        end, over = self.config.end_epsilon, self.config.exploration_steps
        return linear(self.steps, begin=1.0, end=end, over=over)

    def initial(self, n: int) -> Carry:
        return {"rng": prng.initial_rng(self.seed, prng.Purpose.TRAIN, n).to(self.device)}

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        """Act epsilon-greedily on Q.

        The extras are the keys, the greatest Q-values, and the neighbors of each action [N, A, k].
        """
        key = self._encode(step.obs).clone()  # which a compiled function's next call overwrites
        values, neighbors = self.tables.values(key)
        epsilon = self.epsilon if explore else 0.0
        action = epsilon_greedy_with_random_ties(values.T, carry["rng"], epsilon)
        extras = {
            "key": key,
            "digest": frame_digest(step.obs),
            "value": values.amax(0),
            "neighbors": neighbors.permute(2, 0, 1),
        }
        return ActOutput(action, {"rng": prng.next_rng(carry["rng"])}, extras)

    def learn(self, t: Transition) -> Metrics:
        """Write the values whose targets are known, and make the updates that are due."""
        self.steps += self.spec.num_envs
        if any(self.tables.sizes):
            self.tables.mark_used(t.extras["neighbors"])
        self.episodes.append(
            obs=t.step.obs,
            key=t.extras["key"],
            digest=t.extras["digest"],
            action=t.action,
            reward=learning_reward(t.next_step.reward, t.bonus),
            discount=self.config.gamma * t.next_step.discount,
            valid=t.valid,
            value=t.extras["value"],
        )
        n = self.config.n_step
        for env, is_reset in enumerate(t.step.last.tolist()):
            length = self.episodes.length(env)
            if is_reset:  # acting on the last observation, the agent has estimated its value
                self._write(env, length - 1)
                self.episodes.drop(env, 1)
            elif length > 2 * n:
                self._write(env, n)
        metrics: Metrics = {
            "charts/epsilon": self.epsilon,
            "charts/replay_size": float(len(self.replay)),
            "nec/keys": float(sum(self.tables.sizes)),
        }
        if len(self.replay):
            metrics |= td_metrics([self.update() for _ in self.schedule(self.steps)])
        return metrics

    def _write(self, env: int, count: int) -> None:
        """Write an env's first ``count`` timesteps, and drop them; the newest has the last value.

        target_t = r_{t+1} + ... + gamma^{N-1} r_{t+N} + gamma^N max_a Q(s_{t+N}, a)    (eq. 3)
        """
        rows = self.episodes.rows(env)
        reward, discount, valid = (rows[x][None, :-1] for x in ("reward", "discount", "valid"))
        targets = n_step_returns(reward, discount, rows["value"][None], valid, self.config.n_step)
        target = targets[0, :count]
        obs, key, digest, action = (rows[x][:count] for x in ("obs", "key", "digest", "action"))
        for one in action.unique().tolist():
            visits = (action == one).nonzero()[:, 0]
            self.tables.update(one, key[visits], digest[visits], target[visits])
        self.replay.append(Targets(obs, action, digest, target))
        self.episodes.drop(env, count)

    def update(self) -> Float[Tensor, "2"]:
        """Take one gradient step on a batch; return its mean squared error and mean Q-value."""
        batch = self.replay.sample(self.config.batch_size, self.device)
        key = self.network(batch.obs)
        found = self.tables.neighbors(key.detach(), batch.action, batch.digest)
        if not len(found.values):  # every state is the only one of its action
            return torch.zeros(2, device=self.device)
        q_value = lookup(key, found.keys[found.entry], found.values[found.entry], found.known)
        loss = (q_value - batch.target).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.tables.descend(found, self.config.learning_rate)
        return torch.stack([loss.detach(), q_value.detach().mean()])
