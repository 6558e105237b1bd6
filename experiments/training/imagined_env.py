"""A pretrained predictor as an env: ``reverie train dqn env:imagination --env.run RUN``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gymnasium.vector import VectorEnv

from ...envs.atari.atari import AtariConfig
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig
from ..config.experiment import read_job

if TYPE_CHECKING:
    from .predictors import PredictorPretraining


@dataclass(frozen=True)
class ImaginationConfig(EnvConfig):
    """Imagined episodes of a pretrained predictor, which start in its training recordings."""

    run: str = ""
    """Folder of the predictor's pretraining."""
    horizon: int = 100
    """Steps after which an episode is truncated."""
    num_starts: int = 1000
    """Number of recorded segments from which episodes start."""

    def build(self, num_envs: int, *, threads: int = 0) -> VectorEnv[Any, Any, Any]:
        from ...world_models.prediction.imagination import Imagination
        from ..datasets.dataset import Recording
        from ..evaluation.prediction_error import CONTEXT_LENGTH, evenly_spaced
        from .pretrain import load_model

        job, (_, model) = self._job(), load_model(self.run, device="cpu")
        recording = Recording(*job.data, cache_bytes=0)
        rows = recording.start_indices(
            "train", length=CONTEXT_LENGTH, held_out=job.held_out, seed=job.split
        )
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
        from ..datasets.writer import Manifest

        job = self._job()
        env = Manifest.read(Path(job.data[0])).env_with_stack(job.stack)
        if isinstance(env, AtariConfig) and env.protocol.stack != job.stack:
            raise UsageError(
                f"The predictor of {self.run} has observations of {job.stack} color frames and the "
                "game of one, so an agent trained in imagination cannot play the game; record with "
                "--format gray."
            )
        return env

    def _job(self) -> "PredictorPretraining":
        # Imported here, as the registry that predictors.py depends on imports this module.
        from .predictors import PredictorPretraining

        if not self.run:
            raise UsageError("env:imagination needs --env.run FOLDER, a run of `reverie pretrain`.")
        job = read_job(self.run)
        if not isinstance(job, PredictorPretraining):
            raise UsageError(
                f"{self.run} holds no predictor; run `reverie pretrain predictor:NAME` first."
            )
        return job
