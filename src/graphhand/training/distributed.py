"""One run on several processes, as torchrun starts them: who this one is, and what all must agree on.

Each process takes its share of every batch, and the gradients are averaged (DistributedDataParallel). The first
process alone writes files. Without torchrun there is one process and none of this costs anything.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from graphhand.devices import training_device
from graphhand.errors import InputError

# Newer versions of torch call it otherwise.
_SWITCHES = inspect.signature(DistributedDataParallel.__init__).parameters
_BROADCAST = "forward_sync_buffers" if "forward_sync_buffers" in _SWITCHES else "broadcast_buffers"
_TORCHRUN_VARIABLES = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Autocast(MixedPrecision):
    """bfloat16 where autocast chooses it. Fabric's own would round every input first: K by pixels, poses by 0.2 mm."""

    def __init__(self, device: str) -> None:
        super().__init__("bf16-mixed", device)

    def convert_input(self, data: Any) -> Any:
        """The input, untouched."""
        return data


def make_fabric(device: str, precision: str) -> Fabric:
    """Fabric for this process: alone, or one of those that torchrun started, which are joined here.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``32-true`` or ``bf16-mixed``.

    Raises:
        InputError: this machine has no such device; or ``WORLD_SIZE`` asks for several processes, but the rest of
            torchrun's variables is missing.
    """
    device = training_device(device).type
    size = int(os.environ.get("WORLD_SIZE") or 1)
    if size == 1:
        return Fabric(accelerator=device, devices=1, plugins=_precision(precision, device))
    missing = [name for name in _TORCHRUN_VARIABLES if name not in os.environ]
    if missing:
        raise InputError(
            "WORLD_SIZE", f"is {size}, but {missing[0]} is not set", "start with torchrun, or unset WORLD_SIZE"
        )
    local_size = int(os.environ["LOCAL_WORLD_SIZE"])
    if size % local_size:
        raise InputError("WORLD_SIZE", f"{size} is no multiple of {local_size}", "start as many on every machine")
    fabric = Fabric(
        accelerator=device,
        devices=local_size,
        num_nodes=size // local_size,
        # Buffers need no broadcast: batch statistics are one on all processes, spectral norms follow from the weights.
        strategy=DDPStrategy(gradient_as_bucket_view=True, **{_BROADCAST: False}),
        plugins=[TorchElasticEnvironment(), _precision(precision, device)],
    )
    fabric.launch()
    return fabric


def _precision(name: str, device: str) -> Precision:
    return Precision() if name == "32-true" else Autocast(device)


class Processes:
    """The processes of this run. Made on all of them at the same point.

    Attributes:
        rank: number of this one, from 0.
        size: how many there are.
    """

    def __init__(self) -> None:
        self.rank, self.size = rank_and_size()
        if self.size > 1:
            _between_cpus()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """A CPU tensor summed over the processes, the same on each."""
        return sum_on_cpu(values)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether any process raised it."""
        if self.size == 1:
            return flags
        return tuple(bool(count) for count in self.sum(torch.tensor(flags, dtype=torch.int64)))

    def mean(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Scalars averaged over the processes; all give the same names."""
        stacked = torch.stack([value.detach().float().cpu() for value in values.values()]).double()
        return dict(zip(values, (self.sum(stacked) / self.size).tolist()))

    def union(self, lines: Iterable[str]) -> set[str]:
        """What any process has."""
        mine = set(lines)
        if self.size == 1:
            return mine
        gathered: list[set[str]] = [set()] * self.size
        dist.all_gather_object(gathered, mine)
        return set().union(*gathered)

    def agree(self, *numbers: int) -> bool:
        """Whether every process gives the same numbers."""
        mine = torch.tensor(numbers, dtype=torch.int64)
        table = torch.zeros(self.size, len(numbers), dtype=torch.int64)
        table[self.rank] = mine
        return bool((self.sum(table) == mine).all())

    def require_even_shares(self, batch_size: int, pieces: int) -> None:
        """Refuse a batch that cannot be split evenly over the processes, and a share that cannot into pieces.

        Raises:
            InputError: it cannot.
        """
        if batch_size % (self.size * pieces):
            into = f"{self.size} processes" + (f" of {pieces} pieces each" if pieces > 1 else "")
            raise InputError("batch_size", f"{batch_size} cannot be split over {into}", "give a multiple")


def rank_and_size() -> tuple[int, int]:
    """This process's number and how many there are; (0, 1) before :func:`make_fabric` has joined several."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sum_on_cpu(values: Tensor) -> Tensor:
    """A CPU tensor summed over the processes, the same on each. All make their first call at the same point.

    Decisions and counts travel between CPUs: asking a GPU would wait for all it still has to do.
    """
    if rank_and_size()[1] > 1:
        values = values.clone()
        dist.all_reduce(values, group=_between_cpus())
    return values


@functools.cache
def _between_cpus() -> dist.ProcessGroup:
    """The processes, tied by Gloo; made at the first call after they were joined."""
    return dist.new_group(backend="gloo")


def leave() -> None:
    """Part from the other processes, at the very end."""
    if dist.is_available() and dist.is_initialized():
        _between_cpus.cache_clear()
        dist.destroy_process_group()
