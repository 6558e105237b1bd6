"""Conceptual compression: frames as the first steps of their composition, in real bytes.

Gregor et al. 2016, "Towards Conceptual Compression" (section 2.5): the latents of the first steps
are transmitted, and those of the others are the mean of their prior, so that a frame keeps its
gist. The paper reports the information of its latents; here they are rounded to a grid, and an
entropy coder writes them by their prior, as ``sparse_latents`` describes.

The coder's probabilities are functions of what is coded alone and not of the network. So every
machine decodes the same latents; its frames are the encoder's up to the rounding of the network's
sums, and on one machine bit for bit.
"""

import math
import zlib

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from ...envs.errors import UsageError
from ..latents.interface import LatentModel
from ..latents.stepwise import StepwiseModel
from . import rans
from .prequential import NotReproduced, one_thread, pack, unpack
from .sparse_latents import discretized_normal, pop_plane, write_plane

MAX_BITS, MAX_FRAMES = 7, 65_535
BATCH = 64
"""Frames of a forward pass."""
Planes = NDArray[np.int8]
"""Places of the latents, 0 for the mean of the prior, [maps N R C]: the maps of every step."""
Intervals = NDArray[np.uint32]


def encode_latents(
    model: LatentModel,
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
    model = require_steps(model)
    planes, intervals = quantize(model, frames, steps, bits=bits, beta=beta)
    words = np.empty(len(intervals), np.uint32)
    head = np.array([_first_state(model, planes, steps, bits), len(words)], np.uint64)
    rans.push(intervals, words, head)
    return bytes([steps, bits]) + pack(len(frames), words, head)


def decode_latents(model: LatentModel, message: bytes) -> Float[Tensor, "N *K H W"]:
    """Decode frames in 0..1: the mean of each pixel given the latents.

    Raises UsageError for a model that is not composed in steps, for a damaged message, and for that
    of another model.
    """
    model = require_steps(model)
    count, words, head = unpack(model, message[2:])
    steps, bits = message[:2]
    damaged = NotReproduced(model)
    if steps > model.code_shape[0] or bits > MAX_BITS or count > MAX_FRAMES:
        raise damaged
    planes = _empty_planes(model, count, steps)
    zero, table, _ = discretized_normal(bits)
    for k, plane in enumerate(planes):
        pop_plane(_before(planes, k), zero, table, plane, words, head)
        if head[0] < rans.LOWEST:
            raise damaged
    if head.tolist() != [_first_state(model, planes, steps, bits), len(words)]:
        raise damaged
    return reconstruct(model, planes, bits)


def require_steps(model: LatentModel) -> StepwiseModel:
    """Return a model that is composed in steps; raises UsageError for another one."""
    if not isinstance(model, StepwiseModel):
        raise UsageError(
            f"The model {type(model).__name__} does not compose frames in steps; choose one that "
            "does, such as conv-draw."
        )
    return model


@torch.no_grad()
def quantize(
    model: StepwiseModel,
    frames: UInt8[Tensor, "N *K H W"],
    steps: int,
    *,
    bits: int = 2,
    beta: float = 1.0,
) -> tuple[Planes, Intervals]:
    """Choose the places of latents on the grid; return these and their intervals for the coder.

    Raises UsageError as ``encode_latents`` does.
    """
    _check(model, frames, steps, bits, beta)
    maps, written = model.code_shape[1], list[Intervals]()
    planes = _empty_planes(model, len(frames), steps)
    x = model.prepare(frames.to(_device(model)))
    for t in range(steps):
        codes = _codes(model, planes[: t * maps], bits)
        parts = zip(torch.split(x, BATCH), torch.split(codes, BATCH), strict=True)
        posteriors = [model.next_posterior(*part) for part in parts]
        mean, std = (
            torch.cat(each).movedim(1, 0).double().cpu().numpy() * 2**bits
            for each in ([q.mean for q in posteriors], [q.stddev for q in posteriors])
        )
        for m in range(maps):
            k = t * maps + m
            intervals = np.empty((2 * planes[k].size, 2), np.uint32)
            before, grid = _before(planes, k), discretized_normal(bits)
            count: int = write_plane(mean[m], std[m], beta, before, *grid, planes[k], intervals)
            written.append(intervals[:count])
    return planes, np.concatenate([np.empty((0, 2), np.uint32), *written])


@torch.no_grad()
def reconstruct(model: StepwiseModel, planes: Planes, bits: int) -> Float[Tensor, "N *K H W"]:
    """Return the mean frames of quantized latents, given 0 for the latents of missing steps."""
    codes = _codes(model, planes, bits).flatten(1)
    codes = pad(codes, (0, math.prod(model.code_shape) - codes.shape[1]))
    with one_thread():
        images = [model.image(part) for part in torch.split(codes, BATCH)]
    return torch.cat(images).clamp(0, 1).cpu()


def _empty_planes(model: StepwiseModel, count: int, steps: int) -> Planes:
    _, maps, rows, columns = model.code_shape
    return np.zeros((steps * maps, count, rows, columns), np.int8)


def _before(planes: Planes, k: int) -> NDArray[np.int8]:
    """Return the map before map k, or zeros."""
    return planes[k - 1] if k else np.zeros_like(planes[0])


def _codes(model: StepwiseModel, planes: Planes, bits: int) -> Float[Tensor, "N t M R C"]:
    """Return the latents of places."""
    _, maps, rows, columns = model.code_shape
    codes = torch.from_numpy(planes).float().movedim(0, 1) / (1 << bits)
    return codes.reshape(len(codes), -1, maps, rows, columns).to(_device(model))


def _device(model: StepwiseModel) -> torch.device:
    """Return the device of the weights."""
    return next(model.parameters()).device


def _first_state(model: StepwiseModel, planes: Planes, steps: int, bits: int) -> int:
    """Return a checksum of weights and places, in which a coder that decodes them ends."""
    checksum = zlib.crc32(bytes([steps, bits]) + planes.tobytes())
    for name, value in model.state_dict().items():
        checksum = zlib.crc32(name.encode() + value.cpu().contiguous().numpy().tobytes(), checksum)
    return rans.LOWEST | checksum


def _check(
    model: StepwiseModel, frames: UInt8[Tensor, "N *K H W"], steps: int, bits: int, beta: float
) -> None:
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
