"""Informed exploration (Oh et al. 2015, section 4): explore towards rarely visited frames.

The exploratory action of epsilon-greedy is not random: it is the one whose predicted next frame is
least similar to the frames of the recent trajectory.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ..envs import prng
from ..envs.checks import above, at_least, check, within
from ..envs.errors import UsageError
from ..envs.interface import Carry, EnvSpec, Metrics, TimeStep, Transition
from ..world_models.precision import FLOAT32, Precision
from .dqn import DQNConfig
from .interface import ActOutput, AgentConfig, settings_at
from .policies import argmax_with_random_ties
from .schedules import linear
from .simulator import ModelBased, ModelBasedConfig, Simulator

OWN_CARRY = (
    "trajectory", "trajectory_count", "context_obs", "context_action", "context_first"
)  # fmt: skip
"""Keys of the carry that are not the inner agent's."""
MIN_BATCH = 4
"""Batch size from which a row's prediction is bit-identical for every batch size."""


@dataclass(frozen=True)
class InformedConfig(ModelBasedConfig):
    """An off-policy agent with informed exploration; steps are summed over all envs."""

    inner: AgentConfig = DQNConfig()
    """The agent that learns; it acts without exploration, so its own epsilon has no effect."""
    end_epsilon: float = 0.1
    """Final probability of exploring; it decreases linearly from 1 after model_learning_starts."""
    exploration_steps: int = 250_000
    """Steps over which epsilon decreases."""
    trajectory_length: int = 20
    """d: recent frames that a predicted frame is compared with (the paper: 200 for Q*bert)."""
    sigma: float = 100.0
    """Width of the kernel, in pixels that differ."""
    delta: float = 50.0
    """Squared difference in gray levels up to which pixels are equal (the paper: 0 for Freeway)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner.on_policy:
            raise UsageError(
                f"agent.inner is {type(self.inner).__name__}, which learns on-policy and so not "
                "from the actions of informed exploration; choose an off-policy agent, such as "
                "agent.inner:dqn."
            )
        self.check_inner(self.inner)
        check(self, "agent", within(0, 1), "end_epsilon")
        check(self, "agent", above(0), "exploration_steps", "trajectory_length", "sigma")
        check(self, "agent", at_least(0), "delta")

    def first_update(self, num_envs: int) -> int:
        return self.inner.first_update(num_envs)

    def last_update(self, num_envs: int) -> float:
        return self.inner.last_update(num_envs)

    @property
    def no_bonus_reason(self) -> str:
        return self.inner.no_bonus_reason

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "Informed":
        return Informed(self, spec, seed=seed, device=device, precision=precision)


class Informed(ModelBased):
    """Takes the inner agent's action or, with probability epsilon, the most novel one."""

    STATE = ("simulator", "inner")

    def __init__(
        self,
        config: InformedConfig,
        spec: EnvSpec,
        *,
        seed: int,
        device: torch.device | str,
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.spec, self.device = config, spec, torch.device(device)
        self.simulator = Simulator(config, spec, seed=seed, device=device, precision=precision)
        with settings_at("agent.inner"):
            self.inner = config.inner.build(
                replace(spec, dynamics=None), seed=seed, device=device, precision=precision
            )

    @property
    def epsilon(self) -> float:
        """Current probability of exploring."""
        step = self.simulator.steps - self.config.model_learning_starts
        return linear(
            step, begin=1.0, end=self.config.end_epsilon, over=self.config.exploration_steps
        )

    def initial(self, n: int) -> Carry:
        """Return the inner agent's carry and an empty trajectory of frames, newest last."""
        length, frame_shape = self.config.trajectory_length, self.spec.obs_shape[1:]
        frames = torch.zeros(
            n, length, self.spec.channels, *frame_shape, dtype=torch.uint8, device=self.device
        )
        count = torch.zeros(n, dtype=torch.int64, device=self.device)
        trajectory = {"trajectory": frames, "trajectory_count": count}
        return self.inner.initial(n) | trajectory | self.simulator.initial(n)

    @torch.no_grad()
    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        output = self.inner.act(step, _inner_carry(carry), explore=False)
        action = output.action
        frame = step.obs[:, None, -self.spec.channels :]
        count = (carry["trajectory_count"] + 1).clamp(max=self.config.trajectory_length)
        trajectory = {
            "trajectory": torch.cat([carry["trajectory"][:, 1:], frame], 1),
            "trajectory_count": count,
        }
        if explore:
            exploring = prng.uniform(carry["rng"], 1, prng.Purpose.EXPLORE)[:, 0] < self.epsilon
            num_exploring = int(exploring.sum())
            if num_exploring:  # prediction is expensive, so only for the rows that explore
                order = exploring.cpu().argsort(descending=True, stable=True)
                rows = order[: max(num_exploring, MIN_BATCH)]
                selected = {name: x[rows] for name, x in (carry | trajectory).items()}
                novel = self.explore(step.select(rows), selected)
                novel = torch.where(exploring[rows], novel, action[rows])
                action = action.index_copy(0, rows.to(action.device), novel)
        context = self.simulator.next_context(step, action, carry)
        return ActOutput(action, output.carry | trajectory | context, output.extras)

    def explore(self, step: TimeStep, carry: Carry) -> Int64[Tensor, " N"]:
        """Return the action whose predicted frame has the lowest visit frequency.

        The trajectory in ``carry`` ends with the current frame. The action is random until the
        predictor is ready.
        """
        rng, count, length = carry["rng"], carry["trajectory_count"], self.config.trajectory_length
        if not self.simulator.ready:
            return prng.randint(rng, self.spec.num_actions, prng.Purpose.ACTION)
        state = self.simulator.start(step, carry, rng)
        filled = torch.arange(length, device=count.device) >= length - count[:, None]
        frequencies = []
        for action in range(self.spec.num_actions):
            prediction, _ = self.simulator.predictor.predict(state, torch.full_like(rng, action))
            frame = prediction.obs[:, -self.spec.channels :]
            frequencies.append(
                visit_frequency(
                    frame, carry["trajectory"], filled, self.config.sigma, self.config.delta
                )
            )
        return argmax_with_random_ties(-torch.stack(frequencies, 1), rng)

    def learn(self, t: Transition) -> Metrics:
        """Train the predictor and the inner agent."""
        metrics = self.simulator.learn(t)
        inner = replace(t, carry=_inner_carry(t.carry), next_carry=_inner_carry(t.next_carry))
        with settings_at("agent.inner"):
            metrics |= self.inner.learn(inner)
        return metrics | {"charts/informed_epsilon": self.epsilon}


def visit_frequency(
    frame: UInt8[Tensor, "N C H W"],
    trajectory: UInt8[Tensor, "N d C H W"],
    filled: Bool[Tensor, "N d"],
    sigma: float,
    delta: float,
) -> Float[Tensor, " N"]:
    """Compute how often frames like these were visited in the recent trajectory (section 4).

        n(x) = sum_i k(x, x_i)
        k(x, y) = exp(-sum_j min(max((x_j - y_j)^2 - delta, 0), 1) / sigma)

    i runs over the ``filled`` frames of the trajectory, j over pixels, which are in 0..255.
    """
    excess = (frame[:, None].int() - trajectory.int()).square().float() - delta
    num_different = excess.clamp(0, 1).flatten(2).sum(2)
    return ((-num_different / sigma).exp() * filled).sum(1)


def _inner_carry(carry: Carry) -> Carry:
    return {name: value for name, value in carry.items() if name not in OWN_CARRY}
