"""An experiment as a value: an agent, an env, a bonus, and the length of training."""

from dataclasses import dataclass
from pathlib import Path

from ...agents.bonuses.bonus import BonusConfig, NoBonusConfig
from ...agents.episodic.mfec import MFECConfig
from ...agents.interface import AgentConfig
from ...envs.atari.atari import AtariConfig
from ...envs.checks import at_least, check, within
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig
from ..runs.run import Run
from ..runs.serialization import decode


@dataclass(frozen=True)
class Job:
    """Base of what a run folder can hold: an experiment, or the pretraining of a model."""


@dataclass(frozen=True)
class Experiment(Job):
    """An agent trained in an env, with an exploration bonus."""

    agent: AgentConfig = MFECConfig()
    env: EnvConfig = AtariConfig()
    bonus: BonusConfig = NoBonusConfig()
    seed: int = 0
    total_timesteps: int = 1_000_000
    """Agent steps, summed over all envs."""
    num_envs: int = 16
    """Parallel copies of the env."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "total_timesteps", "num_envs")
        check(self, "", within(1, 10**15), "total_timesteps")
        check(self, "", within(1, 10**5), "num_envs")
        check(self, "", within(0, 2**63 - 1), "seed")
        if self.agent.no_bonus_reason and not isinstance(self.bonus, NoBonusConfig):
            raise UsageError(
                f"The agent {type(self.agent).__name__.removesuffix('Config')} takes no bonus: "
                f"{self.agent.no_bonus_reason}. Choose bonus:none or another agent."
            )


def read_job(folder: Path | str) -> Job:
    """Return the job of a run folder; raises UsageError if the folder holds none."""
    run = Run(folder)
    try:
        return decode(Job, run.config())
    except (TypeError, KeyError, AttributeError) as error:
        path = run.folder / "config.json"
        raise UsageError(f"{path} is not a config of this version: {error}.") from error


def read_experiment(folder: Path | str) -> Experiment:
    """Return the experiment of a run folder; raises UsageError if the folder holds none."""
    job = read_job(folder)
    if not isinstance(job, Experiment):
        raise UsageError(
            f"{folder} holds the pretraining of a model, not an agent's run; "
            "name a run of `reverie train`."
        )
    return job
