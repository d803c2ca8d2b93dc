"""Batch normalisation over the batches of all processes together, so that several processes train as one would.

torch.nn.SyncBatchNorm does this on GPUs alone. The one here is plain torch, runs anywhere, and is used on CPUs.

One run on several processes, as torchrun starts them: who this one is, and what all must agree on.

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
import torch.nn.functional as F
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
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


class SynchronisedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """``BatchNorm1d`` and ``BatchNorm2d`` whose training statistics are those of all processes.

    Every process must bring a batch of the same size. Parameters and buffers have the names they have there.

    Shapes:
        ``(B, C)`` or ``(B, C, ...)`` -> the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            here = self.running_mean is None  # then the batch at hand counts, as it does in torch's
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, here, eps=self.eps)
        return self._normalise(x)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _normalise(self, x: Tensor) -> Tensor:
        values = x.float()
        with torch.no_grad():
            mean, variance = _statistics(values)
        self._remember(mean, variance, count=x.numel() // x.shape[1] * rank_and_size()[1])
        normalised: Tensor = _Normalise.apply(values, mean, variance, self.weight, self.bias, self.eps)
        return normalised.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), rate)

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Let every batch normalisation in a network see the batches of all processes; its state dict stays as it was.

    Raises:
        InputError: the network has a kind of batch normalisation that this cannot replace.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and type(module) not in _REPLACEABLE:
            raise InputError(
                name, f"{type(module).__name__} cannot be synchronised over processes", "train it on one process"
            )
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) in (nn.BatchNorm1d, nn.BatchNorm2d):
                setattr(parent, name, _synchronised(child))
    return network


@torch.no_grad()
def average_batch_statistics(network: nn.Module) -> None:
    """Set the running statistics of a network's batch normalisation to their means over the processes.

    For training without synchronisation, after every step, so that the processes validate and save one network.
    """
    size = rank_and_size()[1]
    if size == 1:
        return
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    running = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
    if not running:
        return
    together = torch.cat(running)  # one message instead of one a layer
    dist.all_reduce(together)
    for value, mean in zip(running, (together / size).split([len(value) for value in running])):
        value.copy_(mean)


_REPLACEABLE = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, SynchronisedBatchNorm)


def _synchronised(norm: nn.Module) -> SynchronisedBatchNorm:
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    new = SynchronisedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    # The very parameters and buffers, so that whoever holds them already keeps them.
    new._parameters, new._buffers, new.training = norm._parameters, norm._buffers, norm.training
    return new


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over the equal batches of all processes, ``(C,)`` each."""
    mean, variance = torch.batch_norm_update_stats(values, None, None, 0.0)
    size = rank_and_size()[1]
    if size == 1:
        return mean, variance
    own = torch.stack([mean, variance])
    everyone = [torch.empty_like(own) for _ in range(size)]
    dist.all_gather(everyone, own)
    means, variances = torch.stack(everyone).unbind(1)
    mean = means.mean(0)
    # The mean of squares less the square of the mean would cancel.
    return mean, (variances + (means - mean).square()).mean(0)


class _Normalise(torch.autograd.Function):
    """Normalisation by statistics of all processes, through which gradients flow; the loss is a sum over processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, mean, variance, weight)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, False, eps=eps)

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, None, None, Tensor | None, Tensor | None, None]:
        x, mean, variance, weight = ctx.saved_tensors
        scale = torch.rsqrt(variance + ctx.eps)
        # sums over samples and pixels of gradient times normalised input, and of the gradient
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, torch.ones_like(mean), mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        count = x.numel() // x.shape[1] * rank_and_size()[1]
        along, constant = (_summed(torch.stack([of_weight, of_bias])) / count).unbind(0)
        # weight * scale * (gradient - constant - normalised * along), as gradient * a + x * b + c
        a = scale if weight is None else scale * weight
        b = -a * scale * along
        c = -a * constant - b * mean
        shape = [-1 if dim == 1 else 1 for dim in range(x.dim())]
        of_x = torch.addcmul(c.view(shape), x, b.view(shape)).addcmul_(gradient, a.view(shape))
        if weight is None:
            return of_x, None, None, None, None, None
        return of_x, None, None, of_weight, of_bias, None


def _summed(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    if rank_and_size()[1] > 1:
        dist.all_reduce(total)
    return total
