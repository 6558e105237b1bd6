"""Initialization of an agent from another run: from a pretrained part, or from an equal agent."""

from pathlib import Path
from typing import Any

import torch

from ...agents.bonuses.bonus import Bonus
from ...agents.bonuses.density_bonus import DensityBonusConfig
from ...agents.interface import Agent, Pretrainable
from ...envs.batched_env import spec_of
from ...envs.errors import UsageError
from ...envs.interface import Carry, EnvSpec, TimeStep, timestep_from_state
from ..config.experiment import Experiment
from ..config.serialization import encode, read_job
from ..runs.config_differences import config_differences
from ..runs.part_errors import loading
from ..runs.run import Run
from ..runs.state_checks import check_count, restore
from .densities import DensityPretraining
from .pretrain import Pretraining

SCHEDULES = ("steps", "schedule")
"""Names of the counters that schedules depend on, in the state of an agent and of its parts."""


def initialize(
    agent: Agent, bonus: Bonus, experiment: Experiment, spec: EnvSpec, device: torch.device
) -> tuple[int, tuple[int, TimeStep, Carry] | None]:
    """Load what the run ``experiment.init_from`` has learned into a new agent or its bonus.

    Returns the agent steps that were spent on it, which are the recorded frames that a
    representation or a density was pretrained on, and the timestep, the time step and the carry at
    which the training of an equal agent stopped, unless it was imported without them. Raises
    UsageError if the run does not fit the experiment.
    """
    folder = experiment.init_from
    assert folder is not None
    job, state = read_job(folder), Run(folder).checkpoints.load()
    if state is None:
        raise UsageError(f"init_from is {folder}, which has no checkpoint yet; train it first.")
    here = {"env_name": experiment.env.eval_env.env_name, **_shapes(spec)}
    if isinstance(job, Experiment):
        if spec.dynamics:
            raise UsageError(
                f"init_from is {folder}, and agent.predictor:emulator and agent:go-explore start "
                "from states of this run's env alone; leave out --init-from, or choose other parts."
            )
        trained = {"agent": encode(job.agent), **_shapes(spec_of(job.env, job.num_envs))}
        _check_fit(folder, trained, here | {"agent": encode(experiment.agent)})
        return 0, _load_agent(agent, folder, state, spec, device)
    assert isinstance(job, Pretraining)
    if isinstance(job, DensityPretraining):
        _load_density(bonus, experiment, folder, job, state)
        return state["recording"]["frames"], None
    role, recording = job.role, state["recording"]
    part = getattr(experiment.agent, role, None)
    if part is None or not isinstance(agent, Pretrainable):
        raise UsageError(
            f"init_from is {folder}, a pretrained {role}, and the agent "
            f"{type(experiment.agent).__name__.removesuffix('Config')} has no {role} to start from "
            "it; choose another agent or leave out --init-from."
        )
    trained = {f"agent.{role}": encode(job.part), "obs_shape": tuple(recording["obs_shape"])}
    if role == "predictor":
        trained |= {name: recording[name] for name in ("env_name", "num_actions")}
    _check_fit(folder, trained, here | {f"agent.{role}": encode(part)})
    with loading(folder):
        agent.load_pretrained(role, state["model"])
    return recording["frames"] if role == "representation" else 0, None


def _load_density(
    bonus: Any, experiment: Experiment, folder: Path, job: DensityPretraining, state: dict[str, Any]
) -> None:
    """Load a density that was pretrained on frames of the same quantization into the bonus."""
    config = experiment.bonus
    if not isinstance(config, DensityBonusConfig):
        raise UsageError(
            f"init_from is {folder}, a pretrained density, and the bonus "
            f"{type(config).__name__.removesuffix('Config')} has none to start from it; choose "
            "bonus:pseudo-count or bonus:surprise, or leave out --init-from."
        )
    settings = ("resolution", "levels")
    trained, here = (
        {"bonus.density": encode(each.density)}
        | {f"bonus.{name}": getattr(each, name) for name in settings}
        for each in (job, config)
    )
    _check_fit(folder, trained, here)
    with loading(folder):
        restore(bonus.density.density, state["model"], "density")
        bonus.density.num_frames = check_count(state["frames"], "frames")


def _shapes(spec: EnvSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in ("num_envs", "obs_shape", "num_actions")}


def _check_fit(folder: Path, trained: dict[str, Any], here: dict[str, Any]) -> None:
    """Raise UsageError if a setting of the trained run is another one here."""
    if differences := config_differences(trained, {name: here[name] for name in trained}):
        raise UsageError(
            f"init_from is {folder}, which was trained with other settings "
            f"({'; '.join(differences)}); give both the same ones, or choose another --init-from."
        )


def _load_agent(
    agent: Agent, folder: Path, state: dict[str, Any], spec: EnvSpec, device: torch.device
) -> tuple[int, TimeStep, Carry] | None:
    """Load a trained agent, whose schedules start anew; return where its training stopped."""
    with loading(folder):
        restore(agent, _with_new_schedules(state["agent"], agent.state_dict()), "agent")
    if "next_step" not in state:  # of an imported run
        return None
    columns = {name: x for name, x in state["next_step"].items() if name != "privileged"}
    if spec.privileged:  # the source may have been without, or with that of another env
        zeros = torch.zeros(spec.num_envs, len(spec.privileged), dtype=torch.uint8)
        stored = state["next_step"].get("privileged", zeros)
        columns["privileged"] = stored if stored.shape == zeros.shape else zeros
    with loading(folder):
        step = timestep_from_state(columns, spec, device)
        carry = {name: x.to(device) for name, x in state["next_carry"].items()}
        timesteps = (state["step"] - state["initial_steps"]) // spec.num_envs
        timesteps = check_count(timesteps + state.get("timesteps_before", 0), "timesteps")
    if "rng" in carry:
        carry["rng"] = agent.initial(spec.num_envs)["rng"]  # of this run's seed
    return timesteps, step, carry


def _with_new_schedules(state: Any, new: Any) -> Any:
    """Return a trained agent's state with the counters of its schedules as in a new agent's."""
    if not isinstance(state, dict) or not isinstance(new, dict):
        return state
    return {
        name: new[name] if name in SCHEDULES else _with_new_schedules(value, new.get(name))
        for name, value in state.items()
    }
