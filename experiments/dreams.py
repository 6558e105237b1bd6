"""A pretrained predictor as a world: ``reverie train dqn env:imagination --env.run RUN``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gymnasium.vector import VectorEnv

from envs.atari import AtariConfig
from envs.errors import UsageError
from envs.interface import EnvConfig

if TYPE_CHECKING:
    from experiments.predictors import PredictorPretraining


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
        from experiments.pretraining import load_model
        from experiments.recording import Recording
        from world_models.prediction.imagination import Imagination

        job, (_, model) = self._job(), load_model(self.run, device="cpu")
        recording = Recording(*job.data, memory=0)
        rows = recording.rows("train", length=SEEN, held_out=job.held_out, seed=job.split)
        segments = recording.segments(evenly(rows, self.moments), SEEN - 1, job.stack)
        return Imagination(model, segments, num_envs, horizon=self.horizon)

    @property
    def title(self) -> str:
        return "imagination"

    @property
    def evaluation(self) -> EnvConfig:
        """The world that was recorded; raises UsageError where it cannot look like its dreams."""
        from experiments.recorder import Manifest

        job = self._job()
        world = Manifest.read(Path(job.data[0])).world(job.stack)
        if isinstance(world, AtariConfig) and world.protocol.stack != job.stack:
            raise UsageError(
                f"The dreams of {self.run} show {job.stack} coloured frames at once and the game "
                "one, so what plays in them cannot play the game; record with --format grey."
            )
        return world

    def _job(self) -> "PredictorPretraining":
        # Imported late, as the configs of what they import include this one.
        from experiments.predictors import PredictorPretraining
        from experiments.run import Run

        if not self.run:
            raise UsageError("env:imagination needs a run: --env.run FOLDER of `reverie pretrain`.")
        job = Run(self.run).job()
        if not isinstance(job, PredictorPretraining):
            raise UsageError(f"{self.run} holds no predictor; pretrain one first.")
        return job
