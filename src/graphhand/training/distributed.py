"""Training on several processes, started by torchrun: communication between them, and batch normalisation over all.

Each process takes a share of every batch, and DistributedDataParallel averages the gradients. Only the first process
writes files. Without torchrun there is one process, and nothing here costs time.
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

_ARGUMENTS = inspect.signature(DistributedDataParallel.__init__).parameters
# The argument has another name in newer versions of torch.
_BROADCAST = "forward_sync_buffers" if "forward_sync_buffers" in _ARGUMENTS else "broadcast_buffers"
_TORCHRUN_VARIABLES = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Autocast(MixedPrecision):
    """bfloat16 where autocast chooses it. Fabric's class also rounds the inputs: K by pixels, poses by 0.2 mm."""

    def __init__(self, device: str) -> None:
        super().__init__("bf16-mixed", device)

    def convert_input(self, data: Any) -> Any:
        """The input, untouched."""
        return data


def make_fabric(device: str, precision: str) -> Fabric:
    """Fabric for this process, which joins the others where torchrun started several.

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
    """The processes of this run. Every process constructs this, and calls its methods, at the same points.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
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
        """The lines that any process has."""
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

    def require_even_shares(self, batch_size: int, micro_batches: int) -> None:
        """Refuse a batch that cannot be split evenly over the processes and their micro-batches.

        Raises:
            InputError: it cannot.
        """
        if batch_size % (self.size * micro_batches):
            into = f"{self.size} processes" + (f" of {micro_batches} micro-batches" if micro_batches > 1 else "")
            raise InputError("batch_size", f"{batch_size} cannot be split over {into}", "give a multiple")


def rank_and_size() -> tuple[int, int]:
    """Number of this process and of all; (0, 1) before :func:`make_fabric` has joined several."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def sum_on_cpu(values: Tensor) -> Tensor:
    """A CPU tensor summed over the processes, the same on each. All make their first call at the same point.

    Decisions and counts are exchanged between CPUs: a GPU would first finish its queue.
    """
    if rank_and_size()[1] > 1:
        values = values.clone()
        dist.all_reduce(values, group=_between_cpus())
    return values


@functools.cache
def _between_cpus() -> dist.ProcessGroup:
    """The process group of the CPUs (Gloo), made at the first call after the processes joined."""
    return dist.new_group(backend="gloo")


def leave() -> None:
    """Leave the process group, at the end of the program."""
    if dist.is_available() and dist.is_initialized():
        _between_cpus.cache_clear()
        dist.destroy_process_group()


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """``BatchNorm1d`` and ``BatchNorm2d`` whose training statistics are over the batches of all processes.

    torch.nn.SyncBatchNorm needs GPUs; this is plain torch and serves CPUs. All batches must have the same size.
    Parameters and buffers have the same names as torch's.

    Shapes:
        ``(B, C)`` or ``(B, C, ...)`` -> the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            use_batch = self.running_mean is None  # as torch does
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, use_batch, eps=self.eps)
        return self._normalise(x)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _normalise(self, x: Tensor) -> Tensor:
        values = x.float()
        with torch.no_grad():
            mean, variance = _statistics(values)
        self._update_running(mean, variance, count=x.numel() // x.shape[1] * rank_and_size()[1])
        normalised: Tensor = _Normalise.apply(values, mean, variance, self.weight, self.bias, self.eps)
        return normalised.to(x.dtype)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), rate)

    def _check_input_dim(self, input: Tensor) -> None:
        pass


_REPLACEABLE = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, SyncBatchNorm)


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Replace every batch normalisation of a network by one over all processes; its state dict stays the same.

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
                setattr(parent, name, _sync(child))
    return network


@torch.no_grad()
def average_batch_statistics(network: nn.Module) -> None:
    """Average the running statistics of a network's batch normalisation over the processes.

    Used after every step of training without synchronised batch normalisation, so that all processes have one network.
    """
    size = rank_and_size()[1]
    if size == 1:
        return
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    running = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
    if not running:
        return
    together = torch.cat(running)  # one message for all layers
    dist.all_reduce(together)
    for value, mean in zip(running, (together / size).split([len(value) for value in running])):
        value.copy_(mean)


def _sync(norm: nn.Module) -> SyncBatchNorm:
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    new = SyncBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    # The same tensors, which an optimiser may hold already.
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
    # The mean of squares minus the square of the mean would cancel.
    return mean, (variances + (means - mean).square()).mean(0)


class _Normalise(torch.autograd.Function):
    """Normalisation by the statistics of all processes, through which gradients flow."""

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
