"""A test double of an accelerator: a device of its own, whose numbers the CPU computes.

Importing the module adds the device ``fakegpu`` to torch, as a backend package does, so that it
stands wherever ``"cuda"`` does: in factories, ``to``, ``nn.Module.to`` and fused optimizers. Its
tensors refuse what those of a GPU refuse: operands, indices and generators of another device, and
numpy. Results have the bits of the CPU. Autocast, ``torch.compile`` and operations that change the
shape of a tensor in place are not part of it. It must be imported before the first backward pass,
for which torch starts one thread per device.

Example::

    on_device = torch.ones(3).to("fakegpu")
    with exchanges() as found:
        on_device.sum().item()
    assert found == ["item"]
    on_device + torch.ones(3)  # RuntimeError
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils.backend_registration import (
    _DummyBackendModule,
    _setup_privateuseone_for_python_backend,
)

NAME = "fakegpu"
CPU = torch.device("cpu")
aten: Any = torch.ops.aten

FACTORIES = (
    *("empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step"),
    *("eye", "eye.m", "linspace", "randperm", "randperm.generator"),
)
"""Operations without an operand, of which torch composes all others."""

COPIES = {"copy_", "_copy_from", "_to_copy"}
INDEXING = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"}
"""Operations whose list of indices a GPU also takes from the CPU, and copies."""
TAKE_NUMBERS = {"fill", "fill_", "masked_fill", "masked_fill_"} | INDEXING
"""Operations beside elementwise ones of which a GPU takes a 0-dimensional operand of the CPU."""

WAITING = {
    "_local_scalar_dense": "item",
    "equal": "equal",
    "nonzero": "nonzero",
    "masked_select": "nonzero",
    "bincount": "bincount",
    "repeat_interleave": "repeat_interleave",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique",
}
"""Operations of which the CPU needs the result, or its size, and waits for it; as recorded."""

_recordings: list[list[str]] = []


class DeviceTensor(Tensor):
    """A tensor of the device; ``host`` holds the same numbers on the CPU."""

    host: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, values: Tensor) -> "DeviceTensor":
        tensor: DeviceTensor = Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=torch.device(NAME, 0),
        )
        tensor.host = values
        return tensor

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return execute(op, *args, **kwargs or {})

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(f"can't convert {self.device} device type tensor to numpy.")

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Save the values; they are loaded as from a GPU with ``map_location="cpu"``."""
        return self.detach().cpu().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            copy = self.detach().clone().requires_grad_(self.requires_grad)
            is_parameter = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = torch.nn.Parameter(copy) if is_parameter else copy
        return memo[id(self)]

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"{self.host!r} on {self.device}"


