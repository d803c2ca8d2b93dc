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
