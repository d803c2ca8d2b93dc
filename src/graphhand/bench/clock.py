"""Timing that can be trusted: warmed up, what is compared called in turn, medians, the GPU waited for."""

from __future__ import annotations

import contextlib
import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from graphhand.errors import InputError


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one thing.

    Attributes:
        median: the middle one.
        low: the lower quartile.
        high: the upper quartile.
        repeats: how many there were.
    """

    median: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high, len(values))

    def scaled(self, factor: float) -> Spread:
        """In another unit."""
        return Spread(self.median * factor, self.low * factor, self.high * factor, self.repeats)


def now(device: torch.device, processor_time: bool = False) -> float:
    """Seconds, once everything given to the device is done.

    Args:
        device: what to wait for.
        processor_time: those that this thread spent computing, instead of the clock's: what others on a busy machine
            take does not count. Right where a single thread does all the work.
    """
    if processor_time:
        return time.thread_time()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def in_turn(
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    warm_up: int = 1,
    done: Callable[[], object] = lambda: None,
    processor_time: bool = False,
) -> dict[str, list[float]]:
    """Seconds of each call, all of them called in turn: a machine that slows down slows them alike.

    Args:
        calls: what to time, by name.
        repeats: rounds that count.
        device: waited for before and after each call.
        warm_up: rounds before them that do not.
        done: called after every call, warm-up included.
        processor_time: see :func:`now`.

    Returns:
        ``repeats`` times for each name, in order, so that those of one round can be compared.
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


def check_processor_time(device: torch.device) -> None:
    """Refuse to measure one thread's time where it does not do all the work.

    Raises:
        InputError: on another device than the CPU, or with several threads.
    """
    if device.type != "cpu" or torch.get_num_threads() != 1:
        raise InputError("--processor-time", "counts a single thread of the CPU", "use one thread on the CPU with it")


class PeakMemory:
    """The largest memory in use since this was made, in bytes: on CUDA what tensors took, else the whole process.

    Where a process's own peak cannot be forgotten (anywhere but on Linux), it is the peak since the process began.
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
        """The peak so far; None where the system does not tell."""
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
