"""Pretraining of representations, with bounds and a figure of held-out observations.

The frames of the recording count as agent steps of an agent that starts from the representation
(``--init-from``).
"""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...envs.errors import UsageError
from ...envs.interface import Metrics, Segment
from ...world_models.inference.bounds import ELBO, bound
from ...world_models.inference.evidence import active_units, bits_per_dimension, log_evidence
from ...world_models.interface import Representation, RepresentationConfig
from ...world_models.precision import FLOAT32, Precision
from ...world_models.representation.self_supervised import SelfSupervised
from ...world_models.representation.variational import VariationalConfig, VariationalRepresentation
from ..datasets.batches import Batches
from ..datasets.dataset import Recording
from ..datasets.writer import Manifest
from ..reporting.figures import representation_figure
from ..runs.run import Run
from .pretrain import Pretraining

NUM_HELD_OUT = 250
"""Held-out observations whose bounds are estimated, each by 64 decoded samples."""


@dataclass(frozen=True)
class RepresentationPretraining(Pretraining):
    """Pretraining of a representation on recorded observations."""

    role = "representation"

    representation: RepresentationConfig = VariationalConfig()
    num_updates: int = 5_000
    """Gradient steps."""

    def build(
        self, manifest: Manifest, device: torch.device, precision: Precision = FLOAT32
    ) -> Representation:
        if not self.representation.trainable:
            raise UsageError(
                f"The representation {self.model_name} has no parameters to train; "
                "choose one that has, such as representation:vae."
            )
        shape = manifest.obs_shape(self.stack)
        return self.representation.build(
            obs_shape=shape, seed=self.seed, device=device, precision=precision
        )

    def batches(self, recording: Recording, model: Representation) -> Batches[Segment]:
        length = model.segment_length
        indices = self.rows(recording, "train", length=min(length, 1))
        sample = recording.frames(indices[:: max(len(indices) // 100, 1)])
        if (sample == sample[0]).all():
            raise UsageError(
                f"The frames of {', '.join(map(str, self.data))} are all equal, so a "
                "representation cannot be trained on them; record a policy that moves."
            )
        return Batches(
            indices,
            self.batch_size,
            lambda rows: recording.segments(rows, length, self.stack),
            seed=self.seed,
        )

    def evaluate(self, model: Representation, recording: Recording) -> Metrics:
        """Return the ELBO of some held-out observations, by one sample, or a task's metrics."""
        if isinstance(model, SelfSupervised):
            found = model.evaluate(self.held_out_segments(recording, model.segment_length, 128))
            return {name.rpartition("/")[2]: x for name, x in found.items()}
        if not isinstance(model, VariationalRepresentation):
            return {}
        weights = model.weigh(self.held_out_obs(recording, 128), 1)
        return {"elbo": bound(weights.log_weights(), ELBO).mean()}

    def finish(
        self, run: Run, model: Representation, recording: Recording, device: torch.device
    ) -> None:
        """Write ``held_out.json`` with both bounds, and a figure."""
        if not isinstance(model, VariationalRepresentation):
            return
        obs = self.held_out_obs(recording, NUM_HELD_OUT)
        run.write_json("held_out.json", held_out_bounds(model, obs, 64))
        representation_figure(model, obs, run.folder / "figures" / "representation.png")

    def held_out_obs(self, recording: Recording, max_count: int) -> UInt8[Tensor, "M K H W"]:
        """Return up to ``max_count`` observations of held-out episodes, evenly spaced."""
        return self.held_out_segments(recording, 0, max_count).obs[:, 0]

    def held_out_segments(self, recording: Recording, length: int, max_count: int) -> Segment:
        """Return up to ``max_count`` segments of held-out episodes, evenly spaced."""
        rows = self.rows(recording, "held-out", length=min(length, 1))
        return recording.segments(rows[:: -(-len(rows) // max_count)], length, self.stack)


def held_out_bounds(
    model: VariationalRepresentation, obs: UInt8[Tensor, "M K H W"], samples: int
) -> dict[str, float]:
    """Return the bounds in nats per frame and their gap, bits per pixel, and active latents."""
    chunk = max(512 // samples, 1)  # limits the memory for decoded samples
    parts = [model.weigh(frames, samples).log_weights() for frames in torch.split(obs, chunk)]
    log_weights = torch.cat(parts, 1)
    elbo, (evidence, error) = bound(log_weights, ELBO), log_evidence(log_weights)
    net, num_pixels = model.model, obs[0].numel()
    bits = bits_per_dimension(evidence, num_pixels, net.pixels.bin_width)
    features = torch.cat([model.encode(frames) for frames in torch.split(obs, 256)])
    return {
        "frames": len(obs),
        "samples": samples,
        "elbo": float(elbo.mean()),
        "iwae": float(evidence.mean()),
        "gap": float((evidence - elbo).mean()),
        "mean_standard_error": float(error.mean()),
        "bits_per_pixel": float(bits.mean()),
        "active_units": int(active_units(features[:, : net.size]).sum()),
        "latents": net.size,
    }
