"""A pretrained predictor as an env: ``reverie train dqn env:imagination --env.run RUN``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from ...envs.atari.atari import AtariConfig
from ...envs.batched_env import spec_of
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig, EnvSpec
from ...world_models.precision import FLOAT32, Precision
from ...world_models.prediction.imagination import Imagination
from ..config.serialization import MOVED, read_job
from ..datasets.dataset import Recording
from ..datasets.open_loop import context_before, evenly_spaced
from .predictors import PredictorPretraining
from .pretrain import load_model


@dataclass(frozen=True)
class ImaginationConfig(EnvConfig):
    """Imagined episodes of a pretrained predictor, which start in its training recordings."""

    run: Path | None = None
    """Folder of the predictor's pretraining."""
    horizon: int = 100
    """Steps after which an episode is truncated."""
    num_starts: int = 1000
    """Number of recorded segments from which episodes start."""

    def build(
        self,
        num_envs: int,
        *,
        threads: int = 0,
        privileged: bool = False,
        precision: Precision = FLOAT32,
    ) -> VectorEnv[Any, Any, Any]:
        folder, job = self._read_run()
        recording = Recording(*job.data, cache_bytes=0)
        real = self._check_real_env(folder, job, recording)
        _, model = load_model(folder, device="cpu", precision=precision)
        ends = job.rows(recording, "train", length=1)  # where an episode goes on
        starts = context_before(
            recording, evenly_spaced(ends, self.num_starts), job.stack, model.context
        )
        return Imagination(model, starts, num_envs, horizon=self.horizon, planes=real.planes)

    @property
    def env_name(self) -> str:
        """The name of the recorded env, if its run is there, after "imagination-"."""
        found = self.run is not None and self.run.exists()
        return f"imagination-{self.eval_env.env_name}" if found else "imagination"

    @property
    def eval_env(self) -> EnvConfig:
        """Config of the recorded env, with the predictor's number of frames where it is a setting.

        An agent that is trained in imagination can play it, because ``build`` compares both.
        """
        _, job = self._read_run()
        return job.manifest.env_with_stack(job.stack)

    def _check_real_env(
        self, folder: Path, job: PredictorPretraining, recording: Recording
    ) -> EnvSpec:
        """Return the spec of the recorded env.

        Raises UsageError if it has other observations or actions than the dream.
        """
        env, channels = self.eval_env, recording.frame_shape[0]
        real, shape = spec_of(env), recording.obs_shape(job.stack)
        dream = EnvSpec(1, recording.num_actions, shape, channels)
        same_frames = recording.frame_shape == (real.channels, *real.obs_shape[1:])
        same_actions = dream.num_actions == real.num_actions
        if dream.obs_shape == real.obs_shape and same_frames and same_actions:
            return real
        frames, rest = divmod(real.obs_shape[0], real.channels)
        remedy = f"{env.env_name} has changed since {recording.folders[0]}; record it again"
        if same_frames and same_actions and not rest:
            remedy = f"pretrain the predictor with --stack {frames}"
            if isinstance(env, AtariConfig) and not env.protocol.grayscale:
                remedy += ", or on a recording with --format gray"
        raise UsageError(
            f"The predictor of {folder} has {_describe(dream)}, but {env.env_name} has "
            f"{_describe(real)}, so an agent trained in imagination could not play it; {remedy}."
        )

    def _read_run(self) -> tuple[Path, PredictorPretraining]:
        if self.run is None:
            raise UsageError("env:imagination needs --env.run FOLDER, a run of `reverie pretrain`.")
        if not self.run.exists():
            raise UsageError(f"env.run is {self.run}, which does not exist; {MOVED}.")
        job = read_job(self.run)
        if not isinstance(job, PredictorPretraining):
            raise UsageError(
                f"{self.run} holds no predictor; run `reverie pretrain predictor:NAME` first."
            )
        return self.run, job


def _describe(spec: EnvSpec) -> str:
    """Return the observations and actions of an env in words."""
    frames, shape = spec.obs_shape[0] // spec.channels, "x".join(map(str, spec.obs_shape))
    return f"observations {shape} ({frames} frames) and {spec.num_actions} actions"
