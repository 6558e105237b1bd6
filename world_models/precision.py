"""Precision of the networks, and whether their code is compiled.

Like a device or a number of threads it describes how a run is executed, not what is learned.
Therefore it is a context around the construction of an agent or a model instead of a part of its
config; what was built inside keeps it.
"""

import copy
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from ..envs.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class PrecisionConfig:
    """Precision and compilation of networks; losses and other long sums stay in float32.

    Example::

        with use_precision(PrecisionConfig("bf16")):
            agent = config.build(envs.spec)
    """

    precision: Precision = "fp32"
    compile: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of matrix products and convolutions."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return a context manager that multiplies in this precision."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


_current: ContextVar[PrecisionConfig] = ContextVar("precision", default=PrecisionConfig())  # noqa: B039


def current_precision() -> PrecisionConfig:
    """Return the config of the innermost ``use_precision``, by default float32 and eager."""
    return _current.get()


@contextmanager
def use_precision(config: PrecisionConfig) -> Iterator[None]:
    """Build agents and models in the precision of ``config``."""
    token = _current.set(config)
    try:
        yield
    finally:
        _current.reset(token)


def native_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware; elsewhere float32 is faster."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def shared_autocast_cache(device: torch.device) -> torch.autocast:
    """Return a context manager in which each weight is cast once for all forward passes.

    The first forward pass must be the one with gradients, because the others reuse its casts. The
    context itself casts nothing: torch clears its cache where the outermost autocast ends.
    """
    return torch.autocast(device.type, enabled=False)


def low_precision_copy(module: M, dtype: torch.dtype) -> M:
    """Return a copy for inference with weights in ``dtype``, rounded as autocast rounds them."""
    copied = copy.deepcopy(module).requires_grad_(False)
    for layer in copied.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.to(dtype)
    return copied


def to_channels_last(obs: UInt8[Tensor, "*s K H W"]) -> UInt8[Tensor, "*s K H W"]:
    """Return the observations in channels-last memory format.

    Stacking the planes is twice as fast as ``Tensor.contiguous(memory_format=...)``.
    """
    if obs.movedim(-3, -1).is_contiguous():
        return obs
    return torch.stack(obs.unbind(-3), -1).movedim(-1, -3)


def maybe_compile(function: F, device: torch.device) -> F:
    """Return the function, compiled if the current precision config asks for it.

    On a GPU its kernels are launched as one CUDA graph, whose outputs are overwritten by its next
    call: clone what must be kept.
    """
    if not current_precision().compile:
        return function
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    optimized: Any = torch.compile(function, mode=mode, dynamic=False)
    return optimized  # type: ignore[no-any-return]


def compile_failure(device: torch.device) -> str:
    """Return why ``torch.compile`` fails on the device, in one line; empty if it works."""
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=device))
    except Exception as error:  # torch raises many kinds where a compiler is missing or broken
        return str(error).strip().splitlines()[0]
    return ""


def run_with_oom_hint(run: Callable[[int], T], size: int, hint: Callable[[int], str]) -> T:
    """Return ``run(size)``; raises UsageError with a hint if memory does not suffice.

    ``hint`` gets the first of size / 2, size / 4, ... that fits in memory, or 0 if none does.
    """
    try:
        return run(size)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        # The traceback's frames hold the tensors of the attempt, and would leave no memory.
        traceback.clear_frames(error.__traceback__)
        raise UsageError(hint(_largest_fitting_size(run, size // 2))) from error


def _largest_fitting_size(run: Callable[[int], object], size: int) -> int:
    """Return the first of size, size / 2, ... for which ``run`` fits in memory, or 0."""
    while size:
        try:
            run(size)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)
            size //= 2
        else:
            return size
    return 0


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
