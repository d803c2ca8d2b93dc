"""A step's batch in the parts in which it is seen: a share for each process, which may see its own in pieces.

The losses are means over the rows they apply to, such as those with a pose, and parts hold different numbers of them.
So that the parts together give exactly the whole batch's mean, each part's mean counts by the rows it stands for.
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


@dataclass(frozen=True)
class Share:
    """What a mean over a part counts in the whole batch's: the part's rows over all rows, times the processes.

    Times the processes, because DistributedDataParallel divides the sum of their gradients by their number.

    Attributes:
        rows: for means over all rows.
        posed: over rows with a 3D pose.
        labelled: over rows with a 2D label.
        handless: over rows that show no hand.
        right: over rows that show a right hand, as every hand is shown that is to be estimated.
        real, fake: over the discriminator's true and generated triples.
    """

    rows: float = 1.0
    posed: float = 1.0
    labelled: float = 1.0
    handless: float = 1.0
    right: float = 1.0
    real: float = 1.0
    fake: float = 1.0


WHOLE = Share()


@dataclass(frozen=True)
class Part:
    """Some rows of the step's batch.

    Attributes:
        batch: the rows.
        share: what their means count.
        posed: ``(P,)`` int64, the rows with a 3D pose, where the batch is.
        real, fake: those that make true and generated triples, see :func:`triples`.
    """

    batch: HandBatch
    share: Share
    posed: Tensor
    real: Tensor
    fake: Tensor


@dataclass(frozen=True)
class Parts:
    """This process's share of a batch, in pieces.

    Attributes:
        pieces: at least one.
        posed: how many rows of the whole batch, over all processes, have a 3D pose.
    """

    pieces: list[Part]
    posed: int


def split_batch(batch: HandBatch, pieces: int = 1) -> Parts:
    """Split this process's share of a batch; every process calls it.

    Rows are counted and numbered on the CPU: what is known there need not be asked of a GPU, which would first have to
    finish all that it was given.

    Args:
        batch: the share. Process k holds the k-th block of the whole batch's rows.
        pieces: how many equal pieces to make.
    """
    rank, size = rank_and_size()
    masks = batch.masks_on_cpu()
    posed, labelled, handless, right = masks
    counts = torch.zeros(size, len(masks), dtype=torch.int64)
    counts[rank] = torch.stack([mask.sum() for mask in masks])
    counts = sum_on_cpu(counts)
    all_posed, all_labelled, all_handless, all_right = counts.sum(0).tolist()
    real, fake = triples(posed, int(counts[:rank, 0].sum()), all_posed)
    device = batch.image.device

    def share(rows: Tensor, of: int) -> float:
        return size * int(rows.sum()) / max(of, 1)

    def numbers(rows: Tensor) -> Tensor:
        return rows.nonzero().squeeze(1).to(device, non_blocking=copies_ahead(device))

    step = len(batch) // pieces
    made = []
    for start in range(0, pieces * step, step):
        here = slice(start, start + step)
        shares = Share(
            rows=1 / pieces,
            posed=share(posed[here], all_posed),
            labelled=share(labelled[here], all_labelled),
            handless=share(handless[here], all_handless),
            right=share(right[here], all_right),
            real=share(real[here], all_posed // 2),
            fake=share(fake[here], all_posed // 2),
        )
        rows = (numbers(flag[here]) for flag in (posed, real, fake))
        made.append(Part(batch if pieces == 1 else batch.rows(here), shares, *rows))
    return Parts(made, all_posed)


def triples(posed: Tensor, before: int, total: int) -> tuple[Tensor, Tensor]:
    """Rows for true and for generated triples: of the whole batch's posed rows every other one, as many of each.

    The two share no image. Were an image in both, the discriminator could do no better with it than without it on
    that pair; and a triple is true only with its own image, so rows are never permuted between pose and image.
    Every other one, counted over the whole batch: then each process has some of both, and together they have just those
    that a single process would take.

    Args:
        posed: ``(B,)`` bool, rows with a 3D pose.
        before: posed rows of the whole batch that come before these.
        total: posed rows of the whole batch; of an odd number the last makes no triple.

    Returns:
        Two ``(B,)`` bool.
    """
    number = posed.cumsum(0) - 1 + before
    paired = posed & (number < total // 2 * 2)
    return paired & (number % 2 == 0), paired & (number % 2 == 1)


@contextmanager
def freeze_bn_stats(network: nn.Module) -> Iterator[None]:
    """Leave the running means and variances of batch normalisation as they are: for a second look at one batch."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