def execute(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Carry out an operation on the CPU; raises RuntimeError for operands of two devices."""
    name = op._schema.name.removeprefix("aten::")
    if name in COPIES:
        return _copy(name, args, kwargs)
    operands = [*_flatten(args), *_flatten([*kwargs.values()])]
    on_device = any(isinstance(x, DeviceTensor) for x in operands)
    _check_devices(op, name, args, operands, kwargs.get("out"))
    if (device := kwargs.get("device")) is not None:  # the operation makes a tensor
        on_device, kwargs["device"] = device.type == NAME, CPU
    if name in WAITING:
        _record(WAITING[name])
    draws = on_device and torch.Tag.nondeterministic_seeded in op.tags
    with _random_numbers(op, operands) if draws else nullcontext():
        results = op(*_values(args), **{name: _values(x) for name, x in kwargs.items()})
    if not on_device:
        return results
    given = {id(x.host): x for x in operands if isinstance(x, DeviceTensor)}

    def wrapped(x: Tensor) -> Tensor:
        """Return the operand that an operation in place has changed, or a new tensor."""
        tensor = given.get(id(x))
        if tensor is not None and (tensor.shape, tensor.stride()) != (x.shape, x.stride()):
            raise NotImplementedError(f"{op} changes the shape of a tensor of {NAME} in place.")
        return DeviceTensor(x) if tensor is None else tensor

    return _map(wrapped, results)


def _flatten(x: Any) -> Iterator[Any]:
    for value in x:
        if isinstance(value, list | tuple):
            yield from _flatten(value)
        else:
            yield value


def _map(function: Callable[[Tensor], Tensor], x: Any) -> Any:
    if isinstance(x, list | tuple):
        return type(x)([_map(function, value) for value in x])
    return function(x) if isinstance(x, Tensor) else x


def _values(x: Any) -> Any:
    return _map(lambda tensor: tensor.host if isinstance(tensor, DeviceTensor) else tensor, x)


def _copy(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Copy to a device or into a tensor, and record it if it is one of another device."""
    if name == "_to_copy":
        source, device = args[0], kwargs.get("device") or args[0].device
        waits = not kwargs.get("non_blocking", False)
        copy = aten._to_copy.default(_values(source), **kwargs | {"device": CPU})
        target = DeviceTensor(copy) if device.type == NAME else copy
    else:
        target, source = args[:2] if name == "copy_" else args[1::-1]
        waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
        _values(target).copy_(_values(source))
    if isinstance(source, DeviceTensor) and not isinstance(target, DeviceTensor):
        _record("to host")
    elif isinstance(target, DeviceTensor) and not isinstance(source, DeviceTensor):
        _record("to device, waiting" if waits else "to device")
    return target


def _record(*names: str) -> None:
    for found in _recordings:
        found.extend(names)


def _check_devices(op: Any, name: str, args: tuple[Any, ...], operands: Any, out: Any) -> None:
    """Raise RuntimeError for a mixture of devices that a GPU refuses.

    It takes indices of the CPU, and numbers: 0-dimensional operands that are not written.
    """
    if name in INDEXING and isinstance(args[0], DeviceTensor):
        _record_indexing(args)
        operands = [args[0], *args[2:]]
    operands = [x for x in operands if isinstance(x, Tensor)]
    devices = {x.device for x in operands}
    if len(devices) > 1 and (name in TAKE_NUMBERS or torch.Tag.pointwise in op.tags):
        written = args[0] if name.endswith("_") else out
        devices = {x.device for x in operands if x is written or x.ndim or x.device != CPU}
    if len(devices) > 1:
        names = " and ".join(sorted(map(str, devices)))
        raise RuntimeError(f"Expected all tensors on the same device; {op} got {names}.")


def _record_indexing(args: tuple[Any, ...]) -> None:
    """Record copies of indices, and waits for the number of a mask's elements.

    One mask that takes one new value is filled without such a wait.
    """
    indices = [x for x in args[1] if x is not None]
    _record(*["to device, waiting" for x in indices if not isinstance(x, DeviceTensor)])
    if len(indices) > 1 or len(args) < 3 or args[2].numel() > 1:
        _record(*["nonzero" for x in indices if x.dtype in (torch.bool, torch.uint8)])


@contextmanager
def _random_numbers(op: Any, operands: list[Any]) -> Iterator[None]:
    """Let a random operation draw from the device's generator."""
    if any(isinstance(x, torch.Generator) for x in operands):
        raise RuntimeError(f"Expected a generator of {NAME} for {op}, but found one of the CPU.")
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(device_module.rng_state)
        yield
        device_module.rng_state = torch.get_rng_state()


def lstm_cell(x: Tensor, carry: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    """Compute an LSTM's next state as on the CPU, instead of by a GPU's own kernel."""
    h, c = carry
    linear = torch.nn.functional.linear
    i, f, g, o = (linear(h, w_hh, b_hh) + linear(x, w_ih, b_ih)).chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


class DeviceModule(_DummyBackendModule):
    """What torch calls of a backend, as ``torch.cuda``: one device with a generator."""

    def __init__(self) -> None:
        self.rng_state = torch.Generator().get_state()

    def device(self, device: Any) -> Any:
        return nullcontext()

    def synchronize(self, device: Any = None) -> None:
        _record("synchronize")

    def manual_seed(self, seed: int) -> None:
        self.rng_state = torch.Generator().manual_seed(seed).get_state()

    manual_seed_all = manual_seed

    def get_rng_state(self, device: Any = None) -> Tensor:
        return self.rng_state

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        self.rng_state = state

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return []


@contextmanager
def exchanges() -> Iterator[list[str]]:
    """Return a list of what the device and the CPU exchange within the context, in their order.

    These are copies ``to device``, with ``, waiting`` if the CPU waits for their end, and ``to
    host``; ``item``; and operations whose size the CPU waits for, such as ``nonzero``.
    """
    found: list[str] = []
    _recordings.append(found)
    try:
        yield found
    finally:
        _recordings.pop()


@contextmanager
def unpinned_memory() -> Iterator[None]:
    """Let ``torch.empty`` and ``pin_memory`` return plain memory, as no GPU pins any."""
    empty = torch.empty

    def unpinned(*args: Any, pin_memory: bool = False, **kwargs: Any) -> Tensor:
        return empty(*args, **kwargs)

    with patch.object(torch, "empty", unpinned), patch.object(Tensor, "pin_memory", Tensor.clone):
        yield


def add_device() -> None:
    """Add the device to torch."""
    _setup_privateuseone_for_python_backend(NAME, device_module)
    for name in (*FACTORIES, "_copy_from"):
        op, _, overload = name.partition(".")
        function = partial(execute, getattr(getattr(aten, op), overload or "default"))
        _library.impl(name, function, "PrivateUse1")
    _library.impl("lstm_cell", lstm_cell, "AutogradPrivateUse1")


device_module = DeviceModule()
_library: Any = torch.library.Library("aten", "IMPL")
DEVICE = torch.device("cuda")
"""The device to test on: a GPU, or the double where there is none."""
if not torch.cuda.is_available():
    add_device()
    DEVICE = torch.device(NAME, 0)
