"""An experiment as a value: an agent, an env, a bonus, and the length of training."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...agents.bonuses.bonus import BonusConfig, NoBonusConfig
from ...agents.episodic.mfec import MFECConfig
from ...agents.interface import AgentConfig
from ...envs.atari.atari import AtariConfig
from ...envs.checks import check, within
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig


@dataclass(frozen=True)
class Job:
    """Base of what a run folder can hold: an experiment, or the pretraining of a model."""

    unit: ClassVar[str]
    """What is counted: a step or an update."""
    length_field: ClassVar[str]
    """Name of the field that holds the length of the run."""

    @property
    def length(self) -> int:
        """The length of the run, in its unit."""
        return int(getattr(self, self.length_field))


@dataclass(frozen=True)
class Experiment(Job):
    """An agent trained in an env, with an exploration bonus."""

    unit = "step"
    length_field = "total_timesteps"

    agent: AgentConfig = MFECConfig()
    env: EnvConfig = AtariConfig()
    bonus: BonusConfig = NoBonusConfig()
    seed: int = 0
    """Seed of every random number of the run."""
    total_timesteps: int = 1_000_000
    """Agent steps, summed over all envs; `reverie imagine` takes --imagined-steps instead."""
    num_envs: int = 16
    """Parallel copies of the env."""
    init_from: Path | None = None
    """Run to start from: the pretraining of the agent's predictor or representation or of the
    bonus's density, or the training of an equal agent, in another env with the same observations
    and actions."""

    def __post_init__(self) -> None:
        check(self, "", within(1, 10**15), "total_timesteps")
        check(self, "", within(1, 10**5), "num_envs")
        check(self, "", within(0, 2**63 - 1), "seed")
        if self.agent.no_bonus_reason and not isinstance(self.bonus, NoBonusConfig):
            raise UsageError(
                f"The agent {type(self.agent).__name__.removesuffix('Config')} takes no bonus: "
                f"{self.agent.no_bonus_reason}. Choose bonus:none or another agent."
            )
        if self.agent.untrained_reason and self.init_from is None:
            raise UsageError(
                f"{self.agent.untrained_reason}; add --init-from RUN, a run of `reverie pretrain`, "
                "or change the setting."
            )

    @property
    def protocol_label(self) -> str:
        """Label of the protocol of training: the env's, and whether episodes start anywhere."""
        returns = ", returns to snapshots" if self.agent.return_after else ""
        return self.env.protocol_label + returns

    @property
    def warning(self) -> str:
        """Return in which of its steps the agent makes no update, and why; empty if in none."""
        first = self.agent.first_update(self.num_envs)
        last = self.agent.last_update(self.num_envs)
        total = f"total_timesteps is {self.total_timesteps:,}"
        if first > self.total_timesteps:
            return (
                f"no update is made: the agent's first one is at step {first:,}, and {total}; "
                "choose a larger --total-timesteps, or change the agent's settings."
            )
        if last < self.total_timesteps:
            return (
                f"nothing is learned after step {last:,.0f}, where the learning rate has reached "
                f"0, and {total}; raise the agent's anneal_steps, or set it to 0 for a constant "
                "learning rate."
            )
        return ""

    @property
    def needs_privileged(self) -> bool:
        """Whether a part reads the true state (``TimeStep.privileged``); see ``references``."""
        return self._has_part_with("needs_privileged")

    @property
    def needs_snapshots(self) -> bool:
        """Whether a part starts from snapshots of the env (``TimeStep.snapshot``)."""
        return self._has_part_with("needs_snapshots")

    def _has_part_with(self, capability: str) -> bool:
        parts = [part for role in (self.agent, self.bonus) for part in _nested_parts(role)]
        return any(getattr(part, capability, False) for part in parts)


def _nested_parts(config: Any) -> Iterator[Any]:
    """Yield a config, and the configs in it."""
    if is_dataclass(config):
        yield config
        for field in fields(config):
            yield from _nested_parts(getattr(config, field.name))
