"""The detector's objective: targets, losses, one optimiser step, and errors on a validation set.

The score's loss is the focal loss of Law and Deng, *CornerNet*, ECCV 2018, on Gaussians whose axes follow the box.
Boxes are learnt by the generalised IoU of Rezatofighi et al., CVPR 2019, sides by cross-entropy, both at the cells of
the Gaussian and weighted by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from graphhand.config import StrictModel
from graphhand.data.canvases import SceneBatch
from graphhand.models.detector import DetectorOutput

_SPREAD = 0.54 / 6
"""Standard deviation of a Gaussian over its box's side, as in TTFNet."""
_LEAST_SPREAD = 0.6  # cells
_LEARNT = 0.2
"""Height of the Gaussian from which on a cell learns box and side."""
_ALPHA, _BETA = 2.0, 4.0


class DetectorLosses(StrictModel):
    """Weights of the detector's losses."""

    score: float = Field(1.0, ge=0, description="focal loss of the heatmap, over the number of hands")
    box: float = Field(2.0, ge=0, description="1 - generalised IoU")
    side: float = Field(0.5, ge=0, description="cross-entropy of the side, where it is known")


@dataclass(frozen=True)
class Targets:
    """What the cells of a batch should say.

    Attributes:
        heat: ``(B, h, w)`` in [0, 1], 1 in the middle of each hand.
        learnt: ``(B, h, w)`` bool, cells where something is known of hand or no hand.
        weight: ``(B, h, w)`` of box and side; of each hand they sum to 1.
        boxes: ``(B, 4, h, w)`` left, top, right, bottom edge of the cell's hand, pixels.
        side: ``(B, h, w)`` 1 right, 0 left, -1 unknown.
        hands: number of hands, at least 1.
    """

    heat: Tensor
    learnt: Tensor
    weight: Tensor
    boxes: Tensor
    side: Tensor
    hands: Tensor


def cell_middles(height: int, width: int, stride: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Pixels u ``(w,)`` and v ``(h,)`` of the cells' middles."""
    offset = (stride - 1) / 2
    return torch.arange(width, device=device) * stride + offset, torch.arange(height, device=device) * stride + offset


def make_targets(batch: SceneBatch, stride: int) -> Targets:
    """The targets of a batch's cells.

    Args:
        batch: canvases.
        stride: side of a cell, pixels.
    """
    size = batch.image.shape[-1]
    cells = size // stride
    u, v = cell_middles(cells, cells, stride, batch.image.device)
    x, y, w, h = batch.boxes.unbind(-1)  # (B, N)

    def bell(middles: Tensor, middle: Tensor, side: Tensor) -> Tensor:
        # about the cell that holds the middle, so that the peak is 1
        cell = ((middle + 0.5) / stride).floor().clamp(0, cells - 1) * stride + (stride - 1) / 2
        spread = (_SPREAD * side / stride).clamp(min=_LEAST_SPREAD) * stride
        return torch.exp(-0.5 * ((middles - cell[..., None]) / spread[..., None]).square())

    bells = bell(v, y + h / 2, h)[..., :, None] * bell(u, x + w / 2, w)[..., None, :]  # (B, N, h, w)
    bells = bells * batch.is_hand[..., None, None]
    heat, nearest = bells.max(dim=1)
    index = nearest[:, None]

    def of_nearest(values: Tensor) -> Tensor:
        return values[..., None, None].expand(-1, -1, cells, cells).gather(1, index)[:, 0]

    boxes = torch.stack([of_nearest(value) for value in (x, y, x + w, y + h)], dim=1)
    near = heat * (heat >= _LEARNT)
    totals = torch.zeros_like(x).scatter_add_(1, nearest.flatten(1), near.flatten(1))
    weight = near / of_nearest(totals).clamp(min=1e-6)
    ignored = F.max_pool2d(batch.ignored[:, None].float(), stride)[:, 0] > 0
    learnt = ~ignored | (heat > 0.999)
    return Targets(heat, learnt, weight, boxes, of_nearest(batch.sides), batch.is_hand.sum().clamp(min=1))


def detector_losses(output: DetectorOutput, targets: Targets, stride: int) -> dict[str, Tensor]:
    """``score``, ``box`` and ``side``, each a mean over hands.

    Args:
        output: of the network.
        targets: of the same batch.
        stride: side of a cell, pixels.
    """
    score = torch.sigmoid(output.score_logit)
    log_yes, log_no = F.logsigmoid(output.score_logit), F.logsigmoid(-output.score_logit)
    is_peak = targets.heat > 0.999
    focal = torch.where(
        is_peak, (1 - score).pow(_ALPHA) * log_yes, (1 - targets.heat).pow(_BETA) * score.pow(_ALPHA) * log_no
    )
    weight = targets.weight / targets.hands
    overlap = generalised_iou(output.distances_px, targets.boxes, stride)
    known = (targets.side >= 0).float()
    wrong = F.binary_cross_entropy_with_logits(output.side_logit, targets.side.clamp(min=0).float(), reduction="none")
    return {
        "score": -(focal * targets.learnt).sum() / targets.hands,
        "box": (weight * (1 - overlap)).sum(),
        "side": (weight * known * wrong).sum(),
    }


def generalised_iou(distances_px: Tensor, boxes: Tensor, stride: int) -> Tensor:
    """Generalised IoU ``(B, h, w)`` of each cell's box with the true one, in (-1, 1].

    Args:
        distances_px: ``(B, 4, h, w)``.
        boxes: ``(B, 4, h, w)`` left, top, right, bottom.
        stride: side of a cell, pixels.
    """
    u, v = cell_middles(boxes.shape[-2], boxes.shape[-1], stride, boxes.device)
    left, top, right, bottom = distances_px.unbind(1)
    a = torch.stack((u - left, v[:, None] - top, u + right, v[:, None] + bottom), dim=1)
    low, high = torch.maximum(a[:, :2], boxes[:, :2]), torch.minimum(a[:, 2:], boxes[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    union = _area(a) + _area(boxes) - shared
    hull = (torch.maximum(a[:, 2:], boxes[:, 2:]) - torch.minimum(a[:, :2], boxes[:, :2])).prod(dim=1)
    return shared / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
