"""Bits-back coding: frames coded by a latent-variable model, at the length of its ELBO.

Townsend et al. 2019, "Practical Lossless Compression with Latent Variables using Bits Back Coding".
To code frames x, their codes z are popped from the message by the posterior q(z | x); then x is
pushed by the likelihood p(x | z), and z by the prior p(z). What was popped comes back when the
frames are decoded, so that they take log q(z | x) - log p(x | z) - log p(z), whose mean is minus
the ELBO.

A latent is one of 2^16 bins of equal mass under the prior, and stands for the bin's median. The
first codes are popped from initial words, random but the same for all. Those that were needed are a
part of the message and come back last, which shows that it is intact.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from ...envs.errors import NumericalError, UsageError
from ..density.frames import check_frames
from ..latents.interface import LatentModel
from ..machine_code import compiled
from . import rans
from .prequential import Head, NotReproduced, Words, batches, first_state, one_thread, pack, unpack

BIN_BITS = 16
BINS = 1 << BIN_BITS
"""Values of a latent."""
EDGES, MEDIANS = ndtri(np.arange(BINS + 1) / BINS), ndtri((np.arange(BINS) + 0.5) / BINS)
"""Of the bins of a standard Gaussian."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BitsBackMessage:
    """Coded frames."""

    data: bytes
    initial_bits: int
    """Bits of the data that the first codes needed, and that are not about the frames."""


@torch.no_grad()
def encode(
    model: LatentModel,
    frames: UInt8[Tensor, "N *K H W"],
    *,
    batch_size: int = 1,
    show: Callable[[int], object] = lambda done: None,
) -> BitsBackMessage:
    """Encode frames by a trained model on the CPU, which is no part of the message.

    The frames of a batch are coded together: faster, with more initial bits. Raises UsageError for
    a model whose latents are not Gaussian and independent or whose pixels are not symbols, a batch
    size below 1 and frames that the model was not built for, and NumericalError for outputs that
    are not finite and codes that take more bits than they give back.

    Example::

        import torch
        from reverie.world_models.coding import bits_back
        from reverie.world_models.latents.vae import VAEConfig

        model = VAEConfig(likelihood="categorical").build((42, 42), levels=8)
        frames = torch.zeros(10, 42, 42, dtype=torch.uint8)
        message = bits_back.encode(model, frames)
        assert torch.equal(bits_back.decode(model, message.data), frames)
    """
    coder = _Coder(model)
    if len(frames):
        check_frames(frames, model.pixels.shape, model.pixels.levels)
    frames, parts = frames.cpu().contiguous(), batches(len(frames), batch_size)
    initial = initial_words(2 * min(batch_size, len(frames)) * model.size + 1024)
    stack = _Stack(initial, np.array([first_state(frames), 0], np.uint64))
    untouched = len(initial)
    with one_thread():
        for part in parts:
            x = frames[part]
            stack.reserve(x.numel() + len(x) * model.size)
            bins = pop_bins(EDGES, *coder.posterior(x), stack.words, stack.head)
            untouched = min(untouched, stack.size)
            rans.push(coder.pixel_intervals(bins, x), stack.words, stack.head)
            rans.push(prior_intervals(bins), stack.words, stack.head)
            show(part.stop)
    if not untouched and len(frames):
        raise NumericalError(
            f"The codes of {type(model).__name__} take more bits than its prior and its likelihood "
            "give back; train the model on such frames first."
        )
    needed = len(initial) - untouched
    words = stack.words[: len(stack.words) - untouched]
    return BitsBackMessage(pack(len(frames), words, stack.head), rans.WORD_BITS * needed)


@torch.no_grad()
def decode(
    model: LatentModel,
    data: bytes,
    *,
    batch_size: int = 1,
    show: Callable[[int], object] = lambda done: None,
) -> UInt8[Tensor, "N *K H W"]:
    """Decode frames by the model that coded them, in batches as large.

    Raises UsageError and NumericalError as ``encode`` does, and NotReproduced, a UsageError, if the
    frames are not those that were coded.
    """
    coder = _Coder(model)
    count, words, head = unpack(model, data)
    stack, shape = _Stack(words, head), model.pixels.shape
    decoded = [torch.zeros(0, *shape, dtype=torch.uint8)]
    with one_thread():
        for part in batches(count, batch_size, backwards=True):
            size = part.stop - part.start
            bins = pop_prior_bins(size * model.size, stack.words, stack.head)
            probs = coder.pixel_probs(bins, size)
            symbols = rans.pop_symbols(probs, stack.words, stack.head)
            if stack.head[0] < rans.LOWEST:  # the words have ended before the frames
                raise NotReproduced(model)
            x = torch.from_numpy(symbols).view(size, *shape)
            stack.reserve(size * model.size)
            intervals = bin_intervals(EDGES, *coder.posterior(x), bins)
            rans.push(intervals, stack.words, stack.head)
            decoded.insert(1, x)
            show(count - part.start)
    frames = torch.cat(decoded)
    left = stack.words[len(stack.words) - stack.size :]
    if int(stack.head[0]) != first_state(frames) or (left != initial_words(len(left))).any():
        raise NotReproduced(model)
    return frames


def initial_words(n: int) -> Words:
    """Return the words from which the first codes are popped."""
    raw = np.asarray(np.random.PCG64(0).random_raw(n), np.uint64)
    return (raw >> np.uint64(rans.WORD_BITS)).astype(np.uint32)


