"""The columns of the gallery: what is measured of a density, by what it can do.

A column asks for a protocol; densities without it have an empty cell. A new density appears in all
columns that it can fill, and a new column is an entry of ``COLUMNS``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ...world_models.density.capabilities import PixelwiseDensity, SequentialDensity
from ...world_models.density.complete import (
    can_complete,
    evidence_of,
    flipped,
    log_evidence,
    posterior_samples,
)
from ...world_models.density.neural import NeuralDensity
from ...world_models.inference.hypothesis import two_sample_test
from ...world_models.interface import Density
from ..evaluation.frame_bits import frame_bits, log_probs
from .count_fidelity import count_fidelity
from .first_pass import first_pass
from .latent_columns import active, amortization, is_latent, probe, reconstruction
from .subject import FLIP_RATE, Cell, Subject, most_frequent, of_frames

NUM_SHOWN = 4
"""Frames of each kind that are drawn."""
COMPLETED, CODED = 4, 50
"""Frames that are completed, and compressed, at once."""


@dataclass(frozen=True)
class Column:
    """A measurement of the densities that implement a protocol."""

    name: str
    needs: type | Callable[[Any], bool]
    """The protocol, or a function that returns whether a density can fill the column."""
    measure: Callable[[Subject], Cell | None]
    """Return the cell, or None if the frames do not allow the measurement."""
    text: str
    """What the numbers are, and which are better."""
    slow: bool = False
    """Whether it may take minutes, so that the others are measured first."""

    def fits(self, density: Any) -> bool:
        """Return whether a density can fill the column."""
        if isinstance(self.needs, type):
            return isinstance(density, self.needs)
        return bool(self.needs(density))


def held_out(subject: Subject) -> Cell:
    """Return the bits per pixel of held-out frames, with the log-probability of each frame."""
    log_prob, _ = subject.scores
    bits = frame_bits(subject.job.density, log_prob, subject.held_out[0].numel())
    sign = "≤ " * (bits["kind"] == "bound")
    shown = f"{sign}{bits['bits_per_pixel']:.4f} ± {bits['standard_error']:.4f}"
    shown += of_frames(len(log_prob), len(subject.held_out))
    return Cell(shown, bits | {"log_probs": log_prob.tolist()})


def real_bytes(subject: Subject) -> Cell:
    """Return the bytes of compressed held-out frames, without the model's weights."""
    from ...world_models.coding import encode  # imports numba, which other columns do without

    density, x = subject.density(), subject.held_out[: subject.sizes.coded]
    size = frames = 0
    for rows in subject.in_time(len(x), CODED):
        size += len(encode(density, x[rows], batch_size=CODED, learn=False))
        frames = rows.stop
    shown = f"{size / frames:.1f}" + of_frames(frames, len(x))
    return Cell(shown, {"bytes_per_frame": size / frames, "frames": frames})


