"""Micro-batches: a process's share of a batch, split for gradient accumulation.

A loss is a mean over the rows that it applies to, and micro-batches hold different numbers of them. Each mean is scaled
by a normalizer, so that the sum over all micro-batches and processes is the mean over the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphhand.data.sample import HandBatch
from graphhand.devices import copies_ahead
from graphhand.training.distributed import rank_and_size, sum_on_cpu
from graphhand.training.objective import LossNormalizers


@dataclass(frozen=True)
class MicroBatch:
    """Some rows of a batch.

    Attributes:
        batch: the rows.
        normalizers: what their means count.
        has_3d: ``(P,)`` int64, indices of the rows with a 3D pose, on the batch's device.
        real, fake: ``(R,)`` int64, indices of the rows for real and for generated triples, see :func:`pair_triples`.
        last: whether it is the last of its batch: gradients are averaged over processes with it.
    """

    batch: HandBatch
    normalizers: LossNormalizers
    has_3d: Tensor
    real: Tensor
    fake: Tensor
    last: bool


def split_batch(batch: HandBatch, count: int = 1) -> tuple[list[MicroBatch], int]:
    """Split this process's share of a batch. Every process makes this call.

    Rows are counted on the CPU, where their masks are known: asking a GPU would wait for all its work.

    Args:
        batch: the share. Process k holds the k-th block of the whole batch's rows.
        count: number of equal micro-batches.

    Returns:
        The micro-batches, and the number of rows with a 3D pose in the whole batch, over all processes.
    """
    rank, size = rank_and_size()
    masks = batch.masks_on_cpu()
    counts = torch.zeros(size, len(masks), dtype=torch.int64)
    counts[rank] = torch.stack([mask.sum() for mask in masks])
    counts = sum_on_cpu(counts)
    has_3d, has_2d, is_negative, is_right = counts.sum(0).tolist()
    real, fake = pair_triples(masks.has_3d, before=int(counts[:rank, 0].sum()), total=has_3d)
    device = batch.image.device

    def normalizer(mask: Tensor, total: int) -> float:
        return size * int(mask.sum()) / max(total, 1)

    def indices(mask: Tensor) -> Tensor:
        return mask.nonzero().squeeze(1).to(device, non_blocking=copies_ahead(device))

    length = len(batch) // count
    micro_batches = []
    for number in range(count):
        rows = slice(number * length, (number + 1) * length)
        normalizers = LossNormalizers(
            rows=1 / count,
            has_3d=normalizer(masks.has_3d[rows], has_3d),
            has_2d=normalizer(masks.has_2d[rows], has_2d),
            is_negative=normalizer(masks.is_negative[rows], is_negative),
            is_right=normalizer(masks.is_right[rows], is_right),
            real=normalizer(real[rows], has_3d // 2),
            fake=normalizer(fake[rows], has_3d // 2),
        )
        micro_batches.append(
            MicroBatch(
                batch=batch if count == 1 else batch.rows(rows),
                normalizers=normalizers,
                has_3d=indices(masks.has_3d[rows]),
                real=indices(real[rows]),
                fake=indices(fake[rows]),
                last=number == count - 1,
            )
        )
    return micro_batches, has_3d


def pair_triples(has_3d: Tensor, before: int, total: int) -> tuple[Tensor, Tensor]:
    """Rows for real and for generated triples: the rows with a 3D pose alternate.

    The two share no image: with an image in both, the discriminator could not use it to tell them apart. A real triple
    pairs a pose with its own image, so rows are never permuted between pose and image. Alternation counts over the
    whole batch: each process gets some of both, and together they are the triples of a single process.

    Args:
        has_3d: ``(B,)`` bool, rows with a 3D pose.
        before: how many such rows of the whole batch come before these.
        total: such rows of the whole batch; of an odd number the last is left out.

    Returns:
        Two masks ``(B,)`` bool.
    """
    number = has_3d.cumsum(0) - 1 + before
    paired = has_3d & (number < total // 2 * 2)
    return paired & (number % 2 == 0), paired & (number % 2 == 1)


@contextmanager
def freeze_bn_stats(network: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch normalisation while a batch is seen a second time."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
