"""Conceptual compression: frames as the first steps of their composition, in real bytes.

Gregor et al. 2016, "Towards Conceptual Compression" (section 2.5): the latents of the first steps
are transmitted, and those of the others are the mean of their prior, so that a frame keeps its
gist. The paper reports the information of its latents; here a latent is rounded to a grid, and an
entropy coder writes it.

A model's prior of a latent is standard normal, and the grid has 2^bits places in its standard
deviation. A latent is not rounded to the nearest of them but to the place n that minimizes

    beta x (nats of n) - log q(place n | x, earlier latents)

so that a latent about which the posterior does not care becomes 0 (Yang et al. 2020, "Variational
Bayesian Quantization", section 3.3). Most of them are 0, which the prior does not predict. The
discretized prior is therefore mixed with 0:

    P(0) = (z + g(0)) / (s + 1),    P(n) = (1 - P(0)) g(n) / (1 - g(0))

where g is the mass of the standard normal prior around a place, and z of s latents were 0 among
those of the map that are coded already and have equal context: whether the places to the left and
above are 0, and the same place of the map before.

The probabilities are functions of what is coded alone and not of the network. So every machine
decodes the same latents; its frames are those of the encoder up to the rounding of the network's
sums, and on one machine bit for bit.
"""

import math
import zlib
from typing import Any, Protocol, no_type_check, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import pad

from ...envs.errors import UsageError
from ..likelihoods import Likelihood
from ..machine_code import compiled
from . import rans
from .prequential import one_thread, pack, unpack

TOP = 127
"""Largest absolute number of a place; the outermost ones take the tails."""
MAX_BITS, MAX_FRAMES = 7, 65_535
CONTEXTS = 6
BATCH = 64
"""Frames of a forward pass."""
Planes = NDArray[np.int8]
"""Places of the latents, 0 for the mean of the prior, [maps N R C]: the maps of every step."""
Intervals = NDArray[np.uint32]
Table = NDArray[np.uint64]


@runtime_checkable
class StepwiseModel(Protocol):
    """A latent-variable model whose latents are maps of several steps, with standard normal prior.

    The posterior of a step's latents is Gaussian given those of the earlier steps.
    """

    code_shape: tuple[int, int, int, int]
    """Steps, maps of a step, rows and columns."""
    pixels: Likelihood

    def prepare(self, frames: UInt8[Tensor, "B *K H W"]) -> Tensor:
        """Convert frames of symbols to the values of the likelihood."""

    def next_posterior(self, x: Tensor, codes: Float[Tensor, "B t M R C"]) -> Distribution:
        """Return the posterior of the next step's latents [B M R C] given those before it."""

    def image(self, z: Float[Tensor, "*S D"]) -> Tensor:
        """Return the mean of each pixel given a code, in 0..1: [*S, *frame]."""

    def state_dict(self) -> dict[str, Any]:
        """Return the weights."""


def encode_latents(
    model: StepwiseModel,
    frames: UInt8[Tensor, "N *K H W"],
    steps: int,
    *,
    bits: int = 2,
    beta: float = 1.0,
) -> bytes:
    """Encode the latents of the first ``steps`` of each frame.

    More ``beta`` gives shorter messages and coarser frames, as fewer steps do. Raises UsageError
    for a model that is not composed in steps, for settings out of range, and for frames that it was
    not built for.

    Example::

        import torch
        from reverie.world_models.coding.conceptual import decode_latents, encode_latents
        from reverie.world_models.latents.conv_draw import ConvDRAWConfig

        model = ConvDRAWConfig(steps=4).build((42, 42), levels=8)
        frames = torch.zeros(64, 42, 42, dtype=torch.uint8)
        gist = encode_latents(model, frames, steps=1)
        images = decode_latents(model, gist)
    """
    planes, intervals = quantize(model, frames, steps, bits=bits, beta=beta)
    first = np.uint64(_first_state(model, planes, steps, bits))
    words, state = rans.push(intervals, first)
    return bytes([steps, bits]) + pack(len(frames), int(state), words)