def in_painting(subject: Subject) -> Cell:
    """Return the nats of the pixels of a lower half given the upper one, and completions."""
    density, x = subject.density(), subject.held_out[: subject.sizes.completed]
    known = (torch.arange(x.shape[1])[:, None] < x.shape[1] // 2).expand(x.shape)
    evidence = evidence_of(x, known, subject.quantizer.levels)
    drawn = posterior_samples(density, evidence[:1], NUM_SHOWN, seed=subject.job.seed)[:, 0]
    parts = []
    for rows in subject.in_time(len(x), COMPLETED):
        given = log_evidence(density, evidence[rows]).cpu().double()
        parts.append((given - log_probs(density, x[rows])) / int((~known[0]).sum()))
    nats = torch.cat(parts)
    return Cell(
        f"{float(nats.mean()):.4f}" + of_frames(len(nats), len(x)),
        {"nats_per_missing_pixel": float(nats.mean()), "frames": len(nats)},
        {
            "erased": torch.where(known[:1], x[:1], 0),
            "in-painted": drawn[: NUM_SHOWN - 1].cpu(),
        },
    )


def denoising(subject: Subject) -> Cell:
    """Return the share of the flipped pixels that the density corrects, less those it spoils."""
    density, noisy, levels = subject.density(), subject.noisy, subject.quantizer.levels
    parts = []
    for rows in subject.in_time(len(noisy), COMPLETED):
        evidence = flipped(noisy[rows], levels, FLIP_RATE)
        drawn = posterior_samples(
            density, evidence, subject.sizes.posterior, seed=subject.job.seed + rows.start
        )
        parts.append(most_frequent(drawn.cpu(), levels))
    denoised = torch.cat(parts)
    x, count = subject.held_out[: len(denoised)], len(denoised)
    before, after = (float((y != x).float().mean()) for y in (noisy[:count], denoised))
    gain = 1 - after / before
    return Cell(
        f"{gain:.1%}" + of_frames(count, len(noisy)),
        {"gain": gain, "wrong_before": before, "wrong_after": after, "frames": count},
        {"noisy": noisy[:1], "denoised": denoised[:1]},
    )


def two_samples(subject: Subject) -> Cell:
    """Return how well a classifier tells samples from held-out frames."""
    samples, _ = subject.samples
    count, most = (min(n, len(subject.held_out)) for n in (len(samples), subject.sizes.samples))
    result = two_sample_test(subject.held_out[:count], samples[:count], seed=subject.job.seed)
    numbers = {"accuracy": result.accuracy, "log_bayes_factor": result.log_bayes_factor}
    return Cell(f"{result.accuracy:.0%}" + of_frames(count, most), numbers | {"frames": count})


def surprise(subject: Subject) -> Cell:
    """Return the largest surprise of a pixel of the frame that is drawn."""
    nats = -subject.density().pixel_log_probs(subject.held_out[:1]).cpu().float()
    return Cell(f"{float(nats.max()):.1f}", {"nats": float(nats.max())}, {"surprise": nats})


def learning_rate(subject: Subject) -> Cell:
    """Return the frames that were learned per second, in the training."""
    frames, duration = subject.state["frames"], subject.state["seconds"]
    return Cell(f"{frames / duration:,.0f}", {"frames": frames, "seconds": duration})


def scoring_rate(subject: Subject) -> Cell:
    """Return the frames per second that the density scores."""
    _, rate = subject.scores
    return Cell(f"{rate:,.0f}", {"frames_per_second": rate})


def sampling_rate(subject: Subject) -> Cell:
    """Return the frames per second that the density samples, many at once; draw some."""
    samples, rate = subject.samples
    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return Cell(shown, {"frames_per_second": rate}, {"samples": samples[:NUM_SHOWN]})


def size(subject: Subject) -> Cell:
    """Return the number of a network's weights, or of the numbers that counting has stored."""
    density = subject.density()
    if isinstance(density, NeuralDensity):
        count = sum(x.numel() for x in density.net.parameters())
    else:
        tensors = (x for x in density.state_dict().values() if isinstance(x, torch.Tensor))
        count = sum(x.numel() for x in tensors if x.dtype != torch.uint8)  # without generators
    return Cell(f"{count:,}", {"weights": count})


COLUMNS = (
    Column(
        "bits/pixel",
        Density,
        held_out,
        "bits/pixel: of held-out frames, with the standard error over frames; ≤ marks a bound",
    ),
    Column(
        "prequential bits",
        Density,
        first_pass,
        "prequential bits: a pixel's in the first pass, each batch of frames before it is learned",
    ),
    Column(
        "bytes/frame",
        SequentialDensity,
        real_bytes,
        "bytes/frame: of compressed held-out frames, without the weights",
        slow=True,
    ),
    Column(
        "in-painting",
        can_complete,
        in_painting,
        "in-painting: nats of a pixel of the erased lower half, given the upper one",
        slow=True,
    ),
    Column(
        "denoising",
        can_complete,
        denoising,
        f"denoising: share of wrong pixels ({FLIP_RATE:.0%} of all) that is removed",
        slow=True,
    ),
    Column(
        "told apart",
        Density,
        two_samples,
        "told apart: accuracy of a classifier of samples and held-out frames; half is best",
        slow=True,
    ),
    Column(
        "count fidelity",
        Density,
        count_fidelity,
        "count fidelity: rank correlation of pseudo-counts and true visits of DeepSea's states",
        slow=True,
    ),
    Column(
        "surprise",
        PixelwiseDensity,
        surprise,
        "surprise: nats of the least expected pixel of the frame that is drawn",
    ),
    Column(
        "active units",
        is_latent,
        active,
        "active units: latents whose posterior mean varies over held-out frames",
    ),
    Column(
        "probe",
        is_latent,
        probe,
        "probe: R2 of the player's x and y, predicted from keys by ridge regression",
        slow=True,
    ),
    Column(
        "amortization gap",
        is_latent,
        amortization,
        "amortization gap: nats of a frame that gradient steps on its posterior add to the bound",
        slow=True,
    ),
    Column(
        "reconstruction",
        is_latent,
        reconstruction,
        "reconstruction: root mean squared error in gray levels of 255",
    ),
    Column("learns/s", Density, learning_rate, "learns/s, scores/s, samples/s: frames per second"),
    Column("scores/s", Density, scoring_rate, ""),
    Column("samples/s", Density, sampling_rate, "", slow=True),
    Column("weights", Density, size, "weights: of a network, else the stored counts"),
)
