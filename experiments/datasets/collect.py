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
from ...envs.batched_env import BatchedEnv
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig, TimeStep
from ..runs.checkpoints import report_full_disk
from ..runs.provenance import provenance
from .dataset import Recording
from .writer import Manifest, Recorder, reserve_folder

NOT_RESUMABLE = "a recording cannot be resumed. Make room, and run the same command again."
"""What follows if the disk is full."""

Format = Literal["own", "gray", "rgb"]


def collect(
    policy: Policy,
    env: EnvConfig,
    folder: Path | str,
    *,
    frames: int = 100_000,
    format: Format = "own",
    epsilon: float = 0.0,
    name: str = "random",
    seed: int = 0,
    num_envs: int = 8,
    device: torch.device | str = "cpu",
    threads: int = 1,
) -> Recording:
    """Record about ``frames`` frames of a policy that acts uniformly with probability ``epsilon``.

    Format ``own`` records what the policy observes; ``gray`` (84 x 84) and ``rgb`` (210 x 160) are
    for Atari. An interrupted recording restarts from its first frame. Raises UsageError for a
    format that the env lacks or a folder that holds a recording, and RuntimeError if the replica
    diverges.

    Example::

        collect(RandomPolicy(6), AtariConfig("pong"), "runs/data/pong", frames=20_000)
    """
    if frames < num_envs or not 0 <= epsilon <= 1:
        raise UsageError(
            f"frames is {frames} and epsilon {epsilon}; frames must be at least the number of "
            f"envs, {num_envs}, and epsilon must be in 0..1."
        )
    device = torch.device(device)
    policy_envs = BatchedEnv(
        env.build(num_envs, threads=threads), seed=seed, purpose="collect", device=device
    )
    recorded_config, recorded_envs = in_format(env, format), policy_envs
    if recorded_config != env:
        recorded_envs = BatchedEnv(
            recorded_config.build(num_envs, threads=threads), seed=seed, purpose="collect"
        )
    behavior = EpsilonGreedy(policy, policy_envs.spec.num_actions, epsilon)
    carry = behavior.initial(num_envs)
    if "rng" in carry:
        carry["rng"] = prng.initial_rng(seed, "collect", num_envs).to(device)
    channels, (_, height, width) = recorded_envs.spec.channels, recorded_envs.spec.obs_shape
    manifest = Manifest(
        env=recorded_config,
        num_actions=policy_envs.spec.num_actions,
        frame_shape=(channels, height, width),
        policy=name,
        epsilon=epsilon,
        seed=seed,
        num_envs=num_envs,
    )
    with ExitStack() as stack:
        stack.enter_context(reserve_folder(Path(folder)))
        stack.enter_context(report_full_disk(Path(folder), NOT_RESUMABLE))
        for envs in {policy_envs, recorded_envs}:
            stack.callback(envs.close)
        recorder = Recorder(Path(folder), manifest, provenance(device, threads))
        step = policy_envs.reset()
        recorded_step = step if recorded_envs is policy_envs else recorded_envs.reset()
        num_timesteps = frames // num_envs - 1
        loop = interact(policy_envs, behavior, explore=False, start=(step, carry))
        for t in islice(loop, num_timesteps):
            action = t.action.cpu()
            if recorded_envs is policy_envs:
                next_recorded_step = t.next_step
            else:
                next_recorded_step = recorded_envs.step(action)
            _check_replica(t.next_step, next_recorded_step)
            recorder.append(recorded_step, action, next_recorded_step)
            recorded_step = next_recorded_step
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


def _check_replica(step: TimeStep, replica_step: TimeStep) -> None:
    """Raise RuntimeError if the results of the policy's env and of its replica differ."""
    for name in ("reward", "discount", "first", "last"):
        if not torch.equal(getattr(step, name).cpu(), getattr(replica_step, name).cpu()):
            raise RuntimeError(
                f"The replica that renders the recorded frames diverged from the policy's env: "
                f"their {name} differs."
            )
