"""Collecting: a policy plays, and its frames are kept, in its own format or in another.

Frames of another format come from a *twin*: the same game with the same seeds and actions, drawn
differently. The two agree step for step, and the recording stops with an error where they do not.
"""

from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch

from agents.interface import Policy
from agents.loop import interact
from agents.policies import EpsilonGreedy
from envs import dice
from envs.atari import AtariConfig
from envs.errors import UsageError
from envs.interface import EnvConfig
from envs.stream import Stream
from experiments.checkpoints import said_where_full
from experiments.recorder import Manifest, Recorder, room_for
from experiments.recording import Recording
from experiments.run import provenance

BEGINS_ANEW = "a recording cannot go on. Make room, and the same command begins it anew."
Format = Literal["own", "grey", "rgb"]


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
    streams: int = 8,
    device: torch.device | str = "cpu",
    threads: int = 1,
) -> Recording:
    """Record about ``frames`` frames of a policy that acts uniformly with probability ``epsilon``.

    ``own`` keeps what the policy sees; ``grey`` (84 x 84) and ``rgb`` (210 x 160) are of Atari.
    One that was interrupted begins anew. Raises UsageError for a format that the world has not or a
    folder that holds a recording.
    """
    if frames < streams or not 0 <= epsilon <= 1:
        raise UsageError(
            f"frames is {frames} and epsilon {epsilon}; there must be a frame for each of the "
            f"{streams} streams, and epsilon must be in 0..1."
        )
    where = torch.device(device)
    seen = Stream(env.build(streams, threads=threads), seed=seed, purpose="collect", device=where)
    shown, drawn = in_format(env, format), seen
    if shown != env:
        drawn = Stream(shown.build(streams, threads=threads), seed=seed, purpose="collect")
    player = EpsilonGreedy(policy, seen.spec.num_actions, epsilon)
    memory = player.initial(streams)
    if "dice" in memory:
        memory["dice"] = dice.keys(seed, "collect", streams).to(where)
    colours, (_, height, width) = drawn.spec.colours, drawn.spec.obs_shape
    manifest = Manifest(
        env=shown,
        num_actions=seen.spec.num_actions,
        frame_shape=(colours, height, width),
        policy=name,
        epsilon=epsilon,
        seed=seed,
        streams=streams,
    )
    with ExitStack() as open_ones:
        open_ones.enter_context(room_for(Path(folder)))
        open_ones.enter_context(said_where_full(Path(folder), BEGINS_ANEW))
        for stream in {seen, drawn}:
            open_ones.callback(stream.close)
        recorder = Recorder(Path(folder), manifest, provenance(where, threads))
        step = seen.reset()
        twin = step if drawn is seen else drawn.reset()
        ticks = frames // streams - 1
        for t in islice(interact(seen, player, explore=False, start=(step, memory)), ticks):
            following = t.next_step if drawn is seen else drawn.step(t.action.cpu())
            _check_twin(t.next_step, following)
            recorder.append(twin, t.action.cpu(), following)
            twin = following
        recorder.close(twin)
    return Recording(folder)


def in_format(env: EnvConfig, format: Format) -> EnvConfig:
    """The same world, one frame at a time, in a format."""
    if format == "own":
        return env
    if not isinstance(env, AtariConfig):
        raise UsageError(
            f"The world {env.title} has no format '{format}'; record it as --format own."
        )
    height, width = (84, 84) if format == "grey" else (210, 160)
    changes: dict[str, Any] = {"grey": format == "grey", "height": height, "width": width}
    protocol = replace(env.protocol, **changes, stack=1)
    return env if protocol == env.protocol else replace(env, protocol=protocol)


def _check_twin(a: Any, b: Any) -> None:
    if any(
        not torch.equal(getattr(a, name).cpu(), getattr(b, name).cpu())
        for name in ("reward", "discount", "first", "last")
    ):
        raise RuntimeError("The twin has left the world it follows: what they say differs.")
