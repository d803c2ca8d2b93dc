"""Torch devices: choice, settings that depend on them, timing with warm-up, and peak memory."""

from __future__ import annotations

import contextlib
import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Quartiles:
    """Median and quartiles of repeated measurements of one quantity.

    Attributes:
        median: second quartile.
        low: first quartile.
        high: third quartile.
        repeats: number of measurements.
    """

    median: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Quartiles:
        """Quartiles of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high, len(values))

    def scaled(self, factor: float) -> Quartiles:
        """The same in another unit."""
        return Quartiles(self.median * factor, self.low * factor, self.high * factor, self.repeats)

    def __format__(self, spec: str) -> str:
        """``median (low-high)``, each number formatted with ``spec``."""
        return f"{self.median:{spec}} ({self.low:{spec}}-{self.high:{spec}})"


def now(device: torch.device, processor_time: bool = False) -> float:
    """Seconds on a running clock, after the device has finished its queue.

    Args:
        device: the device to synchronize.
        processor_time: seconds of processor time of this thread instead of wall-clock time. Other programs do not
            count in it. It is meaningful where a single thread does all the work.
    """
    if processor_time:
        return time.thread_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    warm_up: int = 1,
    done: Callable[[], object] = lambda: None,
    processor_time: bool = False,
) -> dict[str, list[float]]:
    """Time several calls in turn, so that a machine that slows down affects all of them alike.

    Args:
        calls: what to time, by name.
        repeats: number of measured rounds.
        device: synchronized before and after each call.
        warm_up: number of rounds before the measured ones.
        done: called after every call, warm-up included.
        processor_time: see :func:`now`.

    Returns:
        Seconds, ``repeats`` for each name, in order of the rounds.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    for number in range(warm_up + repeats):
        for name, call in calls.items():
            start = now(device, processor_time)
            call()
            elapsed = now(device, processor_time) - start
            if number >= warm_up:
                times[name].append(elapsed)
            done()
    return times


def check_processor_time(device: torch.device, threads: int | None = None) -> None:
    """Check that processor time of this thread covers all the work.

    Args:
        device: where the work is done.
        threads: that do it; None for torch's.

    Raises:
        InputError: on another device than the CPU, or with several threads.
    """
    if device.type != "cpu" or (torch.get_num_threads() if threads is None else threads) != 1:
        raise InputError("--processor-time", "counts a single thread of the CPU", "use one thread on the CPU with it")


class PeakMemory:
    """Peak memory in bytes since construction: of tensors on CUDA, of the whole process elsewhere.

    Outside Linux the peak of a process cannot be reset, so there it counts from the start of the process.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> int | None:
        """Peak so far in bytes; None where the system does not report it."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        try:
            status = Path("/proc/self/status").read_text()
            return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        except (OSError, StopIteration):
            pass
        try:
            import resource
        except ImportError:  # Windows
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
