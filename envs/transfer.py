"""Transfer of a timestep from the arrays of an environment to a device, and back."""

import math
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
    shapes = {name: arrays[name].shape for name in DTYPES if name in arrays}
    size = sum(math.prod(shape) * DTYPES[name].itemsize for name, shape in shapes.items())
    on_gpu = device.type != "cpu"
    buffer = torch.empty(size, dtype=torch.uint8, pin_memory=on_gpu)
    host = _views(buffer, shapes)
    for name, view in host.items():
        view.numpy()[:] = arrays[name]
    tensors = _views(buffer.to(device, non_blocking=True), shapes) if on_gpu else host
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


def _views(
    buffer: UInt8[Tensor, " bytes"], shapes: dict[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Return views of the fields in their buffer."""
    sizes = [math.prod(shape) * DTYPES[name].itemsize for name, shape in shapes.items()]
    parts = zip(shapes.items(), torch.split(buffer, sizes), strict=True)
    return {name: part.view(DTYPES[name]).view(shape) for (name, shape), part in parts}
