"""Thompson sampling by an ensemble of Q-networks with randomized priors, and its distillation.

Bootstrapped DQN (Osband et al. 2016): each of H heads learns Q-values with a target of its own, and
one head, drawn at the start of an episode, acts greedily throughout it. A head is the sum of a
trained network and of a frozen random one, its prior (Osband et al. 2018). Where there are no data
the heads disagree, and an episode follows one consistent guess to its end: deep exploration.

A student can learn the mean and the variance of the heads' Q-values (Bayesian dark knowledge,
Balan et al. 2015), and acts in place of them by one forward pass.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ..envs import prng
from ..envs.checks import at_least, check, within
from ..envs.interface import Carry, EnvSpec, Metrics, TimeStep, Transition
from ..envs.prng import Purpose
from ..world_models.precision import FLOAT32, Precision
from .dqn import DQN, DQNConfig
from .interface import ActOutput
from .output_networks import QNetwork
from .policies import epsilon_greedy
from .replay import Batch

M = TypeVar("M", bound=nn.Module)

MIN_VARIANCE = 1e-6
"""Added to the variance of the heads that the student learns, which is 0 where they agree."""


@dataclass(frozen=True)
class ThompsonConfig(DQNConfig):
    """Bootstrapped DQN with the settings of DQN; steps are agent steps, summed over all envs.

    Every linear layer of the network has a copy per head. Convolutions are shared, as in the paper
    of 2016; without any, the heads are separate networks, as in that of 2018.
    """

    monte_carlo_weight: float = 0.0
    """eta: weight of the Monte-Carlo return, which is of the actions of other heads too."""
    end_epsilon: float = 0.0
    """Final probability of a random action beside Thompson sampling."""
    exploration_steps: int = 1
    """Steps over which epsilon decreases from 1, after learning_starts."""
    num_heads: int = 20
    """H: members of the ensemble."""
    prior_scale: float = 3.0
    """beta: weight of a head's frozen random network (Osband et al. 2018: 3 for DeepSea)."""
    mask_prob: float = 1.0
    """Probability that a head learns from a transition, fixed for the two (2016: 0.5 to 1)."""
    noise_scale: float = 0.0
    """Standard deviation of the noise of a head's target, fixed for the transition and the head."""
    weight_decay: float = 0.0
    """Weight of half the squared distance of a head's weights from its prior's (Osband et al. 2018,
    lemma 3: for n transitions, the variance of the noise over that of a prior weight and n)."""
    act_from: Literal["heads", "student"] = "heads"
    """Act by a head, and greedily by the mean of all; or by a student that learns their mean and
    variance, at a quantile that is drawn at the start of an episode."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "agent", at_least(1), "num_heads")
        check(self, "agent", at_least(0), "prior_scale", "noise_scale", "weight_decay")
        check(self, "agent", within(0, 1), "mask_prob")

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "Thompson":
        return Thompson(self, spec, seed=seed, device=device, precision=precision)


class LinearHeads(nn.Module):
    """A linear layer of every head, whose products are one of matrices or one batch of them."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))

    def forward(self, x: Float[Tensor, "*heads B D"]) -> Float[Tensor, "heads B E"]:
        """Map the rows of each head, or the same rows for all heads."""
        if x.ndim == 2:
            y = functional.linear(x, self.weight.flatten(0, 1), self.bias.flatten())
            return y.view(-1, *self.bias.shape).transpose(0, 1)
        return torch.baddbmm(self.bias[:, None], x, self.weight.transpose(1, 2))


def network_of_heads(networks: Sequence[M]) -> M:
    """Return a network with the linear layers of all, and the other layers of the first."""
    joint = copy.deepcopy(networks[0])
    for path, module in list(joint.named_modules()):
        if isinstance(module, nn.Linear):
            parent, _, name = path.rpartition(".")
            layers: list[Any] = [network.get_submodule(path) for network in networks]
            setattr(joint.get_submodule(parent), name, LinearHeads(layers))
    return joint


class QHeads(QNetwork):
    """The Q-values of H heads, each a network's plus a frozen one's (Osband et al. 2018, fig. 1).

    Q_h(s, a) = f_h(s, a) + beta p_h(s, a)
    """

    def __init__(
        self, networks: Sequence[QNetwork], priors: Sequence[QNetwork], prior_scale: float
    ) -> None:
        nn.Module.__init__(self)
        joint = network_of_heads(networks)
        self.trunk, self.head, self.dueling = joint.trunk, joint.head, joint.dueling
        self.prior = network_of_heads(priors).requires_grad_(False)
        self.prior_scale = prior_scale

    def forward(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "heads B A"]:
        """Return Q_h(s, a) of every head and action."""
        prior: Tensor = self.prior(obs)
        return super().forward(obs) + self.prior_scale * prior


