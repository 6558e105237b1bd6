"""The columns of latent-variable models: their codes, their keys and their reconstructions."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.atari.ram import RAM
from ...world_models.density.neural import NeuralDensity
from ...world_models.inference.evidence import active_units
from ...world_models.inference.refine import Refinable, amortization_gap
from ...world_models.latents.composition import Composer, Composition
from ...world_models.latents.interface import LatentModel
from ..evaluation.box_drawings import drawn_steps, rgb
from ..evaluation.linear_probe import POSITION, linear_probe, record_positions
from .subject import Cell, Subject, of_frames

ENCODED, REFINED, RECONSTRUCTED = 50, 8, 32
"""Frames that are encoded at once, refined at once, and reconstructed."""
STEPS_SHOWN = 4
"""Steps of a reconstruction that are drawn."""


def is_latent(density: Any) -> bool:
    """Return whether a density is a latent-variable model of frames."""
    return isinstance(density, NeuralDensity) and isinstance(density.net, LatentModel)


@torch.no_grad()
def keys(model: LatentModel, x: UInt8[Tensor, "B h w"]) -> Float[Tensor, "B D"]:
    """Return the keys of frames of symbols."""
    return torch.cat([model.key(model.prepare(part)) for part in torch.split(x, ENCODED)])


def active(subject: Subject) -> Cell:
    """Return how many latents differ between held-out frames, by their posterior means."""
    model: LatentModel = subject.density().net
    count = int(active_units(keys(model, subject.held_out)[:, : model.size]).sum())
    return Cell(f"{count} of {model.size}", {"active": count, "latents": model.size})


def probe(subject: Subject) -> Cell | None:
    """Return how well keys predict the player's position, if the true state has it."""
    env = subject.recording.manifest.env_with_stack(1)
    if not set(POSITION) <= RAM.get(env.env_name, {}).keys():
        return None
    model: LatentModel = subject.density().net
    positions = record_positions(env, subject.sizes.probed)
    r2 = linear_probe(lambda obs: keys(model, subject.quantizer(obs)), positions)
    return Cell(f"{r2['x']:.2f}, {r2['y']:.2f}", {"x": r2["x"], "y": r2["y"]})


def amortization(subject: Subject) -> Cell | None:
    """Return the nats of a frame that gradient steps on its own posterior add to the bound."""
    model: LatentModel = subject.density().net
    if not isinstance(model, Refinable):
        return None
    values = model.prepare(subject.held_out[: subject.sizes.refined])
    slices = subject.in_time(len(values), REFINED)
    gaps = torch.cat([amortization_gap(model, values[rows]) for rows in slices])
    mean, error = float(gaps.mean()), float(gaps.std() / len(gaps) ** 0.5)
    shown = f"{mean:.1f} ± {error:.1f}" + of_frames(len(gaps), len(values))
    return Cell(shown, {"nats": mean, "standard_error": error, "frames": len(gaps)})


@torch.no_grad()
def reconstruction(subject: Subject) -> Cell:
    """Return the error of frames reconstructed by their most probable codes; draw the steps."""
    model: LatentModel = subject.density().net
    x = subject.held_out[:RECONSTRUCTED]
    values = model.prepare(x)
    if isinstance(model, Composer):
        composition = model.compose(values)
    else:
        image = model.image(model.key(values)[:, : model.size])
        composition = Composition(image[None], None, image.new_ones(1, len(image)))
    error = composition.images[-1] - x / (subject.quantizer.levels - 1)
    gray_levels = 255 * float(error.square().mean().sqrt())
    drawn = [rgb(image) for _, image in drawn_steps(composition, STEPS_SHOWN)]
    return Cell(f"{gray_levels:.1f}", {"rmse": gray_levels}, {"reconstructed": np.stack(drawn)})
