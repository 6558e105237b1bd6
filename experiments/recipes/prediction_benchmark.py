"""Predictors compared by env: each is pretrained on the same frames of random play."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ...envs.interface import EnvConfig
from ...world_models.prediction.feedforward import SMALL
from ...world_models.prediction.mlp import SMALL_MLP
from ..reporting.committed import kept_provenance
from ..runs.run import Run
from ..training.predictors import PredictorPretraining, compare_predictors
from .recipe import Recipe, pretrain_to_the_end, record_random_play

PREDICTORS = {
    "predictor": SMALL,
    "no-action": replace(SMALL, action_conditional=False),
    "mlp": SMALL_MLP,
}


@dataclass(frozen=True)
class PredictorBenchmark(Recipe):
    """The errors of ``PREDICTORS`` in one env at each horizon, and a video of the first one."""

    env: EnvConfig
    frames: int = 100_000
    num_updates: int = 10_000

    kind: ClassVar[str] = "predictors"

    @property
    def cost(self) -> str:
        return f"{len(PREDICTORS)} x {self.num_updates:,} updates"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        runs = [self.fit(name, folder) for name in PREDICTORS]
        errors = compare_predictors([run.folder for run in runs], video=True)
        yield errors | {"provenance": kept_provenance(runs[0])}

    def video(self, folder: Path) -> Path | None:
        return self._folder(folder) / "predictor" / "videos" / "imagined.mp4"

    def fit(self, name: str, folder: Path) -> Run:
        """Collect and pretrain unless finished; raises KeyboardInterrupt if interrupted."""
        data = self._folder(folder) / "data"
        record_random_play(self.env, data, frames=self.frames)
        job = PredictorPretraining(
            data=(data,), predictor=PREDICTORS[name], num_updates=self.num_updates
        )
        return pretrain_to_the_end(job, self._folder(folder) / name)

    def _folder(self, folder: Path) -> Path:
        return folder / f"{self.env.env_name}-predictors"
