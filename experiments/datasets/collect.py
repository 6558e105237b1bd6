"""Collection: a policy acts in an env, and its frames are recorded in the env's format or another.

Frames of another format come from a replica: the same game with the same seeds and actions,
rendered differently. Both must agree at every timestep; otherwise the collection ends with an
error.
"""

from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch

from ...agents.interface import Policy
from ...agents.loop import interact
from ...agents.policies import EpsilonGreedy
from ...envs import prng
from ...envs.atari.atari import AtariConfig
from ...envs.atari.ram import RAM
from ...envs.batched_env import BatchedEnv
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig, TimeStep
from ..runs.disk_errors import reporting_disk_errors
from ..runs.folder_lock import locked
from ..runs.provenance import provenance
from .dataset import Recording
from .writer import Manifest, Recorder

NOT_RESUMABLE = "a recording cannot be resumed", "run the same command again"
"""What follows an error of the disk."""

Format = Literal["own", "gray", "rgb"]


def collect(
    policy: Policy,
    env: EnvConfig,
    folder: Path | str,
    *,
    frames: int = 100_000,
    format: Format = "own",
    epsilon: float = 0.0,
    greedy: bool = False,
    privileged: bool = False,
    snapshots: bool = False,
    name: str = "random",
    seed: int = 0,
    num_envs: int = 8,
    device: torch.device | str = "cpu",
    threads: int = 1,
    imports: tuple[str, ...] = (),
) -> Recording:
    """Record about ``frames`` frames of a policy that acts uniformly with probability ``epsilon``.

    The policy acts as in training, unless it is ``greedy``. Format ``own`` records what the policy
    observes; ``gray`` (84 x 84) and ``rgb`` (210 x 160) are for Atari. The true state is recorded
    where the env offers it, in an Atari game if ``privileged`` asks for it; ``snapshots`` are for
    the policy alone. ``imports`` are the modules that the env needs. An interrupted recording
    restarts from its first frame. Raises UsageError for a format or a true state that the env lacks
    and for a folder that holds a recording, and RuntimeError if the replica diverges.

    Example::

        collect(RandomPolicy(6), AtariConfig("pong"), "runs/data/pong", frames=20_000)
    """
    if frames < num_envs or not 0 <= epsilon <= 1:
        raise UsageError(
            f"frames is {frames} and epsilon {epsilon}; frames must be at least the number of "
            f"envs, {num_envs}, and epsilon must be in 0..1."
        )
    folder, device, recorded_env = Path(folder), torch.device(device), in_format(env, format)
    with ExitStack() as stack:
        seeds: dict[str, Any] = {"seed": seed, "purpose": prng.Purpose.COLLECT}
        envs = BatchedEnv(
            env.build(num_envs, threads=threads, privileged=privileged),
            device=device,
            snapshots=snapshots,
            **seeds,
        )
        stack.callback(envs.close)
        spec, replica = envs.spec, envs
        if privileged and not spec.privileged:
            raise UsageError(
                f"The env {env.env_name} offers no true state, so --privileged has nothing to "
                f"record; leave it out, or choose one of {', '.join(RAM)}."
            )
        if recorded_env != env:
            replica = BatchedEnv(recorded_env.build(num_envs, threads=threads), **seeds)
            stack.callback(replica.close)
        behavior = EpsilonGreedy(policy, spec.num_actions, epsilon)
        carry = behavior.initial(num_envs)
        carry["rng"] = prng.initial_rng(seed, prng.Purpose.COLLECT, num_envs).to(device)
        channels, (_, height, width) = replica.spec.stored_channels, replica.spec.obs_shape
        manifest = Manifest(
            env=recorded_env,
            num_actions=spec.num_actions,
            frame_shape=(channels, height, width),
            policy=name,
            epsilon=epsilon,
            greedy=greedy,
            padding=replica.spec.padding,
            privileged=spec.privileged,
            seed=seed,
            num_envs=num_envs,
            imports=imports,
        )
        stack.enter_context(locked(folder, "recording"))
        stack.enter_context(reporting_disk_errors(folder, *NOT_RESUMABLE))
        recorder = Recorder(folder, manifest, provenance(device, threads))
        step = recorded_step = envs.reset()
        if replica is not envs:
            recorded_step = _with_true_state(replica.reset(), step)
        loop = interact(envs, behavior, explore=not greedy, start=(step, carry))
        for t in islice(loop, frames // num_envs - 1):
            action, next_step = t.action.cpu(), t.next_step
            if replica is not envs:
                next_step = _with_true_state(replica.step(action), next_step)
            recorder.append(recorded_step, action, next_step)
            recorded_step = next_step
        recorder.close(recorded_step)
    return Recording(folder)


def in_format(env: EnvConfig, format: Format) -> EnvConfig:
    """Return the same env with observations of one frame in a format.

    Raises UsageError if the env lacks the format.
    """
    if format == "own":
        return env
    if not isinstance(env, AtariConfig):
        raise UsageError(
            f"The env {env.env_name} has no format '{format}', which is for Atari games; record it "
            "with --format own."
        )
    height, width = (84, 84) if format == "gray" else (210, 160)
    changes: dict[str, Any] = {"grayscale": format == "gray", "height": height, "width": width}
    protocol = replace(env.protocol, **changes, stack=1)
    return env if protocol == env.protocol else replace(env, protocol=protocol)


def _with_true_state(replica_step: TimeStep, step: TimeStep) -> TimeStep:
    """Return the replica's time step with the true state of the policy's env.

    Raises RuntimeError if their results differ.
    """
    for name in ("reward", "discount", "first", "last"):
        if not torch.equal(getattr(step, name).cpu(), getattr(replica_step, name).cpu()):
            raise RuntimeError(
                f"The replica that renders the recorded frames diverged from the policy's env: "
                f"their {name} differs."
            )
    return replace(replica_step, privileged=step.privileged)
