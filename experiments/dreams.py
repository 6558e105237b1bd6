"""A pretrained predictor as a world: ``reverie train dqn env:imagination --env.run RUN``."""

from dataclasses import dataclass
from typing import Any

from gymnasium.vector import VectorEnv

from envs.errors import UsageError
from envs.interface import EnvConfig


@dataclass(frozen=True)
class ImaginationConfig(EnvConfig):
    """Dreams of a pretrained predictor, which begin in its training recordings."""

    run: str = ""
    """Folder of the predictor's pretraining."""
    horizon: int = 100
    """Steps after which a dream is timed out."""
    moments: int = 1000
    """Remembered moments that dreams begin at."""

    def build(self, num_envs: int, *, threads: int = 0) -> VectorEnv[Any, Any, Any]:
        from experiments.horizons import SEEN, evenly
        from experiments.predictors import PredictorPretraining
        from experiments.pretraining import load_model
        from experiments.recording import Recording
        from world_models.prediction.imagination import Imagination

        if not self.run:
            raise UsageError("env:imagination needs a run: --env.run FOLDER of `reverie pretrain`.")
        job, model = load_model(self.run, device="cpu")
        if not isinstance(job, PredictorPretraining):
            raise UsageError(f"{self.run} holds no predictor; pretrain one first.")
        recording = Recording(*job.data, memory=0)
        rows = recording.rows("train", length=SEEN, held_out=job.held_out, seed=job.seed)
        segments = recording.segments(evenly(rows, self.moments), SEEN - 1, job.stack)
        return Imagination(model, segments, num_envs, horizon=self.horizon)

    @property
    def title(self) -> str:
        return "imagination"
