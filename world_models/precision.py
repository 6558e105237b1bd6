"""Precision of the networks, and whether their code is compiled.

Like a device it describes how a run is executed, not what is learned. Therefore it is an argument
of every ``build`` beside the device instead of a part of a config.
"""

import copy
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from ..envs.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
PrecisionName = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Precision:
    """Precision and compilation of networks; losses and other long sums stay in float32.

    A model without matrix products, such as a table of counts, ignores it.

    Example::

        from reverie.envs.batched_env import spec_of
        from reverie.envs.catch import CatchConfig
        from reverie.agents.ppo import PPOConfig
        from reverie.world_models.precision import Precision

        spec = spec_of(CatchConfig(), num_envs=8)
        agent = PPOConfig().build(spec, precision=Precision("bf16"))
    """

    name: PrecisionName = "fp32"
    compile: bool = False
    """Whether networks and losses are compiled by torch.compile."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of matrix products and convolutions."""
        return torch.bfloat16 if self.name == "bf16" else torch.float32

    @property
    def reduced(self) -> bool:
        """Whether products are less precise than float32."""
        return self.dtype != torch.float32

    def for_small_kernels(self, device: torch.device) -> "Precision":
        """Return this precision on a GPU, and float32 products on a CPU.

        For networks of few channels that score single frames: a PixelCNN of 16 maps learns a frame
        14 times slower in a CPU's bfloat16 than in its float32.
        """
        return self if device.type != "cpu" else replace(self, name="fp32")

    def autocast(self, device: torch.device) -> torch.autocast:
        """Return a context manager that multiplies in this precision."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.reduced)

    def maybe_compile(self, function: F, device: torch.device) -> F:
        """Return the function, compiled if ``compile`` is set.

        On a GPU its kernels are launched as one CUDA graph, whose outputs are overwritten by its
        next call: clone what must be kept.
        """
        if not self.compile:
            return function
        mode = "reduce-overhead" if device.type == "cuda" else "default"
        optimized: Any = torch.compile(function, mode=mode, dynamic=False)
        return optimized  # type: ignore[no-any-return]


FLOAT32 = Precision()
"""Single precision, without compilation: the default."""


def native_bfloat16() -> bool:
    """Return whether the CPU multiplies bfloat16 in hardware; elsewhere float32 is faster."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def shared_autocast_cache(device: torch.device) -> torch.autocast:
    """Return a context manager in which each weight is cast once for all forward passes.

    The first forward pass must be the one with gradients, because the others reuse its casts. The
    context itself casts nothing: torch clears its cache where the outermost autocast ends.
    """
    return torch.autocast(device.type, enabled=False)


class InferenceCopy(Generic[M]):
    """A network for inference: a copy with weights in low precision, or in float32 itself.

    A trained network casts its float32 weights in every forward pass. The copy is cast once, at
    ``refresh``, to the same bits; ``layers`` returns what computes in low precision.
    """

    def __init__(
        self,
        source: M,
        precision: Precision,
        layers: Callable[[M], nn.Module] = lambda module: module,
    ) -> None:
        self.source = self.network = source
        if precision.reduced:
            self.network = copy.deepcopy(source).requires_grad_(False)
            for layer in layers(self.network).modules():
                if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                    layer.to(precision.dtype)

    def refresh(self) -> None:
        """Copy the present weights of the source network."""
        if self.network is not self.source:
            self.network.load_state_dict(self.source.state_dict())


def to_channels_last(obs: UInt8[Tensor, "*s K H W"]) -> UInt8[Tensor, "*s K H W"]:
    """Return the observations in channels-last memory format.

    Stacking the planes is twice as fast as ``Tensor.contiguous(memory_format=...)``.
    """
    if obs.movedim(-3, -1).is_contiguous():
        return obs
    return torch.stack(obs.unbind(-3), -1).movedim(-1, -3)


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
