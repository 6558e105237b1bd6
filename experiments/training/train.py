"""Training of an experiment in a run folder."""

from dataclasses import asdict
from pathlib import Path

from ...envs.errors import UsageError
from ...world_models.precision import use_precision
from ..config.experiment import Experiment
from ..runs.checkpoints import report_full_disk
from ..runs.provenance import provenance
from ..runs.run import Run, building, loading
from ..runs.runtime import keep_freed_memory, pick_device, pick_precision, pick_threads
from ..runs.serialization import encode
from ..runs.state_checks import check_timestep
from .envs import make_batched_env, random_play_throughput
from .options import TrainOptions
from .session import TrainingSession


def train(
    experiment: Experiment,
    folder: Path | str,
    options: TrainOptions = TrainOptions(),  # noqa: B008  # frozen
) -> Run:
    """Train, or continue training, in a run folder; return the run, finished or interrupted.

    A run that has reached its total timesteps is not changed. Ctrl-C and SIGTERM write a checkpoint
    after the current timestep, from which the same call continues.

    Raises UsageError for invalid input, and RunError if a model's numbers are no longer finite, an
    emulator does not respond or the disk is full; the last checkpoint is kept in either case.

    Example::

        train(PRESETS["dqn"], "runs/dqn", TrainOptions(device="cpu"))
    """
    device = pick_device(options.device)
    threads = pick_threads(options.threads)
    keep_freed_memory()
    run = Run.open(folder, encode(experiment))
    with run.locked(), report_full_disk(run.folder):
        state = run.load()
        initial, total = experiment.agent.initial_timesteps, experiment.total_timesteps
        if initial >= total:
            raise UsageError(
                f"total_timesteps is {total}, and {initial} were spent on pretraining; choose a "
                "larger --total-timesteps."
            )
        steps = initial
        if state:
            with loading(run.folder):
                steps += check_timestep(state["timestep"]) * experiment.num_envs
        if state and steps >= total:
            run.finished = True
            if not options.quiet:
                print(
                    f"{run.folder} is finished at step {steps:,}; choose a larger "
                    "--total-timesteps to continue."
                )
            return run
        experiment.agent.check_env(experiment.env.eval_env.env_name)
        precision = pick_precision(options.precision, options.compile, device)
        about = provenance(device, threads) | asdict(precision)
        about |= {"protocol": experiment.env.protocol_label, "pipeline": options.pipeline}
        seconds, random_sps = options.random_play_seconds, None
        with use_precision(precision), building("env"):  # an env may hold a model
            if seconds > 0:
                random_sps = random_play_throughput(experiment, threads, seconds)
            envs = make_batched_env(experiment, device, threads, options.pipeline)
        with use_precision(precision), building("agent"):
            agent = experiment.agent.build(envs.spec, seed=experiment.seed, device=device)
        with building("bonus"):
            bonus = experiment.bonus.build(envs.spec, seed=experiment.seed, device=device)
        session = TrainingSession(experiment, options, run, envs, agent, bonus, random_sps)
        try:
            session.train(state, about)
        finally:
            envs.close()
    return run