def decode_latents(model: StepwiseModel, message: bytes) -> Float[Tensor, "N *K H W"]:
    """Decode frames in 0..1: the mean of each pixel given the latents.

    Raises UsageError for a model that is not composed in steps, for a damaged message, and for that
    of another model.
    """
    _require_steps(model)
    damaged = UsageError(
        f"The message does not hold latents of this {type(model).__name__}: it was coded by a "
        "model with other weights, or it is damaged; decode it with the model that coded it."
    )
    count, state, words = unpack(message[2:], damaged)
    steps, bits = message[:2]
    if steps > model.code_shape[0] or bits > MAX_BITS or count > MAX_FRAMES:
        raise damaged
    planes, head = _empty_planes(model, count, steps), np.array([state, 0], np.uint64)
    for k in range(len(planes)):
        _pop_plane(planes[max(k - 1, 0)], *_discretized(bits)[:2], planes[k], words, head)
        if head[0] < rans.LOWEST:
            raise damaged
    if head.tolist() != [_first_state(model, planes, steps, bits), len(words)]:
        raise damaged
    return reconstruct(model, planes, bits)


@torch.no_grad()
def quantize(
    model: StepwiseModel,
    frames: UInt8[Tensor, "N *K H W"],
    steps: int,
    *,
    bits: int = 2,
    beta: float = 1.0,
) -> tuple[Planes, Intervals]:
    """Round latents to places of the grid; return these and their intervals for the coder.

    Raises UsageError as ``encode_latents`` does.
    """
    _check(model, frames, steps, bits, beta)
    x, maps, written = model.prepare(frames), model.code_shape[1], list[Intervals]()
    planes = _empty_planes(model, len(frames), steps)
    for t in range(steps):
        codes = _codes(model, planes[: t * maps], bits)
        parts = zip(torch.split(x, BATCH), torch.split(codes, BATCH), strict=True)
        posteriors = [model.next_posterior(*part) for part in parts]
        mean = torch.cat([q.mean for q in posteriors]).movedim(1, 0).double().numpy() * 2**bits
        std = torch.cat([q.stddev for q in posteriors]).movedim(1, 0).double().numpy() * 2**bits
        for m in range(maps):
            k = t * maps + m
            below, nats = planes[max(k - 1, 0)], _discretized(bits)
            intervals = np.empty((2 * planes[k].size, 2), np.uint32)
            count = _write_plane(mean[m], std[m], beta, below, *nats, planes[k], intervals)
            written.append(intervals[:count])
    return planes, np.concatenate([np.empty((0, 2), np.uint32), *written])


@torch.no_grad()
def reconstruct(model: StepwiseModel, planes: Planes, bits: int) -> Float[Tensor, "N *K H W"]:
    """Return the mean frames of quantized latents, given 0 for the latents of missing steps."""
    codes = _codes(model, planes, bits).flatten(1)
    codes = pad(codes, (0, math.prod(model.code_shape) - codes.shape[1]))
    with one_thread():
        return torch.cat([model.image(part) for part in torch.split(codes, BATCH)]).clamp(0, 1)


def _empty_planes(model: StepwiseModel, count: int, steps: int) -> Planes:
    _, maps, rows, columns = model.code_shape
    return np.zeros((steps * maps, count, rows, columns), np.int8)


def _codes(model: StepwiseModel, planes: Planes, bits: int) -> Float[Tensor, "N t M R C"]:
    """Return the latents of places."""
    codes = torch.from_numpy(planes).float().movedim(0, 1) / 2**bits
    return codes.unflatten(1, (-1, model.code_shape[1]))


def _discretized(bits: int) -> tuple[float, Table, NDArray[np.float64]]:
    """Return the mass of the prior at 0, and the cumulative frequencies and nats of the others.

    Those of place n are at n + TOP.
    """
    ends = [math.erf((n + 0.5) / 2**bits / math.sqrt(2)) for n in range(-TOP - 1, TOP + 1)]
    ends[0], ends[-1] = -1.0, 1.0  # the tails
    mass = np.diff(np.array(ends)) / 2
    zero = float(mass[TOP])
    mass[TOP] = 0
    mass = np.maximum(mass / mass.sum(), 2.0**-rans.PRECISION)
    table = np.empty(len(mass) + 1, np.uint64)
    rans.tabulate(mass / mass.sum(), table)
    return zero, table, -np.log(mass)


def _first_state(model: StepwiseModel, planes: Planes, steps: int, bits: int) -> int:
    """Return a checksum of weights and places, in which a coder that decodes them ends."""
    checksum = zlib.crc32(bytes([steps, bits]) + planes.tobytes())
    for name, value in model.state_dict().items():
        checksum = zlib.crc32(name.encode() + value.cpu().contiguous().numpy().tobytes(), checksum)
    return rans.LOWEST | checksum


