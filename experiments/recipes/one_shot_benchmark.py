"""One-shot generalization: DRAW given one example of a class that it has not seen, and without.

After Rezende et al. 2016, "One-Shot Generalization in Deep Generative Models", whose
characters are those of Omniglot.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...world_models.inference.bounds import IWAE, bound
from ...world_models.latents.draw import DRAWConfig
from ...world_models.latents.interface import ConditionalModel, LatentModel
from ...world_models.latents.one_shot_draw import OneShotDRAWConfig
from ...world_models.representation.variational import VariationalConfig, VariationalRepresentation
from ..datasets.glyphs import glyphs, pairs
from ..reporting.committed import process_provenance
from ..runs.runtime import pick_threads
from .recipe import Recipe, for_minutes, kept

SETTINGS: dict[str, Any] = {"likelihood": "bernoulli", "attention": False}
MODELS: dict[str, DRAWConfig] = {
    "draw": DRAWConfig(**SETTINGS),
    "one-shot-draw": OneShotDRAWConfig(**SETTINGS, horizon=1),
}
"""Without attention, which frames so small do not need."""
MEASURED = 50
"""Glyphs that are measured at once."""


@dataclass(frozen=True)
class OneShotBenchmark(Recipe):
    """The bound of held-out classes of glyphs, by models fitted for the same time.

    A model is one part of the result, which is kept when it is finished.
    """

    minutes: float = 10.0
    """Minutes of a processor in which each model is fitted."""
    classes: int = 2000
    """Classes of glyphs that models are fitted to."""
    held_out: int = 200
    """Other classes, of which models are tested on a copy, given another one."""
    copies: int = 20
    """Glyphs of each class."""
    batch_size: int = 64
    """Pairs of glyphs in an update."""
    samples: int = 64
    """Codes of the bound."""
    seed: int = 0
    """Seed of the glyphs, the models and their batches."""

    kind: ClassVar[str] = "one-shot"

    @property
    def cost(self) -> str:
        return f"{len(MODELS)} models, {self.minutes:g} minutes each"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the result after each model; finished ones are kept."""
        rows = []
        names = ("minutes", "classes", "held_out", "samples")
        about = {name: getattr(self, name) for name in names}
        for name, config in MODELS.items():
            path = folder / self.kind / f"{name}.json"
            rows.append(kept(path, (self, config), partial(self._fit_and_measure, name, config)))
            yield about | {"rows": rows}

    def _fit_and_measure(self, name: str, config: DRAWConfig) -> dict[str, Any]:
        """Fit a model and return the bounds of held-out classes, by what it is given."""
        print(f"fitting {name} to glyphs.", flush=True)
        pick_threads(1)
        frames = glyphs(self.classes + self.held_out, self.copies, seed=self.seed)[:, :, None]
        shape = (1, frames.shape[3], frames.shape[4])
        fitted = VariationalConfig(config).build(obs_shape=shape, seed=self.seed)
        updates = self._fit(fitted, frames[: self.classes])
        model, (x, example) = fitted.model, frames[self.classes :, :2].unbind(1)
        given: dict[str, Tensor | None] = {"nothing": None}
        if isinstance(model, ConditionalModel):
            given |= {"another of its class": example, "one of another class": example.roll(1, 0)}
        bounds = {name: self._bounds(model, x, each) for name, each in given.items()}
        about = {"model": name, "num_updates": updates, "bounds": bounds}
        return about | {"provenance": process_provenance()}

    def _fit(
        self, model: VariationalRepresentation, frames: UInt8[Tensor, "classes copies C H W"]
    ) -> int:
        """Update a model by pairs of a class until its time is over; return the updates."""
        generator, updates = torch.Generator().manual_seed(self.seed), 0
        for _ in for_minutes(count(), self.minutes):
            rows = torch.randint(len(frames), (self.batch_size,), generator=generator)
            order = torch.rand(self.batch_size, self.copies, generator=generator).argsort(1)
            model.update(pairs(frames[rows[:, None], order[:, :2]]))
            updates += 1
        return updates

    @torch.no_grad()
    def _bounds(
        self, model: LatentModel, x: UInt8[Tensor, "M C H W"], example: Tensor | None
    ) -> dict[str, Any]:
        """Return the mean importance-weighted bound in nats, its error, and each glyph's."""
        torch.manual_seed(self.seed)
        parts = []
        for rows in torch.arange(len(x)).split(MEASURED):
            each = model
            if example is not None and isinstance(model, ConditionalModel):
                each = model.given(model.prepare(example[rows]))
            weights = each.weigh(each.prepare(x[rows]), self.samples)
            parts.append(bound(weights.log_weights(), IWAE))
        nats = torch.cat(parts)
        error = float(nats.std()) / math.sqrt(len(nats))
        return {"mean": float(nats.mean()), "error": error, "nats": nats.tolist()}
