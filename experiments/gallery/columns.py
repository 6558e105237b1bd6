"""The columns of the gallery: what is measured of a density, by what it can do.

A column asks for a protocol; densities without it have an empty cell. A new density appears in all
columns that it can fill, and a new column is an entry of ``COLUMNS``.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ...world_models.density.complete import (
    can_complete,
    evidence_of,
    flipped,
    log_evidence,
    posterior_samples,
)
from ...world_models.density.neural import NeuralDensity
from ...world_models.inference.hypothesis import two_sample_test
from ...world_models.interface import Density, PixelwiseDensity, SequentialDensity
from ..evaluation.frame_bits import frame_bits, log_probs
from .count_fidelity import count_fidelity
from .first_pass import first_pass
from .subject import FLIP_RATE, Cell, Subject, most_frequent

NUM_SHOWN = 4
"""Frames of each kind that are drawn."""


@dataclass(frozen=True)
class Column:
    """A measurement of the densities that implement a protocol."""

    name: str
    needs: type | Callable[[Any], bool]
    """The protocol, or a function that returns whether a density can fill the column."""
    measure: Callable[[Subject], Cell]
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
    log_prob = log_probs(subject.density(), subject.held_out)
    bits = frame_bits(subject.job.density, log_prob, subject.held_out[0].numel())
    sign = "≤ " * (bits["kind"] == "bound")
    shown = f"{sign}{bits['bits_per_pixel']:.4f} ± {bits['standard_error']:.4f}"
    return Cell(shown, bits | {"log_probs": log_prob.tolist()})


def real_bytes(subject: Subject) -> Cell:
    """Return the bytes of compressed held-out frames, without the model's weights."""
    from ...world_models.coding import encode  # imports numba, which other columns do without

    x = subject.some_held_out(subject.sizes.coded)
    data = encode(subject.density(), x, batch_size=len(x), learn=False)
    return Cell(f"{len(data) / len(x):.1f}", {"bytes_per_frame": len(data) / len(x)})


def in_painting(subject: Subject) -> Cell:
    """Return the nats of the pixels of a lower half given the upper one, and completions."""
    x, known = subject.some_held_out(subject.sizes.completed), subject.upper_half
    density = subject.density()
    evidence = evidence_of(x, known, subject.quantizer.levels)
    given = log_evidence(density, evidence).cpu().double()
    missing = int((~known[0]).sum())
    nats = (given - log_probs(density, x)) / missing
    drawn = posterior_samples(density, evidence[:1], NUM_SHOWN, seed=subject.job.seed)[:, 0]
    erased = torch.where(known[:1], x[:1], 0)
    return Cell(
        f"{float(nats.mean()):.4f}",
        {"nats_per_missing_pixel": float(nats.mean()), "frames": len(x)},
        {"erased": erased, "in-painted": drawn[: NUM_SHOWN - 1].cpu()},
    )


def denoising(subject: Subject) -> Cell:
    """Return the share of the flipped pixels that the density corrects, less those it spoils."""
    x, noisy, levels = (
        subject.some_held_out(subject.sizes.completed),
        subject.noisy,
        subject.quantizer.levels,
    )
    evidence = flipped(noisy, levels, FLIP_RATE)
    drawn = posterior_samples(
        subject.density(), evidence, subject.sizes.posterior, seed=subject.job.seed
    ).cpu()
    denoised = most_frequent(drawn, levels)
    before, after = (float((y != x).float().mean()) for y in (noisy, denoised))
    return Cell(
        f"{1 - after / before:.1%}",
        {"gain": 1 - after / before, "wrong_before": before, "wrong_after": after},
        {"noisy": noisy[:1], "denoised": denoised[:1]},
    )


def two_samples(subject: Subject) -> Cell:
    """Return how well a classifier tells samples from held-out frames."""
    samples = subject.samples()
    real = subject.some_held_out(len(samples))
    count = min(len(real), len(samples))
    result = two_sample_test(real[:count], samples[:count], seed=subject.job.seed)
    numbers = {"accuracy": result.accuracy, "log_bayes_factor": result.log_bayes_factor}
    return Cell(f"{result.accuracy:.0%}", numbers)


def surprise(subject: Subject) -> Cell:
    """Return the largest surprise of a pixel of the frames that are drawn."""
    x = subject.some_held_out(NUM_SHOWN)[:1]
    nats = -subject.density().pixel_log_probs(x).cpu().float()
    return Cell(f"{float(nats.max()):.1f}", {"nats": float(nats.max())}, {"surprise": nats})


def learning_rate(subject: Subject) -> Cell:
    """Return the frames that were learned per second, in the training."""
    frames, duration = subject.state["frames"], subject.state["seconds"]
    return Cell(f"{frames / duration:,.0f}", {"frames": frames, "seconds": duration})


def scoring_rate(subject: Subject) -> Cell:
    """Return the frames per second that the density scores."""
    density, x = subject.density(), subject.held_out[:64]
    log_probs(density, x)  # compiles and allocates
    begin = time.perf_counter()
    log_probs(density, x)
    rate = len(x) / (time.perf_counter() - begin)
    return Cell(f"{rate:,.0f}", {"frames_per_second": rate})


def sampling_rate(subject: Subject) -> Cell:
    """Return the frames per second that the density samples, all at once; draw some."""
    samples = subject.samples()
    rate = len(samples) / subject.sampling_seconds
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
    Column("learns/s", Density, learning_rate, "learns/s, scores/s, samples/s: frames per second"),
    Column("scores/s", Density, scoring_rate, ""),
    Column("samples/s", Density, sampling_rate, "", slow=True),
    Column("weights", Density, size, "weights: of a network, else the stored counts"),
)
