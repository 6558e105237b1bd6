"""A pretrained predictor as an env: ``reverie train dqn env:imagination --env.run RUN``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from ...envs.atari.atari import AtariConfig
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig
from ...world_models.precision import FLOAT32, Precision
from ...world_models.prediction.imagination import Imagination
from ..config.serialization import MOVED, read_job
from ..datasets.dataset import Recording
from ..datasets.writer import Manifest
from .prediction_error import CONTEXT_LENGTH, evenly_spaced
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
        _, model = load_model(folder, device="cpu", precision=precision)
        recording = Recording(*job.data, cache_bytes=0)
        rows = job.rows(recording, "train", length=CONTEXT_LENGTH)
        starts = recording.segments(
            evenly_spaced(rows, self.num_starts), CONTEXT_LENGTH - 1, job.stack
        )
        return Imagination(model, starts, num_envs, horizon=self.horizon)

    @property
    def env_name(self) -> str:
        return "imagination"

    @property
    def eval_env(self) -> EnvConfig:
        """Config of the recorded env; raises UsageError if its observations differ in shape."""
        folder, job = self._read_run()
        env = Manifest.read(job.data[0]).env_with_stack(job.stack)
        if isinstance(env, AtariConfig) and env.protocol.stack != job.stack:
            raise UsageError(
                f"The predictor of {folder} has observations of {job.stack} color frames and the "
                "game of one, so an agent trained in imagination cannot play the game; record with "
                "--format gray."
            )
        return env

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
