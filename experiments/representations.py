"""Pretraining of representations: held-out bounds, and a figure to look at.

The frames a representation was fitted on are part of what an agent has spent: one that starts from
it counts them as its first steps (``agent.pretrained``).
"""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from agents.fitting import PRETRAINED
from envs.errors import UsageError
from envs.interface import Metrics
from experiments.batches import Batches
from experiments.figures import representation_figure
from experiments.pretraining import Pretraining
from experiments.recording import Recording
from experiments.run import Run
from world_models.inference.bounds import ELBO, bound
from world_models.inference.evidence import active_units, bits_per_dimension, log_evidence
from world_models.interface import Representation, RepresentationConfig
from world_models.representation.vae import VAEConfig
from world_models.representation.variational import VariationalRepresentation

HELD_OUT = 250
"""Looks whose bounds are taken: each costs 64 decoded codes."""


@dataclass(frozen=True)
class RepresentationPretraining(Pretraining):
    """A representation, and the looks it is fitted to."""

    representation: RepresentationConfig = VAEConfig()
    stack: int = 1
    """Frames in a look, as in the agent's protocol."""
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

    def batches(
        self, recording: Recording, model: Representation
    ) -> Batches[UInt8[Tensor, "B K H W"]]:
        rows = recording.rows("train", held_out=self.held_out, seed=self.split)
        some = recording.frames(rows[:: max(len(rows) // 100, 1)])
        if (some == some[0]).all():
            raise UsageError(
                f"The frames of {', '.join(self.data)} are all the same, so there is nothing to "
                "learn from them; record a policy that moves."
            )
        return Batches(
            rows, self.batch, lambda drawn: recording.looks(drawn, self.stack), seed=self.seed
        )

    def update(
        self, model: Representation, batch: UInt8[Tensor, "B K H W"], device: torch.device
    ) -> Metrics:
        return model.update(batch)

    def evaluate(
        self, model: Representation, recording: Recording, device: torch.device
    ) -> Metrics:
        """Bounds of a few held-out looks, by one code each."""
        if not isinstance(model, VariationalRepresentation):
            return {}
        weights = model.weigh(self.held_out_looks(recording, 128), 1)
        return {"elbo": bound(weights.log(), ELBO).mean()}

    def finish(
        self, run: Run, model: Representation, recording: Recording, device: torch.device
    ) -> None:
        """What agents start from; ``held_out.json`` with both bounds; the figure."""
        saved = {
            "representation": repr(self.representation),
            "state": model.state_dict(),
            "frames": len(recording),
        }
        run.write_tensors(PRETRAINED, saved)
        if not isinstance(model, VariationalRepresentation):
            return
        looks = self.held_out_looks(recording, HELD_OUT)
        run.write_json("held_out.json", held_out_bounds(model, looks, 64))
        representation_figure(model, looks, run.folder / "figures" / "representation.png")

    def held_out_looks(self, recording: Recording, most: int) -> UInt8[Tensor, "M K H W"]:
        """Up to so many looks of the held-out episodes, evenly spread."""
        rows = recording.rows("held-out", held_out=self.held_out, seed=self.split)
        return recording.looks(rows[:: -(-len(rows) // most)], self.stack)


def held_out_bounds(
    model: VariationalRepresentation, looks: UInt8[Tensor, "M K H W"], samples: int
) -> dict[str, float]:
    """Bounds in nats a frame with their gap, bits a pixel, and the latents in use."""
    few = max(512 // samples, 1)  # frames at a time: their decoded codes fill the memory
    parts = [model.weigh(frames, samples).log() for frames in torch.split(looks, few)]
    log_weights = torch.cat(parts, 1)
    elbo, (evidence, error) = bound(log_weights, ELBO), log_evidence(log_weights)
    pixels = looks[0].numel()
    bits = bits_per_dimension(evidence, pixels, model.model.spacing)
    keys = torch.cat([model.encode(frames) for frames in torch.split(looks, 256)])
    return {
        "frames": len(looks),
        "samples": samples,
        "elbo": float(elbo.mean()),
        "iwae": float(evidence.mean()),
        "gap": float((evidence - elbo).mean()),
        "standard_error_of_a_frame": float(error.mean()),
        "bits_per_pixel": float(bits.mean()),
        "active_units": int(active_units(keys[:, : model.model.latent]).sum()),
        "latents": model.model.latent,
    }
