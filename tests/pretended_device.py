"""A pretended device: its tensors report it as their device and are computed on the CPU.

Code that would fail on a GPU fails here too: a CPU tensor among those on the device, or an array taken from it without
a copy. Speed, rounding and the GPU's kernels are not covered.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretended"
_SETUP = "_setup_privateuseone_for_python_backend"  # of torch 2.10 and later
available = hasattr(backend_registration, _SETUP)

# Operators that take tensors of two devices: copies, and indices, which may stay on the CPU.
_MIXED = {"copy_", "_to_copy", "_copy_from", "index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
# CUDA has no kernels of whole numbers for these.
_OF_FLOATS = {"mm", "bmm", "addmm", "baddbmm", "mv", "dot", "convolution", "_convolution", "grid_sampler_2d"}
# Operators that create tensors without taking one, or that bypass the Python dispatcher.
_REGISTERED = (
    "empty.memory_format", "empty_strided", "zeros", "ones", "full", "eye", "eye.m", "arange", "arange.start",
    "arange.start_step", "linspace", "scalar_tensor", "randperm", "rand", "randn", "randint",
    "copy_", "_copy_from", "_local_scalar_dense",
)  # fmt: skip


# Operators that are views; every other operator is at least one kernel on a GPU.
_VIEWS = {
    "alias", "as_strided", "detach", "diagonal", "expand", "permute", "_reshape_alias", "select", "slice", "split",
    "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "_unsafe_view", "unsqueeze", "view",
}  # fmt: skip
# Operators whose result the program needs, so that it waits for the GPU.
_WAITED_FOR = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal"}
_COPIES = {"_to_copy", "copy_", "_copy_from"}


@dataclass
class Work:
    """Kernels and waits that a GPU would see.

    Attributes:
        kernels: number of kernels by operator.
        waits: number of waits by operator, for a result or a synchronous copy.
    """

    kernels: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)

    def note(self, name: str, tensors: Sequence[torch.Tensor], told: str | None, left_alone: bool) -> None:
        """Count an operator on the device, or a copy from or to it."""
        if name in _VIEWS:
            return
        self.kernels[name] += 1
        by_a_mask = name.startswith("index") and any(tensor.dtype == torch.bool for tensor in tensors[1:])
        across = told == "cpu" or not all(isinstance(tensor, OnDevice) for tensor in tensors)
        if name in _WAITED_FOR or by_a_mask or (name in _COPIES and across and not left_alone):
            self.waits[name] += 1


_watching: list[Work] = []


@contextmanager
def watched() -> Iterator[Work]:
    """Count the operators on the device inside the block."""
    work = Work()
    _watching.append(work)
    try:
        yield work
    finally:
        _watching.remove(work)


class OnDevice(torch.Tensor):
    """A tensor that reports the pretended device; ``inner`` is its CPU tensor."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    inner: torch.Tensor

    @staticmethod
    def __new__(cls: type[OnDevice], inner: torch.Tensor) -> OnDevice:
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=torch.device(NAME, 0)
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(operator, *args, **(kwargs or {}))

    def tolist(self) -> Any:
        for work in _watching:
            work.waits["tolist"] += 1
        return self.inner.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            raise TypeError("can't convert a tensor on the device to numpy")
        return self.inner.numpy()

    def __repr__(self) -> str:
        return f"OnDevice({self.inner})"


class _Module:
    """The functions that torch calls in a device's module."""

    is_initialized = is_available = staticmethod(lambda: True)
    current_device = staticmethod(lambda: 0)
    device_count = staticmethod(lambda: 1)
    _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed_all = staticmethod(lambda seed: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16])


def device() -> torch.device:
    """The device, registered in this process at the first call."""
    _register()
    return torch.device(NAME, 0)


@functools.cache
def _register() -> torch.library.Library:
    getattr(backend_registration, _SETUP)(NAME, _Module())
    library = torch.library.Library("aten", "IMPL")
    for name in _REGISTERED:
        packet, _, overload = name.partition(".")
        operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
        library.impl(name, functools.partial(_run, operator), "PrivateUse1")
    return library


def _run(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """Run an operator on the CPU; results are on the device if an argument is or the call names it."""
    name = operator._schema.name.partition("::")[2]
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    mine = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
    if mine and name not in _MIXED:
        stray = [tensor for tensor in tensors if not isinstance(tensor, OnDevice) and tensor.ndim]
        if stray:
            raise RuntimeError(f"{operator}: {tuple(stray[0].shape)} on the CPU among tensors on the device")
    if mine and name in _OF_FLOATS and not mine[0].is_floating_point():
        raise RuntimeError(f"{operator} of {mine[0].dtype}: a GPU has no such kernel")
    args, kwargs, told = _on_cpu(operator, list(args), dict(kwargs))
    if mine or told == NAME:
        for work in _watching:
            work.note(name, tensors, told, bool(_argument(operator, args, kwargs, "non_blocking")))
    results = operator(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    known = {id(tensor.inner): tensor for tensor in mine}  # what was changed in place stays itself
    goes = bool(mine) if told is None else told == NAME

    def outer(value: Any) -> Any:
        if id(value) in known:
            return known[id(value)]
        return OnDevice(value) if goes and isinstance(value, torch.Tensor) else value

    return tree_map(outer, results)


def _argument(operator: Any, args: list[Any], kwargs: dict[str, Any], name: str) -> Any:
    """An argument by name or position; None if it was not given."""
    names = [argument.name for argument in operator._schema.arguments]
    place = names.index(name) if name in names else len(args)
    return kwargs.get(name, args[place] if place < len(args) else None)


def _on_cpu(operator: Any, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any], str | None]:
    """The arguments with the CPU as device, and the type of the device that the call named."""
    wanted = _argument(operator, args, kwargs, "device")
    if wanted is None:
        return args, kwargs, None
    cpu = torch.device("cpu")
    if "device" in kwargs:
        kwargs["device"] = cpu
    else:
        args = [cpu if argument is wanted else argument for argument in args]
    return args, kwargs, torch.device(wanted).type


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnDevice) else value
