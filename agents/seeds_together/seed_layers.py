"""A network of several seeds, whose rows are those of the seeds one after another.

A batch holds as many rows of the first seed as of every other. All layers without parameters work
row by row, whatever a row's seed; a layer with parameters is computed seed by seed, by the product
that the seed's own network computes. Batched products (``bmm``) round otherwise than ``mm`` does,
and even ``mm`` of equal numbers may, at another alignment of its operands in memory; so every
operand begins at a multiple of ``ALIGNMENT`` bytes, as the allocator of torch aligns new tensors.
"""

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ...envs.errors import UsageError

M = TypeVar("M", bound=nn.Module)

ALIGNMENT = 64
"""Bytes of torch's alignment of new tensors on a CPU."""
ROW_BY_ROW = (nn.Linear, nn.Conv2d, nn.LayerNorm)
"""Layers with parameters that map each row of a batch by itself."""


class ActiveSeeds:
    """The seeds whose rows are in a batch, as positions in the lists of layers."""

    def __init__(self, num_seeds: int) -> None:
        self.positions = list(range(num_seeds))


class SeedLayer(nn.Module):
    """The same layer of several seeds, each with its own parameters."""

    def __init__(self, layers: Sequence[nn.Module], active: ActiveSeeds) -> None:
        super().__init__()
        self.layers, self.active = list(layers), active  # the parameters stay the seeds' own
        self.all_parameters = [tuple(layer.parameters()) for layer in layers]
        self.linear = all(isinstance(x, nn.Linear) and x.bias is not None for x in layers)

    def forward(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Map the rows of each active seed by its own layer."""
        positions = self.active.positions
        parameters = [self.all_parameters[i] for i in positions]
        if self.linear and x.ndim == 2:
            flat = [own for pair in parameters for own in pair]
            if torch.is_grad_enabled():
                y: Tensor = _SeedLinear.apply(x, *flat)  # type: ignore[no-untyped-call]
                return y
            return _linear([_aligned(part) for part in x.chunk(len(positions))], flat)
        layers = [self.layers[i] for i in positions]
        if torch.is_grad_enabled():
            flat = [own for each in parameters for own in each]
            z: Tensor = _SeedFunction.apply(x, layers, *flat)  # type: ignore[no-untyped-call]
            return z
        parts = zip(layers, x.chunk(len(layers)), strict=True)
        return torch.cat([layer(_aligned(part)) for layer, part in parts])


class _SeedFunction(torch.autograd.Function):
    """Layers of any kind, by automatic differentiation within each seed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: list[nn.Module], *parameters: Tensor) -> Tensor:
        ctx.layers, ctx.inputs, ctx.outputs = layers, [], []
        for layer, part in zip(layers, x.chunk(len(layers)), strict=True):
            own = _aligned(part.detach()).requires_grad_(x.requires_grad)
            with torch.enable_grad():
                ctx.outputs.append(layer(own))
            ctx.inputs.append(own)
        return torch.cat([y.detach() for y in ctx.outputs])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        needs_input = ctx.needs_input_grad[0]
        of_inputs, of_parameters = list[Tensor](), list[Tensor]()
        parts = zip(ctx.layers, ctx.inputs, ctx.outputs, grad.chunk(len(ctx.layers)), strict=True)
        for layer, x, y, own in parts:
            wanted = [x] * needs_input + list(layer.parameters())
            grads = torch.autograd.grad(y, wanted, _aligned(own))
            of_inputs += grads[:needs_input]
            of_parameters += grads[needs_input:]
        return torch.cat(of_inputs) if needs_input else None, None, *of_parameters


class _SeedLinear(torch.autograd.Function):
    """Linear layers, with the products of torch's own derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
        parts = [_aligned(part) for part in x.chunk(len(parameters) // 2)]
        ctx.save_for_backward(*parts, *parameters[::2])
        return _linear(parts, parameters)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        count = len(ctx.saved_tensors) // 2
        parts, weights = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        grads = [_aligned(own) for own in grad.chunk(count)]
        of_biases = grad.reshape(count, -1, grad.shape[1]).sum(1)  # sums round alike in any batch
        of_parameters = list[Tensor]()
        for x, own, of_bias in zip(parts, grads, of_biases.unbind(), strict=True):
            of_parameters += [own.t().mm(x), of_bias]
        if not ctx.needs_input_grad[0]:
            return None, *of_parameters
        of_input = torch.cat([own.mm(weight) for own, weight in zip(grads, weights, strict=True)])
        return of_input, *of_parameters


def _linear(parts: Sequence[Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """Return the products of each part with its weights, and the sums with its biases."""
    triples = zip(parts, parameters[::2], parameters[1::2], strict=True)
    return torch.cat([functional.linear(*triple) for triple in triples])


def check_network(network: nn.Module) -> None:
    """Raise UsageError for a network with a layer that does not map rows one by one."""
    for module in network.modules():
        if list(module.parameters(recurse=False)) and not isinstance(module, ROW_BY_ROW):
            raise UsageError(
                "Several seeds train together with networks of linear layers and convolutions, "
                f"and this one has a {type(module).__name__}; train its seeds one by one, without "
                "--seeds-together."
            )


def network_of_seeds(networks: Sequence[M], active: ActiveSeeds) -> M:
    """Return a network of the rows of all seeds, which shares the parameters of their networks.

    Raises UsageError for a network with a layer that does not map rows one by one.
    """
    check_network(networks[0])
    joint = copy.deepcopy(networks[0])
    for path, module in list(joint.named_modules()):
        if list(module.parameters(recurse=False)):
            parent, _, name = path.rpartition(".")
            layers = [network.get_submodule(path) for network in networks]
            setattr(joint.get_submodule(parent), name, SeedLayer(layers, active))
    return joint


def _aligned(x: Tensor) -> Tensor:
    """Return the tensor, or a copy of it that is dense and aligned as a new one.

    The order of its axes in memory stays: a convolution rounds by it.
    """
    dense = x.is_contiguous() or (
        x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    )
    return x if dense and x.data_ptr() % ALIGNMENT == 0 else x.clone()
