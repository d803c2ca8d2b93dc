"""Batch normalisation over the batches of all processes together, so that several processes train as one would.

torch.nn.SyncBatchNorm does this on GPUs alone. The one here is plain torch, runs anywhere, and is used on CPUs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from graphhand.errors import InputError
from graphhand.training.distributed import rank_and_size


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
        others = [dim for dim in range(x.dim()) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(x.dim())]
        # Two passes: the mean of squares less the square of the mean would cancel.
        mean = _mean_over_processes(values.mean(others))
        centred = values - mean.view(shape)
        variance = _mean_over_processes(centred.square().mean(others))
        self._remember(mean.detach(), variance.detach(), count=x.numel() // x.shape[1] * rank_and_size()[1])
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        normalised = centred * scale.view(shape)
        if self.bias is not None:
            normalised = normalised + self.bias.view(shape)
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


_REPLACEABLE = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm, SynchronisedBatchNorm)


def _synchronised(norm: nn.Module) -> SynchronisedBatchNorm:
    assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
    new = SynchronisedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    # The very parameters and buffers, so that whoever holds them already keeps them.
    new._parameters, new._buffers, new.training = norm._parameters, norm._buffers, norm.training
    return new


def _mean_over_processes(values: Tensor) -> Tensor:
    mean: Tensor = _Sum.apply(values) / rank_and_size()[1]
    return mean


class _Sum(torch.autograd.Function):
    """A sum over processes. The loss is a sum over processes too, so the gradient is summed like the value."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _summed(gradient)


def _summed(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    if rank_and_size()[1] > 1:
        dist.all_reduce(total)
    return total
