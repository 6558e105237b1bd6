"""The amortization gap of a VAE on its own game's frames and a new one's, and how much SVI closes.

The encoder is fitted with its decoder to one game. The gap (Cremer et al. 2018) is what many
gradient steps on the posterior of a single frame add to its ELBO; stochastic variational inference
(SVI) takes a few of them, from the encoder's posterior (Kim et al. 2018) or from the prior.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, get_args

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...envs.atari.atari import AtariConfig
from ...world_models.density.bound import BoundConfig
from ...world_models.inference.bounds import ELBO
from ...world_models.inference.refine import Start, amortization_gap
from ...world_models.latents.interface import LatentModel
from ...world_models.latents.vae import VAEConfig
from ..datasets.dataset import Recording
from ..reporting.committed import kept_provenance, process_provenance
from ..sessions.options import PretrainOptions
from ..training.densities import DensityPretraining
from ..training.pretrain import load_model
from .recipe import Recipe, pretrain_to_the_end, record_random_play

FEW, MANY = 20, 300
"""Gradient steps of SVI, and of the search for the best posterior of each frame."""
STARTS: tuple[Start, ...] = get_args(Start)
RATES = (0.1, 0.3, 1.0)
"""Learning rates of both. The best posterior is that of any start, rate and number of steps."""


@dataclass(frozen=True)
class AmortizationBenchmark(Recipe):
    """A VAE fitted to the first game, and its gaps on held-out frames of every game."""

    games: tuple[str, ...]
    pretraining: DensityPretraining = DensityPretraining(
        density=BoundConfig(latent=VAEConfig(size=16), alpha=ELBO, samples=1, learning_rate=1e-3),
        num_updates=10_000,
    )
    frames: int = 10_000
    """Recorded frames of random play in each game."""
    measured: int = 64
    """Held-out frames of each game whose gaps are estimated."""

    kind: ClassVar[str] = "amortization"

    @property
    def cost(self) -> str:
        steps = len(self.games) * self.measured * (FEW + MANY) * len(STARTS) * len(RATES)
        return f"1 x {self.pretraining.num_updates:,} updates, {steps:,} steps of single frames"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        recordings = {game: folder / self.kind / f"{game}-random" for game in self.games}
        for game, data in recordings.items():
            record_random_play(AtariConfig(game), data, frames=self.frames)
        job = replace(self.pretraining, data=(recordings[self.games[0]],))
        options = PretrainOptions(device="cpu", threads=1)
        run = pretrain_to_the_end(job, folder / self.kind / "vae", options)
        _, density = load_model(run.folder, device="cpu")
        rows = []
        for game, data in recordings.items():
            frames = job.spaced_frames(Recording(data), "held-out", self.measured)
            rows.append({"env_name": game, "frames": len(frames)} | gaps(density.net, frames))
        yield {
            "fitted_to": self.games[0],
            "num_updates": job.num_updates,
            "steps": [FEW, MANY],
            "rows": rows,
            "provenance": process_provenance(),
            "fit": kept_provenance(run),
        }


def gaps(model: LatentModel, frames: UInt8[Tensor, "M H W"]) -> dict[str, Any]:
    """Return the gap, and by start and rate what SVI adds to the ELBO and its share, in nats."""
    x = model.prepare(frames)
    added = {
        (start, steps, rate): amortization_gap(
            model, x, start=start, steps=steps, learning_rate=rate
        )
        for start, steps, rate in product(STARTS, (FEW, MANY), RATES)
    }
    best = torch.stack([*added.values()]).amax(0)
    rows = []
    for start, rate in product(STARTS, RATES):
        few = added[start, FEW, rate]
        share = few.mean() / best.mean()
        error = (few - share * best).std() / len(x) ** 0.5 / best.mean()  # of a ratio of means
        about = {"start": start, "learning_rate": rate, "nats": float(few.mean())}
        rows.append(about | {"share": float(share), "share_error": float(error)})
    return {"gap": float(best.mean()), "svi": rows}
