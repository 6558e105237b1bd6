"""Pretraining a representation: held-out bounds and a figure to look at.

The frames it was fitted on are part of what an agent has spent: the manifest of the recording says
how many, and an agent that starts from the model counts them as its first steps.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from envs.errors import UsageError
from envs.interface import Metrics
from experiments.pretraining import Pretraining
from experiments.recording import Batches, Recording
from experiments.run import Run
from world_models.inference.bounds import ELBO, bound
from world_models.inference.evidence import active_units, bits_per_dimension, log_evidence
from world_models.interface import Representation, RepresentationConfig
from world_models.representation.vae import VAEConfig
from world_models.representation.variational import VariationalRepresentation


@dataclass(frozen=True)
class RepresentationPretraining(Pretraining):
    """A representation, and the looks it is fitted to."""

    representation: RepresentationConfig = VAEConfig()
    stack: int = 1
    """Frames in a look, as the agent's protocol has them."""
    steps: int = 5_000
    """Gradient steps."""

    @property
    def model_name(self) -> str:
        return type(self.representation).__name__.removesuffix("Config").lower()

    def build(self, recording: Recording, device: torch.device) -> Representation:
        if not self.representation.learns:
            raise UsageError(
                f"The representation {self.model_name} has nothing to learn; "
                "choose representation:vae or representation:binary-vae."
            )
        shape = recording.obs_shape(self.stack)
        return self.representation.build(obs_shape=shape, seed=self.seed, device=device)

    def batches(self, recording: Recording, step: int) -> Batches[UInt8[Tensor, "B K H W"]]:
        rows = recording.rows("train", held_out=self.held_out, seed=self.seed)
        some = recording.frames(rows[:: max(len(rows) // 100, 1)])
        if (some == some[0]).all():
            raise UsageError(
                f"The frames of {', '.join(self.data)} are all the same, so there is nothing to "
                "learn; record a policy that gets somewhere."
            )
        return Batches(
            rows, self.batch, lambda drawn: recording.looks(drawn, self.stack), seed=self.seed
        )

    def update(
        self, model: Representation, batch: UInt8[Tensor, "B K H W"], step: int, device: Any
    ) -> Metrics:
        return model.update(batch)

    def evaluate(
        self, model: Representation, recording: Recording, device: torch.device
    ) -> Metrics:
        if not isinstance(model, VariationalRepresentation):
            return {}
        return dict(held_out_bounds(model, self.held_out_looks(recording, 256), samples=1))

    def finish(
        self, run: Run, model: Representation, recording: Recording, device: torch.device
    ) -> None:
        """The table of held-out bounds, and the figure."""
        if not isinstance(model, VariationalRepresentation):
            return
        from experiments.representation_figure import draw_representation  # slow to import

        looks = self.held_out_looks(recording, 2000)
        run.write_json("held_out.json", held_out_bounds(model, looks, samples=64))
        draw_representation(model, looks, run.folder / "figures" / "representation.png")

    def held_out_looks(self, recording: Recording, most: int) -> UInt8[Tensor, "M K H W"]:
        """At most so many looks of the held-out episodes, evenly spread."""
        rows = recording.rows("held-out", held_out=self.held_out, seed=self.seed)
        return recording.looks(rows[:: -(-len(rows) // most)], self.stack)


def held_out_bounds(
    model: VariationalRepresentation, looks: UInt8[Tensor, "M K H W"], *, samples: int
) -> dict[str, float]:
    """ELBO and importance-weighted bound in nats a frame, bits a pixel, and latents in use."""
    log_weights = weigh(model, looks, samples)
    elbo, (evidence, error) = bound(log_weights, ELBO), log_evidence(log_weights)
    binary = isinstance(model.model, BinaryVAE)
    ...
