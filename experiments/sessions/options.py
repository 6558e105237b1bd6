"""Options: how a run is executed, beside the experiment that says what is learned."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ...envs.checks import at_least, check
from ...world_models.precision import PrecisionName
from .trackers import TrackerName

Imports = Annotated[
    tuple[str, ...], tyro.conf.arg(name="import", metavar="MODULE"), tyro.conf.UseAppendAction
]
"""Modules given by ``--import``, which are imported before the other arguments are parsed."""


@dataclass(frozen=True)
class RunOptions:
    """How any run is executed: folder, device, speed, logging and checkpoints."""

    folder: Path | None = None
    """Run folder; by default named after what is learned, so that the same command resumes it."""
    imports: Imports = ()
    """Module with parts of your own, whose name is stored with the run; may be repeated."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""
    threads: int = 0
    """CPU threads of torch and of the emulators; 0 for all cores."""
    precision: PrecisionName = "fp32"
    """Precision of the networks' matrix products; bf16 is faster if the hardware supports it, and
    less accurate."""
    compile: bool = False
    """Compile the networks, which takes minutes at first; needs a C++ compiler."""
    log_every: int = 10_000
    """Agent steps between two rows of metrics."""
    max_minutes: float = 0.0
    """Stop with a checkpoint after this many minutes; 0 for no limit."""
    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints."""
    track: TrackerName | None = None
    """Log to Weights & Biases or MLflow too, which are extras; offline unless told otherwise."""
    quiet: bool = False
    """Show no progress."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "log_every")
        check(self, "", at_least(0), "max_minutes", "checkpoint_minutes")


@dataclass(frozen=True)
class TrainOptions(RunOptions):
    """How the training of an agent is executed."""

    pipeline: int = 1
    """Number of groups that the envs are divided into. With 2, the policy acts in one group while
    the emulators of the other run; agents that learn at every timestep then select actions with
    parameters one timestep old."""
    resume: Literal["exact", "fresh-episodes", "without-replay"] = "exact"
    """exact: resume bit for bit, replaying the envs from their seeds and actions. fresh-episodes:
    start new episodes, for envs that cannot be replayed. without-replay: if no checkpoint is whole,
    continue from one of which the replay buffer alone is lost, with an empty one."""
    count_rooms: bool = False
    """Count the visited rooms and collected keys of all envs, in Montezuma's Revenge; every env
    then has a second emulator."""
    count_states: bool = False
    """Count the distinct observations, told apart by SimHash."""
    video_every: int = 0
    """Agent steps between two videos of a training episode; 0 for none."""
    eval_every: int = 0
    """Agent steps between two evaluations during training; 0 for none."""
    eval_episodes: int = 10
    """Whole episodes of each evaluation during training."""
    seeds_together: int = 1
    """Train this many seeds, from --seed on or of a grid's cell, in one process, each as it would
    be alone."""
    random_play_seconds: float = 2.0
    """Seconds for which random play is timed before training, for charts/SPS_ratio_to_random; 0
    skips it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "", at_least(0), "video_every", "eval_every", "random_play_seconds")
        check(self, "", at_least(1), "eval_episodes", "seeds_together")


@dataclass(frozen=True)
class PretrainOptions(RunOptions):
    """How the pretraining of a model is executed."""

    log_every: int = 500
    """Updates between two rows of metrics, each with an evaluation on held-out episodes."""
    memory_gb: float = 2.0
    """Host memory for decoded frames; they are cached if all of them fit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "", at_least(0), "memory_gb")