class _Stack:
    """The words of a message, with room before them."""

    def __init__(self, words: Words, head: Head) -> None:
        self.words, self.head = words, head

    @property
    def size(self) -> int:
        """Number of words in the message."""
        return len(self.words) - int(self.head[1])

    def reserve(self, n: int) -> None:
        """Make room for as many words."""
        if self.head[1] < n:
            room = max(n, len(self.words))
            self.words = np.concatenate([np.empty(room, np.uint32), self.words])
            self.head[1] += np.uint64(room)


class _Coder:
    """The distributions of a model as tables of the coder."""

    def __init__(self, model: LatentModel) -> None:
        self.model = model
        self.prior = self._gaussian(model.prior(), "prior")
        if not model.pixels.of_symbols:
            raise UsageError(
                f"The model {type(model).__name__} cannot code frames by bits back: its pixels are "
                f"{type(model.pixels).__name__}, which are not of the frames' symbols; choose the "
                "likelihood categorical or logistic."
            )
        self.posterior(torch.zeros(1, *model.pixels.shape, dtype=torch.uint8))  # may be refused

    def posterior(self, x: UInt8[Tensor, "B *K H W"]) -> tuple[Floats, Floats]:
        """Return the mean and standard deviation of every latent, where the prior is N(0, 1)."""
        base = self._gaussian(self.model.posterior(self.model.prepare(x)), "posterior")
        mean, std = (base.mean - self.prior.mean) / self.prior.stddev, base.stddev
        return _flat(mean), _flat(std / self.prior.stddev)

    def pixel_probs(self, bins: NDArray[np.int64], batch: int) -> Floats:
        """Return the probabilities of every pixel's symbols given the codes, [pixels, levels]."""
        standard = torch.from_numpy(MEDIANS[bins]).to(self.prior.mean)
        z = self.prior.mean + self.prior.stddev * standard.view(batch, -1)
        given = self.model.likelihood(z)
        assert isinstance(given, Independent)
        shape, levels = given.batch_shape + given.event_shape, self.model.pixels.levels
        symbols = (torch.full(shape, symbol) for symbol in range(levels))
        log_probs = torch.stack([given.base_dist.log_prob(x) for x in symbols], -1)
        return _flat(log_probs.exp()).reshape(-1, levels)

    def pixel_intervals(self, bins: NDArray[np.int64], x: UInt8[Tensor, "B *K H W"]) -> Words:
        """Return the interval of every pixel given the codes."""
        intervals = np.empty((x.numel(), 2), np.uint32)
        rans.write_intervals(self.pixel_probs(bins, len(x)), x.flatten().numpy(), intervals)
        return intervals

    def _gaussian(self, distribution: Distribution, name: str) -> Normal:
        """Return independent Gaussians; raises UsageError for another distribution."""
        base = distribution.base_dist if isinstance(distribution, Independent) else distribution
        if base is distribution or not isinstance(base, Normal):
            raise UsageError(
                f"The model {type(self.model).__name__} cannot code frames by bits back: its "
                f"{name} is {type(base).__name__}, and latents must be Gaussian and independent; "
                "choose a vae with a gaussian posterior."
            )
        return base


def _flat(x: Tensor) -> Floats:
    flat: Floats = x.cpu().double().flatten().numpy()
    if not np.isfinite(flat).all():
        raise NumericalError("The model's outputs are not finite; train it with a smaller step.")
    return flat


def prior_intervals(bins: NDArray[np.int64]) -> Words:
    """Return the interval of every latent by the prior."""
    size = (1 << rans.PRECISION) // BINS
    return np.stack([bins * size, np.full_like(bins, size)], 1).astype(np.uint32)


@compiled()
@no_type_check
def pop_prior_bins(n: int, words: np.ndarray, head: np.ndarray):
    """Pop latents by the prior."""
    bins = np.empty(n, np.int64)
    size = np.uint64((1 << rans.PRECISION) // BINS)
    for k in range(n):
        bins[k] = np.int64(rans.slot_of(head) // size)
        rans.remove(words, head, np.uint64(bins[k]) * size, size)
    return bins


@compiled()
@no_type_check
def _frequency_below(edges, mean, std, k):
    """Return the sum of the frequencies of the bins below bin k, each of which has at least one."""
    mass = 0.5 * math.erfc((mean - edges[k]) / (std * math.sqrt(2.0)))
    return np.uint64(np.float64((1 << rans.PRECISION) - BINS) * mass) + np.uint64(k)


@compiled()
@no_type_check
def bin_intervals(edges, mean, std, bins: np.ndarray):
    """Return the interval of every latent by the posterior."""
    intervals = np.empty((len(bins), 2), np.uint32)
    for k in range(len(bins)):
        below = _frequency_below(edges, mean[k], std[k], bins[k])
        intervals[k, 0] = below
        intervals[k, 1] = _frequency_below(edges, mean[k], std[k], bins[k] + 1) - below
    return intervals


@compiled()
@no_type_check
def pop_bins(edges, mean, std, words: np.ndarray, head: np.ndarray):
    """Pop latents by the posterior, each by bisection of its bins."""
    bins = np.empty(len(mean), np.int64)
    for k in range(len(mean)):
        slot = rans.slot_of(head)
        low, high = 0, BINS
        while high - low > 1:
            middle = (low + high) // 2
            if _frequency_below(edges, mean[k], std[k], middle) <= slot:
                low = middle
            else:
                high = middle
        below = _frequency_below(edges, mean[k], std[k], low)
        size = _frequency_below(edges, mean[k], std[k], low + 1) - below
        rans.remove(words, head, below, size)
        bins[k] = low
    return bins
