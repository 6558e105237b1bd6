"""Recipes of grids: the raw scores behind verdicts about the parts of agents."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ..ablation.ablate import GridRun
from ..ablation.ablate_options import AblateOptions
from ..ablation.grid import make_grid
from ..config.arguments import parse_known_flags
from .recipe import Recipe


@dataclass(frozen=True)
class AblationRecipe(Recipe):
    """A grid of ``reverie ablate``, which answers a question about a role."""

    role: str
    """count, remember, imagine or plan."""
    question: str
    argv: str
    """The arguments of ``reverie ablate``, without a folder."""

    kind: ClassVar[str] = "ablation"

    @property
    def cost(self) -> str:
        run = self._run(Path())
        steps = sum(task.experiment.total_timesteps for task in run.tasks)
        return f"{len(run.tasks)} runs, {steps:,} steps"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the result whenever runs end; raises UsageError if one fails."""
        run = self._run(folder)
        for _ in run.execute():
            if scores := run.scores():
                yield self._result(scores)
        run.raise_failed()
        yield self._result(run.scores())

    def _result(self, scores: dict[str, Any]) -> dict[str, Any]:
        return {"role": self.role, "question": self.question, "grid": self.argv, **scores}

    def _run(self, folder: Path) -> GridRun:
        options, argv = parse_known_flags(AblateOptions, self.argv.split(), "reverie ablate")
        return GridRun(make_grid(argv, options.games), replace(options, folder=str(folder)))
