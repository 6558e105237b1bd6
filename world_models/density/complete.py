"""Completion of frames: in-painting, imputation and denoising as one function of evidence.

Evidence is a table log p(y_i | x_i) of what was observed of each pixel, [B H W levels] in nats:
zeros for an unknown pixel, 0 for the symbol and -inf elsewhere for a known one, and the
log-probabilities of a noisy channel for a noisy one. The density gives

    p(x | y) = p(x) exp(sum_i log p(y_i | x_i)) / p(y)

and what it can do decides how: a particle filter for a density with conditionals, in raster order
or in any, and Metropolis within Gibbs for latent-variable models.
"""

import math
from typing import Any, TypeGuard

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import one_hot

from ...envs.errors import UsageError
from ..interface import Density
from .capabilities import OrderlessDensity, SequentialDensity
from .frames import check_frames
from .latent_completion import LatentCompletion, has_independent_pixels
from .neural import NeuralDensity
from .particle_filter import OrderlessFilter, ParticleFilter, RasterFilter


def evidence_of(
    x: UInt8[Tensor, "B H W"], known: Bool[Tensor, "B H W"], levels: int
) -> Float[Tensor, "B H W levels"]:
    """Return the evidence of frames of which some pixels are known and the others unknown.

    Raises UsageError for frames with other symbols than 0..levels-1.
    """
    check_frames(x, (x.shape[1], x.shape[2]), levels)
    known_symbol = torch.where(one_hot(x.long(), levels) == 1, 0.0, -math.inf)
    return torch.where(known[..., None], known_symbol, 0.0)


def flipped(x: UInt8[Tensor, "B H W"], levels: int, rate: float) -> Float[Tensor, "B H W levels"]:
    """Return the evidence of noisy frames, of whose pixels a share ``rate`` is another symbol.

    Every other symbol is equally likely. Raises UsageError for a rate outside 0..1 or for frames
    with other symbols than 0..levels-1.
    """
    if not 0 <= rate <= 1:
        raise UsageError(f"the rate of flipped pixels is {rate}; it must be in 0..1.")
    check_frames(x, (x.shape[1], x.shape[2]), levels)
    same = torch.tensor(1 - rate).log()
    other = torch.tensor(rate / max(levels - 1, 1)).log()
    return torch.where(one_hot(x.long(), levels) == 1, same, other)


def posterior_samples(
    density: Density,
    evidence: Float[Tensor, "B H W L"],
    n: int,
    *,
    seed: int = 0,
    particles: int = 32,
    steps: int = 200,
    seconds: float | None = None,
) -> UInt8[Tensor, "{n} B H W"]:
    """Sample ``n`` frames x ~ p(x | y) for each frame of the evidence, independent given y.

    ``particles`` are those of a filter for each sample, and ``steps`` those of a Markov chain. Both
    make a sample only approximate: its error vanishes as they grow. It is exact at once where the
    unknown pixels come after all evidence, and where pixels are independent. Raises UsageError if
    the density cannot complete frames or if the evidence does not fit it, and TimeoutError after
    ``seconds``.

    Example::

        import torch
        from reverie.world_models.density.complete import evidence_of, posterior_samples
        from reverie.world_models.density.cts import CTSConfig

        density = CTSConfig().build(shape=(8, 8), levels=4)
        x = torch.zeros(1, 8, 8, dtype=torch.uint8)
        density.observe(x.repeat(20, 1, 1))
        known = torch.ones_like(x, dtype=torch.bool)
        known[:, 4:] = False  # the lower half is erased
        completed = posterior_samples(density, evidence_of(x, known, levels=4), n=3)
    """
    if n < 1:
        raise UsageError(f"n is {n}; ask for at least one sample of each frame.")
    method = _method(density, evidence, seed, particles, steps, seconds)
    with torch.no_grad():
        return method.sample(n).to(evidence.device)


def log_evidence(
    density: Density,
    evidence: Float[Tensor, "B H W L"],
    *,
    seed: int = 0,
    particles: int = 32,
    steps: int = 200,
    seconds: float | None = None,
) -> Float[Tensor, " B"]:
    """Return log p(y) = log sum_x p(x) exp(sum_i log p(y_i | x_i)) of each frame, in nats.

    It is exact where completion is, and elsewhere its exponential is an unbiased estimate, whose
    error vanishes as ``particles`` grow. Of an orderless density it is that of one pixel at a time,
    in random orders, while ``log_prob`` is that of its groups of pixels. The log-probability of
    some pixels given others is the difference of two of them. Raises UsageError if the density
    cannot complete frames or if the evidence does not fit it, and TimeoutError after ``seconds``.
    """
    method = _method(density, evidence, seed, particles, steps, seconds)
    with torch.no_grad():
        found = method.log_evidence()
    return found.to(evidence.device) + evidence.double().amax(3).sum((1, 2))


def can_complete(
    density: object,
) -> TypeGuard[OrderlessDensity | SequentialDensity | NeuralDensity]:
    """Return whether a density can complete frames."""
    return isinstance(density, OrderlessDensity | SequentialDensity) or has_independent_pixels(
        density
    )


def _method(
    density: Density,
    evidence: Float[Tensor, "B H W L"],
    seed: int,
    particles: int,
    steps: int,
    seconds: float | None,
) -> ParticleFilter[Any] | LatentCompletion:
    """Return the best way to complete frames that the density allows.

    Raises UsageError if there is none or if the evidence does not fit the density.
    """
    for name, value in (("particles", particles), ("steps", steps)):
        if value < 1:
            raise UsageError(f"{name} is {value}; it must be 1 or more.")
    if not can_complete(density):
        raise UsageError(refusal(density))
    check_evidence(evidence, density.shape, density.levels)
    table = (evidence - evidence.amax(3, keepdim=True)).cpu().double().exp()
    if isinstance(density, OrderlessDensity):
        return OrderlessFilter(density, table, particles, seed, seconds)
    if isinstance(density, SequentialDensity):
        return RasterFilter(density, table, particles, seed, seconds)
    return LatentCompletion(density, table, particles, steps, seed, seconds)


def refusal(density: object) -> str:
    """Return why a density cannot complete frames, and what to choose instead."""
    return (
        f"{type(density).__name__} cannot complete frames: it has no conditionals of single "
        "pixels, and it is no latent-variable model whose symbols are independent given a code. "
        "Choose a density that has them, such as cts or pixel-cnn."
    )


def check_evidence(evidence: Float[Tensor, "B H W L"], shape: tuple[int, int], levels: int) -> None:
    """Check that evidence is of frames of ``shape`` and allows a level of every pixel.

    Raises UsageError if it is not.
    """
    if len(evidence) == 0:
        raise UsageError("the evidence is of no frame; give that of at least one.")
    if evidence.shape[1:] != (*shape, levels):
        raise UsageError(
            f"the evidence has shape {tuple(evidence.shape)}; of this density it must be "
            f"(B, {shape[0]}, {shape[1]}, {levels}): frames, rows, columns, levels."
        )
    wrong = evidence.isnan() | (evidence == math.inf)
    if wrong.any():
        b, i, j, level = wrong.nonzero()[0].tolist()
        raise UsageError(
            f"the evidence of pixel ({i}, {j}) of frame {b} for level {level} is "
            f"{float(evidence[b, i, j, level])}; give a log-probability."
        )
    contradictory = (evidence == -math.inf).all(3)
    if contradictory.any():
        b, i, j = contradictory.nonzero()[0].tolist()
        raise UsageError(
            f"the evidence is contradictory: it rules out every level of pixel ({i}, {j}) of frame "
            f"{b}; give zeros for an unknown pixel."
        )
