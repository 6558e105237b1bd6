"""Transfer of a timestep from the arrays of an environment to a device, and back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Shaped, UInt8
from numpy.typing import NDArray
from torch import Tensor

from .interface import TimeStep

Array = NDArray[Any]

DTYPES = {
    "reward": torch.float64, "discount": torch.float32, "first": torch.bool, "last": torch.bool,
    "obs": torch.uint8, "privileged": torch.uint8, "snapshot": torch.uint8,
}  # fmt: skip
"""Fields of a time step in the order of a buffer, in which every field is aligned."""


def timestep_from_arrays(
    images: UInt8[Array, "N K H W"],
    columns: dict[str, Array],
    channels: int,
    device: torch.device,
) -> TimeStep:
    """Copy observations and the other fields, by name, to a device; return the time step.

    Many environments write the next observation into the same array, so there is a copy even on the
    host. It is one buffer, so that a timestep goes to a GPU in one transfer, from pinned memory;
    the newest frame, of ``channels`` channels, stays in host memory. Several transfers may be in
    flight: torch gives pinned memory out again only after the copies from it, and after the last
    reference to the frame in it.
    """
    arrays = columns | {"obs": images}
    shapes = tuple((name, arrays[name].shape) for name in DTYPES if name in arrays)
    places = _places(shapes)
    size, on_gpu = places[-1].stop, device.type != "cpu"
    buffer = torch.empty(size, dtype=torch.uint8, pin_memory=on_gpu)
    memory, host = buffer.numpy(), dict[str, Tensor]()
    for place in places:  # numpy makes a view in a fraction of torch's time
        own = memory[place.start : place.stop].view(place.dtype).reshape(place.shape)
        own[:] = arrays[place.name]
        host[place.name] = torch.from_numpy(own)
    tensors = _views(buffer.to(device, non_blocking=True), places) if on_gpu else host
    return TimeStep(**tensors, frame=host["obs"][:, -channels:])


def columns_to_host(*columns: Shaped[Tensor, " N"]) -> tuple[Shaped[Tensor, " N"], ...]:
    """Return a timestep's columns in host memory, from a device in one copy.

    The copy is in float64, which holds every action, reward and flag exactly.
    """
    on_device = [x for x in columns if x.device.type != "cpu"]
    if not on_device:
        return columns
    rows = iter(torch.stack([x.double() for x in on_device]).cpu())
    return tuple(x if x.device.type == "cpu" else next(rows).to(x.dtype) for x in columns)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a field is in the buffer, in bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    stop: int


@lru_cache
def _places(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> tuple[_Place, ...]:
    """Return the places of fields of these names and shapes, one after another."""
    places, stop = list[_Place](), 0
    for name, shape in shapes:
        start, dtype = stop, DTYPES[name]
        stop += math.prod(shape) * dtype.itemsize
        places.append(_Place(name, shape, str(dtype).removeprefix("torch."), start, stop))
    return tuple(places)


def _views(buffer: UInt8[Tensor, " bytes"], places: Sequence[_Place]) -> dict[str, Tensor]:
    """Return views of the fields in their buffer."""
    parts = torch.split(buffer, [place.stop - place.start for place in places])
    return {
        place.name: part.view(DTYPES[place.name]).view(place.shape)
        for place, part in zip(places, parts, strict=True)
    }
