"""Arithmetic: in which precision networks multiply, and whether their code is compiled.

Like a device or a number of threads it says how a run is carried out, not what is learned; so it
surrounds the building of an agent or a model instead of standing in its config, and what was built
keeps it.
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

from envs.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Arithmetic:
    """How networks compute; sums of many terms and everything beyond them stay in float32."""

    precision: Precision = "fp32"
    compile: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """In which trunks multiply."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def multiplying(self, device: torch.device) -> torch.autocast:
        """What is computed inside multiplies so."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")


def native_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; elsewhere float32 is faster."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def rounding_once(device: torch.device) -> torch.autocast:
    """Inside, a weight is rounded once, however often networks look with it.

    The first look must be the one to differentiate, as the rounding it made is what others reuse.
    It multiplies nothing itself: torch forgets roundings where the outermost autocast ends.
    """
    return torch.autocast(device.type, enabled=False)


def rounded(module: M, dtype: torch.dtype) -> M:
    """A copy to look with alone: its weights are rounded once, to the bits every look would."""
    copied = copy.deepcopy(module).requires_grad_(False)
    for layer in copied.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            layer.to(dtype)
    return copied


_around: ContextVar[Arithmetic] = ContextVar("arithmetic", default=Arithmetic())  # noqa: B039


def arithmetic() -> Arithmetic:
    """What holds here."""
    return _around.get()


@contextmanager
def using(chosen: Arithmetic) -> Iterator[None]:
    """What is built inside computes so."""
    token = _around.set(chosen)
    try:
        yield
    finally:
        _around.reset(token)


def compiled(function: F, device: torch.device) -> F:
    """The function, compiled where that holds; on a GPU its kernels are launched as one graph.

    A graph's answers stand in its own memory until it runs again: clone what is to last.
    """
    if not arithmetic().compile:
        return function
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    faster: Any = torch.compile(function, mode=mode, dynamic=False)
    return faster  # type: ignore[no-any-return]


def channels_innermost(looks: UInt8[Tensor, "*s K H W"]) -> UInt8[Tensor, "*s K H W"]:
    """The same looks, laid out as convolutions want them.

    Stacking its planes is twice as fast as torch's own way of copying to that layout.
    """
    if looks.movedim(-3, -1).is_contiguous():
        return looks
    return torch.stack(looks.unbind(-3), -1).movedim(-1, -3)


def why_not_compiled(device: torch.device) -> str:
    """Why nothing can be compiled here, in a few words; empty where it can."""
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(8, device=device))
    except Exception as error:  # torch raises many kinds where a compiler is missing or broken
        return str(error).strip().splitlines()[0]
    return ""


def within_memory(work: Callable[[int], T], size: int, remedy: Callable[[int], str]) -> T:
    """``work(size)``; where the memory is too small for it, UsageError says the ``remedy``.

    That is told the first of size / 2, size / 4, ... for which there is enough, or 0.
    """
    try:
        return work(size)
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        # What the attempt had made stands in its frames, and would leave no room for smaller ones.
        traceback.clear_frames(error.__traceback__)
        raise UsageError(remedy(_fitting(work, size // 2))) from error


def _fitting(work: Callable[[int], object], size: int) -> int:
    while size:
        try:
            work(size)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)
            size //= 2
        else:
            return size
    return 0


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