def _require_steps(model: StepwiseModel) -> None:
    if not isinstance(model, StepwiseModel):
        raise UsageError(
            f"The model {type(model).__name__} does not compose frames in steps; choose one that "
            "does, such as conv-draw."
        )


def _check(
    model: StepwiseModel, frames: UInt8[Tensor, "N *K H W"], steps: int, bits: int, beta: float
) -> None:
    _require_steps(model)
    allowed = {"steps": model.code_shape[0], "bits": MAX_BITS}
    for name, value in (("steps", steps), ("bits", bits)):
        if not 0 <= value <= allowed[name]:
            raise UsageError(f"{name} is {value}; it must be in 0..{allowed[name]}.")
    if not 0 < beta < math.inf:
        raise UsageError(f"beta is {beta}; it must be above 0.")
    pixels = model.pixels
    if frames.shape[1:] != pixels.shape or not 0 < len(frames) <= MAX_FRAMES:
        raise UsageError(
            f"The frames have shape {tuple(frames.shape)}; this model codes 1 to {MAX_FRAMES:,} "
            f"frames of {tuple(pixels.shape)} at once."
        )
    if int(frames.max()) >= pixels.levels:
        raise UsageError(
            f"The frames have a symbol {int(frames.max())}; this model is of symbols 0 to "
            f"{pixels.levels - 1}."
        )


@compiled(error_model="numpy")
@no_type_check
def _write_plane(mean, std, beta, below, zero, table, nats, plane, intervals):
    """Choose the places of a map and write their intervals; return the number of intervals.

    ``mean`` and ``std`` are in units of the grid, ``zero``, ``table`` and ``nats`` of the prior.
    """
    seen = np.zeros((CONTEXTS, 2))
    flag = np.empty(3, np.uint64)
    count = 0
    for n in range(plane.shape[0]):
        for i in range(plane.shape[1]):
            for j in range(plane.shape[2]):
                context = _context(plane, below, n, i, j)
                p = (seen[context, 0] + zero) / (seen[context, 1] + 1)
                exact = abs(mean[n, i, j])
                sign = 1 if mean[n, i, j] > 0 else -1
                sharpness = 0.5 / std[n, i, j] ** 2
                best = 0
                least = sharpness * exact**2 - beta * np.log(p)
                for size in range(1, min(int(exact + 0.5), TOP) + 1):
                    bits = nats[sign * size + TOP] - np.log(1 - p)
                    cost = sharpness * (exact - size) ** 2 + beta * bits
                    if cost < least:
                        best, least = sign * size, cost
                plane[n, i, j] = best
                _flag(p, flag)
                rans.write_interval(flag, int(best != 0), intervals[count])
                count += 1
                if best != 0:
                    rans.write_interval(table, best + TOP, intervals[count])
                    count += 1
                seen[context, 0] += best == 0
                seen[context, 1] += 1
    return count


@compiled(error_model="numpy")
@no_type_check
def _pop_plane(below, zero, table, plane, words, head):
    """Pop the places of a map into ``plane``, which is zeros, until the words have ended."""
    seen = np.zeros((CONTEXTS, 2))
    flag = np.empty(3, np.uint64)
    for n in range(plane.shape[0]):
        for i in range(plane.shape[1]):
            for j in range(plane.shape[2]):
                context = _context(plane, below, n, i, j)
                _flag((seen[context, 0] + zero) / (seen[context, 1] + 1), flag)
                is_zero = rans.pop(words, head, flag) == 0
                if not is_zero:
                    plane[n, i, j] = rans.pop(words, head, table) - TOP
                if head[0] < rans.LOWEST:
                    return
                seen[context, 0] += is_zero
                seen[context, 1] += 1


@compiled(error_model="numpy")
@no_type_check
def _flag(p, table):
    """Write the cumulative frequencies of whether a place is other than 0."""
    probs = np.array([p, 1 - p])
    rans.tabulate(probs, table)


@compiled(error_model="numpy")
@no_type_check
def _context(plane, below, n, i, j):
    """Return how many of three places before this one are not 0, by kind."""
    left = j > 0 and plane[n, i, j - 1] != 0
    above = i > 0 and plane[n, i - 1, j] != 0
    return int(left) + int(above) + 3 * int(below[n, i, j] != 0)
