"""A counting bonus from inside: how often the frame was seen, and where in it the surprise is.

It goes on counting while one watches, as it does in training; nothing of that is written.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from agents.density_bonus import FrameDensity
from agents.simhash import SimHash
from envs.digest import frame_digest
from envs.interface import Step
from experiments.play.moment import Insight, Moment
from experiments.play.panels import Images, Numbers, Panel, Picture
from experiments.play.pictures import over
from world_models.density.symbols import as_symbols, grey
from world_models.interface import PixelwiseDensity


@runtime_checkable
class HasDensity(Protocol):
    density: FrameDensity

    def worth(self, before: Float[Tensor, " n"], after: Float[Tensor, " n"]) -> Tensor: ...


@runtime_checkable
class HasCount(Protocol):
    def count(self, before: Float[Tensor, " n"], after: Float[Tensor, " n"]) -> Tensor: ...


class Counting:
    """The frame that was just come to: its count, its bonus, and the surprise at each pixel."""

    def __init__(self, bonus: HasDensity) -> None:
        self.bonus = bonus
        self.seen = -1
        self.insight = Insight()

    def look(self, now: Moment) -> Insight:
        if now.tick != self.seen:  # a frame is learned once
            self.seen, self.insight = now.tick, Insight(tuple(self._visit(now.step)))
        return self.insight

    def _visit(self, step: Step) -> list[Panel]:
        seen = self.bonus.density
        symbols = as_symbols(step.frame, seen.shape, seen.levels)
        density, panels = seen.density, list[Panel]()
        nats = None
        if isinstance(density, PixelwiseDensity):
            nats = -density.pixel_log_probs(symbols)[0].float().cpu()
        if bool(step.first[0]):  # as in training: a reset tick pays nothing and teaches nothing
            rows = [("pseudo-count", "the first frame of an episode is not counted")]
        else:
            before, after = seen.observe(step.frame)
            rows = [("surprise, nats a frame", f"{-float(before[0]):,.1f}")]
            if isinstance(self.bonus, HasCount):
                count = float(self.bonus.count(before, after)[0])
                rows.append(("pseudo-count", f"{count:,.2f}" if np.isfinite(count) else "infinite"))
            rows.append(("bonus", f"{float(self.bonus.worth(before, after)[0]):.4f}"))
        rows.append(("frames it has learned", f"{seen.frames:,}"))
        note = "it goes on counting while you watch; nothing of that is kept"
        panels.append(Numbers(f"Counting by {seen.name}", tuple(rows), note))
        if nats is None:
            note = "this density is a bound of whole frames, so no pixel has a surprise of its own"
            return [*panels, Numbers("Surprise", (), note)]
        frame = grey(step.frame)[0].cpu().numpy()
        levels = (symbols[0].float() * 255 / (seen.levels - 1)).to(torch.uint8).cpu().numpy()
        pictures = (
            Picture(levels, "as the density sees it"),
            Picture(over(frame, nats.numpy()), "-log p of each pixel"),
        )
        note = f"the brightest pixel: {float(nats.max()):.1f} nats"
        return [*panels, Images("Surprise", pictures, note)]


class Hashing:
    """SimHash: visits of the frame's code."""

    def __init__(self, bonus: SimHash) -> None:
        self.bonus = bonus
        self.seen = -1
        self.insight = Insight()

    def look(self, now: Moment) -> Insight:
        if now.tick != self.seen:
            frame = now.step.frame
            worth = float(self.bonus.visit(frame)[0])
            digest = int(frame_digest(self.bonus.code(frame).to(torch.uint8)[:, None, None])[0])
            rows = (
                ("visits of its code", f"{self.bonus.counts[digest]:,}"),
                ("bonus", f"{worth:.4f}"),
                ("codes seen", f"{len(self.bonus.counts):,}"),
            )
            note = "it goes on counting while you watch; nothing of that is kept"
            self.seen, self.insight = (
                now.tick,
                Insight((Numbers("Counting by SimHash", rows, note),)),
            )
        return self.insight
