"""The agent of a run as of its last checkpoint, to act."""

from pathlib import Path

from ...agents.bonuses.bonus import Bonus
from ...agents.interface import Agent
from ...envs.batched_env import spec_of
from ...envs.errors import UsageError
from ...world_models.state import without_buffers
from ..config.experiment import Experiment
from ..config.serialization import read_experiment
from ..runs.part_errors import building, loading
from ..runs.run import Run
from ..runs.runtime import pick_device
from ..runs.state_checks import check_count, restore


def load(folder: Path | str, *, device: str = "auto") -> tuple[Experiment, Agent]:
    """Return a run's experiment, and its agent as of the last checkpoint, to act."""
    experiment, agent, _, _ = load_trained(folder, device=device)
    return experiment, agent


def load_trained(
    folder: Path | str, *, device: str = "auto"
) -> tuple[Experiment, Agent, Bonus, int]:
    """Return a run's experiment, its agent and bonus, and its agent steps, at the last checkpoint.

    The agent's buffers of data to learn from are empty: they are not read, so that an agent can act
    even if they are damaged. Raises UsageError if there is no checkpoint, or one of another config
    or version.
    """
    run, torch_device = Run(folder), pick_device(device)
    experiment = read_experiment(folder)
    with building("env"):
        spec = spec_of(
            experiment.env,
            experiment.num_envs,
            privileged=experiment.needs_privileged,
            snapshots=experiment.needs_snapshots,
        )
    with building("agent"):
        agent = experiment.agent.build(spec, seed=experiment.seed, device=torch_device)
        bonus = experiment.bonus.build(spec, seed=experiment.seed, device=torch_device)
    with loading(run.folder):
        state = run.checkpoints.load(
            lambda state: {
                "agent": without_buffers(agent, state["agent"]),
                "bonus": without_buffers(bonus, state["bonus"]),
                "step": state["step"],
            }
        )
        if state is None:
            raise UsageError(f"{run.folder} has no checkpoint yet; train it first.")
        restore(agent, state["agent"], "agent")
        restore(bonus, state["bonus"], "bonus")
        steps = check_count(state["step"], "step")
    return experiment, agent, bonus, steps