class Thompson(DQN):
    """Acts in each episode by one head, or by one quantile that a student learns of them."""

    STATE = (*DQN.STATE, "student", "student_optimizer")

    config: ThompsonConfig
    q_network: QHeads

    def __init__(
        self,
        config: ThompsonConfig,
        spec: EnvSpec,
        *,
        seed: int,
        device: torch.device | str,
        precision: Precision = FLOAT32,
    ) -> None:
        super().__init__(config, spec, seed=seed, device=device, precision=precision)
        self.optimizer.param_groups[0]["weight_decay"] = config.weight_decay
        self.student: QNetwork | None = None
        """The mean and the log-variance of each action's Q-values; None if heads act."""
        self.student_optimizer: torch.optim.Optimizer | None = None
        if config.act_from == "student":
            with prng.seeded(prng.fold_in(seed, 1)):
                trunk = config.network.build(spec.obs_shape, precision)
                self.student = QNetwork(trunk, 2 * spec.num_actions, dueling=False).to(device)
            self.student_optimizer = torch.optim.Adam(
                self.student.parameters(), lr=config.learning_rate, eps=1.5e-4, fused=True
            )

    def build_network(self, precision: Precision) -> QHeads:
        networks, priors = (
            [super(Thompson, self).build_network(precision) for _ in range(self.config.num_heads)]
            for _ in range(2)
        )
        return QHeads(networks, priors, self.config.prior_scale)

    def initial(self, n: int) -> Carry:
        carry = super().initial(n)
        return carry | {"episode_rng": carry["rng"]}

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        rng = carry["rng"]
        episode_rng = torch.where(step.first, rng, carry["episode_rng"])
        values = (
            self.sampled_values(step.obs, episode_rng) if explore else self.moments(step.obs)[0]
        )
        action = values.argmax(1)
        if explore:
            action = epsilon_greedy(action, rng, self.spec.num_actions, self.epsilon)
        return ActOutput(action, {"rng": prng.next_rng(rng), "episode_rng": episode_rng})

    def sampled_values(
        self, obs: UInt8[Tensor, "N K H W"], episode_rng: Int64[Tensor, " N"]
    ) -> Float[Tensor, "N A"]:
        """Return the Q-values that are drawn for each env's episode.

        Those of one head or, from the student, mean + z deviation, with one z ~ N(0, 1) for all
        states and actions of the episode.
        """
        if self.student is None:
            head = prng.randint(episode_rng, self.config.num_heads, Purpose.HEAD)
            values: Tensor = self.forward(obs)
            return values[head, torch.arange(len(head), device=head.device)]
        mean, variance = self.moments(obs)
        return mean + prng.normal(episode_rng, 1, Purpose.HEAD) * variance.sqrt()

    def moments(
        self, obs: UInt8[Tensor, "B K H W"]
    ) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A"]]:
        """Return the mean and the variance of Q(s, a) over heads, or as the student has learned."""
        if self.student is None:
            return moments_of_heads(self.forward(obs))
        mean, log_variance = self.student(obs).chunk(2, 1)
        return mean, log_variance.exp()

    def loss(self, batch: Batch) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Return the sum of the losses of the heads that learn from a transition, and the mean Q.

        With ``mask_prob`` a head learns from a share of the transitions, the same at every update
        (the bootstrap: Osband et al. 2016, algorithm 1).
        """
        losses, q_values = super().loss(batch)
        uniform = prng.uniform(self.transition_keys(batch), len(losses), Purpose.MASK)
        mask = (uniform < self.config.mask_prob).T
        return (losses * mask).sum(0), q_values.mean(0)

    @torch.no_grad()
    def targets(self, batch: Batch) -> Float[Tensor, "heads B"]:
        """Return the target of each head, with noise of the transition and the head."""
        targets = super().targets(batch)
        noise = prng.normal(self.transition_keys(batch), len(targets), Purpose.NOISE).T
        return targets + self.config.noise_scale * noise

    def transition_keys(self, batch: Batch) -> Int64[Tensor, " B"]:
        """Return the keys of what is random in a transition: functions of its index."""
        return prng.keys(self.seed, Purpose.TRANSITION, batch.index)

    def learn(self, t: Transition) -> Metrics:
        """Store the transition and make the updates that are due, as many of the student."""
        before = self.schedule.count
        metrics = super().learn(t)
        if self.student is not None and self.schedule.count > before:
            counts = range(before, self.schedule.count)
            kl = torch.stack([self.distill(count) for count in counts]).mean()
            metrics |= {"losses/student_kl": kl}
        return metrics

    def distill(self, count: int) -> Float[Tensor, ""]:
        """Make one update of the student, on a batch of its own; return the mean KL divergence.

            KL(N(m, v) || N(mean, var)) = (log(var / v) + (v + (m - mean)^2) / var - 1) / 2

        m and v are the moments of the heads. But for a constant it is the expected negative log
        likelihood of their Q-values (Balan et al. 2015, eq. 3).
        """
        assert self.student is not None
        assert self.student_optimizer is not None
        key = prng.keys(self.seed, Purpose.DISTILL, torch.tensor([count]))
        ranks = prng.randint(prng.bits(key, self.config.batch_size)[0], len(self.replay))
        obs = self.replay.gather(ranks).to(self.device).obs
        with torch.no_grad():
            of_mean, of_variance = moments_of_heads(self.forward(obs))
        mean, log_variance = self.student(obs).chunk(2, 1)
        ratio = (of_variance + (of_mean - mean).square()) / log_variance.exp()
        kl: Tensor = ((log_variance - of_variance.log() + ratio - 1) / 2).mean()
        self.student_optimizer.zero_grad()
        kl.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), self.config.max_grad_norm)
        self.student_optimizer.step()
        return kl.detach()


def moments_of_heads(
    values: Float[Tensor, "heads B A"],
) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A"]]:
    """Return the mean of Q-values over heads, and their variance, of which MIN_VARIANCE is part."""
    return values.mean(0), values.var(0, unbiased=False) + MIN_VARIANCE
