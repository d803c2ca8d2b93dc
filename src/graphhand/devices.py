"""Choice of torch devices, and settings that depend on them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from graphhand.errors import InputError


def usable_device(device: str | torch.device | None = None) -> torch.device:
    """A device that works on this machine.

    Args:
        device: torch's name; None or ``auto`` chooses CUDA if there is one, else the CPU.

    Raises:
        InputError: torch knows no such device, or this machine has none.
    """
    if device is None or device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        first = str(error).strip().splitlines()[0]
        if first.startswith("Expected one of"):  # followed by a list of all device types
            first = "torch knows no such device"
        raise InputError(
            f"device {device}", f"cannot be used ({first})", "leave it out, or give cpu or cuda"
        ) from error
    return chosen


def training_device(name: str) -> torch.device:
    """The device of a recipe.

    Args:
        name: torch's name; ``auto`` chooses CUDA, else MPS, else the CPU. Prediction uses MPS only when it is named.

    Raises:
        InputError: as :func:`usable_device`.
    """
    if name == "auto" and not torch.cuda.is_available() and torch.backends.mps.is_available():
        return torch.device("mps")
    return usable_device(name)


def copies_ahead(device: torch.device) -> bool:
    """Whether asynchronous copies to the device are used: yes on CUDA; MPS is untested."""
    return device.type not in ("cpu", "mps")


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Switches autocast off, for geometry and spectral norms: bfloat16 would keep three digits of their products."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
