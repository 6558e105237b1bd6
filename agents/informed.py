"""Informed exploration (Oh et al. 2015, section 4.3): explore towards what was seen least.

When epsilon says "explore", the action is not drawn but chosen: the one whose imagined next frame
is least like the frames of the recent trajectory.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from agents.dqn import DQNConfig
from agents.interface import AgentConfig
from agents.policies import ACTION, COIN, argmax_with_random_ties
from agents.schedules import linear
from agents.simulator import ImaginingConfig, Simulator
from envs import dice
from envs.checks import above, check, within
from envs.errors import UsageError
from envs.interface import EnvSpec, Memory, Metrics, Step, Transition

OWN = ("trajectory", "seen", "looks", "births")
"""What it remembers beside the inner agent's memory."""
SMALLEST = 4
"""Rows of a batch whose bits no longer depend on how many they are."""


@dataclass(frozen=True)
class InformedConfig(ImaginingConfig):
    """An off-policy agent, and epsilon in hands that look ahead; steps are those of all streams."""

    inner: AgentConfig = DQNConfig()
    """Who learns; it is asked for actions without exploration, and its own epsilon is not used."""
    epsilon: float = 0.1
    epsilon_steps: int = 250_000
    """Steps over which epsilon falls from 1, once exploring is informed."""
    recent: int = 20
    """d: frames of the trajectory that a frame is compared with (the paper: 200 for Q*bert)."""
    sigma: float = 100.0
    """Width of the kernel, in pixels that differ."""
    delta: float = 50.0
    """Squared grey levels that a pixel may differ by (the paper: 0 for Freeway)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner.on_policy:
            raise UsageError(
                f"Informed exploration cannot be around {type(self.inner).__name__}, which learns "
                "only from actions of its own; choose an off-policy agent.inner, such as dqn."
            )
        if isinstance(self.inner, ImaginingConfig):
            raise UsageError("Informed exploration goes around one agent; choose agent.inner:dqn.")
        check(self, "agent", within(0, 1), "epsilon")
        check(self, "agent", above(0), "epsilon_steps", "recent", "sigma")

    @property
    def refuses_bonus(self) -> str:
        return self.inner.refuses_bonus

    @property
    def steps_spent(self) -> int:
        return self.inner.steps_spent

    def build(
        self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "Informed":
        return Informed(self, spec, seed=seed, device=device)


class Informed:
    """The inner agent's action, or with probability epsilon the one that leads somewhere new."""

    def __init__(
        self, config: InformedConfig, spec: EnvSpec, *, seed: int, device: torch.device | str
    ) -> None:
        self.config, self.spec, self.device = config, spec, torch.device(device)
        self.simulator = Simulator(config, spec, seed=seed, device=device)
        self.inner = config.inner.build(spec, seed=seed, device=device)

    @property
    def epsilon(self) -> float:
        """Probability of exploring now."""
        since = self.simulator.steps - self.config.model_starts
        return linear(since, begin=1.0, end=self.config.epsilon, over=self.config.epsilon_steps)

    def initial(self, n: int) -> Memory:
        """The inner agent's memory, and the frames of the recent trajectory, newest last."""
        frame = self.spec.colours, *self.spec.obs_shape[1:]
        seen = torch.zeros(n, self.config.recent, *frame, dtype=torch.uint8, device=self.device)
        count = torch.zeros(n, dtype=torch.int64, device=self.device)
        own = {"trajectory": seen, "seen": count} | self.simulator.initial(n)
        return self.inner.initial(n) | own

    @torch.no_grad()
    def act(
        self, step: Step, memory: Memory, *, explore: bool = True
    ) -> tuple[Int64[Tensor, " N"], Memory]:
        action, following = self.inner.act(step, _inner(memory), explore=False)
        frame = step.obs[:, None, -self.spec.colours :]
        seen = {
            "trajectory": torch.cat([memory["trajectory"][:, 1:], frame], 1),
            "seen": (memory["seen"] + 1).clamp(max=self.config.recent),
        }
        if explore:
            explores = dice.uniform(memory["dice"], 1, COIN)[:, 0] < self.epsilon
            count = int(explores.sum())
            if count:  # imagining is dear: only for those who explore
                order = explores.cpu().argsort(descending=True, stable=True)
                rows = order[: max(count, SMALLEST)]
                known = {name: x[rows] for name, x in (memory | seen).items()}
                chosen = self.explore(step.rows(rows), known)
                chosen = torch.where(explores[rows], chosen, action[rows])
                action = action.index_copy(0, rows.to(action.device), chosen)
        return action, following | seen | self.simulator.note(step, memory)

    def explore(self, step: Step, memory: Memory) -> Int64[Tensor, " N"]:
        """The action whose imagined frame is least visited; a drawn one before there is any.

        The memory's trajectory ends with what is seen now.
        """
        key, seen, recent = memory["dice"], memory["seen"], self.config.recent
        if not self.simulator.ready:
            return dice.integers(key, self.spec.num_actions, ACTION)
        state = self.simulator.start(step, memory, key)
        known = torch.arange(recent, device=seen.device) >= recent - seen[:, None]
        visits = []
        for choice in range(self.spec.num_actions):
            prediction, _ = self.simulator.predictor.predict(state, torch.full_like(key, choice))
            frame = prediction.obs[:, -self.spec.colours :]
            visits.append(
                visited(frame, memory["trajectory"], known, self.config.sigma, self.config.delta)
            )
        return argmax_with_random_ties(-torch.stack(visits, 1), key)

    def learn(self, t: Transition) -> Metrics:
        """Both learn from the tick: the predictor, and the inner agent."""
        metrics = self.simulator.learn(t)
        own = replace(t, memory=_inner(t.memory), next_memory=_inner(t.next_memory))
        return metrics | self.inner.learn(own) | {"informed/epsilon": self.epsilon}

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).state_dict() for name in ("simulator", "inner")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("simulator", "inner"):
            getattr(self, name).load_state_dict(state[name])


def visited(
    frame: UInt8[Tensor, "N C H W"],
    trajectory: UInt8[Tensor, "N d C H W"],
    known: Bool[Tensor, "N d"],
    sigma: float,
    delta: float,
) -> Float[Tensor, " N"]:
    """n_D(x) = sum_i k(x, x_i), with k = exp(-sum_j min(max((x_j - y_j)^2 - delta, 0), 1) / sigma)

    over the known frames of the trajectory (section 4.3; pixels in 0..255).
    """
    apart = (frame[:, None].int() - trajectory.int()).square().float() - delta
    differing = apart.clamp(0, 1).flatten(2).sum(2)
    return ((-differing / sigma).exp() * known).sum(1)


def _inner(memory: Memory) -> Memory:
    """What of a memory is the inner agent's."""
    return {name: value for name, value in memory.items() if name not in OWN}
