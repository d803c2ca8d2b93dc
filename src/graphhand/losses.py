"""The training losses: Eqs. 4-7, the adversarial ones, and those that the paper does not have.

Arguments are in metres and in pixels of any crop. :class:`LossUnits` says in which units the losses measure lengths: in
bones of the hand, in which the paper's weights balance, or in millimetres. The conversion happens here alone.

Every loss is a mean over the samples it applies to. Where it applies to none, it and its gradient are zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from graphhand.skeleton import Joint, bone_vectors

MM_PER_M = 1000.0
REFERENCE_CROP_PX = 224.0
REFERENCE_BONE = (Joint.MIDDLE_MCP, Joint.MIDDLE_PIP)
"""The unit of length of ``unit: bone``: the middle finger's first bone, by which the usual protocols scale a hand."""
TYPICAL_BONE_M = 0.03
"""Its length where no pose is known."""
SHORTEST_REFERENCE_M = 0.01
"""A shorter label of the reference bone is taken for a fault: one sample must not outweigh its batch."""
BONES_PER_CROP = 6.0
"""Lengths of the reference bone across a crop, about the mean over rendered hands (docs/choices.md)."""
SHORTEST_BONE_M = 1e-4
"""Shorter bones count less in L_dir: the gradient of a direction is one over the length and would exceed all others."""


@dataclass(frozen=True, eq=False)
class LossUnits:
    """The units in which the losses of a batch measure lengths.

    Attributes:
        per_m: units of length in a metre, a number or ``(B, 1)``.
        per_crop: units of length in the image across a crop.
        critic_m: metres that the discriminator reads as 1, a number or ``(B, 1, 1)``.
    """

    per_m: Tensor | float
    per_crop: float
    critic_m: Tensor | float

    @classmethod
    def of(cls, unit: Literal["bone", "mm"], joints_m: Tensor, has_3d: Tensor) -> LossUnits:
        """The units of a batch.

        Args:
            unit: ``bone``: the true length of each sample's reference bone, in the image a sixth of the crop's side.
                ``mm``: millimetres, pixels of a 224-pixel crop, and decimetres for the discriminator.
            joints_m: ``(B, 21, 3)`` true poses, metres.
            has_3d: ``(B,)`` bool, which samples have one.
        """
        if unit == "mm":
            return MILLIMETRES
        start, end = REFERENCE_BONE
        length = _norm(joints_m[:, end] - joints_m[:, start]).clamp(min=SHORTEST_REFERENCE_M)
        length = torch.where(has_3d, length, TYPICAL_BONE_M)
        return cls(1.0 / length[:, None], BONES_PER_CROP, length[:, None, None])

    def rows(self, rows: Tensor) -> Tensor | float:
        """``critic_m`` of some of the samples, by their indices."""
        return self.critic_m[rows] if isinstance(self.critic_m, Tensor) else self.critic_m


MILLIMETRES = LossUnits(MM_PER_M, REFERENCE_CROP_PX, critic_m=0.1)


def pose_loss(predicted_m: Tensor, target_m: Tensor, has_3d: Tensor, units: LossUnits = MILLIMETRES) -> Tensor:
    """L_pose: mean Euclidean distance over the joints.

    Args:
        predicted_m: ``(B, 21, 3)`` metres.
        target_m: ``(B, 21, 3)`` metres, relative to its wrist; any values where there is no pose, here as below.
        has_3d: ``(B,)`` bool, which samples have a pose.
        units: of the result, here as below.
    """
    distance = _norm(predicted_m - _where(has_3d, target_m)) * units.per_m
    return _mean_over(distance.mean(-1), has_3d)


def projection_loss(
    predicted_px: Tensor, target_px: Tensor, labelled: Tensor, crop_size: int, units: LossUnits = MILLIMETRES
) -> Tensor:
    """L_proj: mean distance over the labelled joints.

    Args:
        predicted_px: ``(B, 21, 2)`` crop pixels.
        target_px: ``(B, 21, 2)`` crop pixels; any values where unlabelled.
        labelled: ``(B, 21)`` bool.
        crop_size: side of the crop, pixels.
    """
    difference = torch.where(labelled[..., None], predicted_px - target_px, predicted_px.new_zeros(()))
    distance = _norm(difference) * (units.per_crop / crop_size)
    count = labelled.sum(-1)
    return _mean_over(distance.sum(-1) / count.clamp(min=1), count > 0)


def heatmap_loss(logits: Tensor, target_px: Tensor, labelled: Tensor, crop_size: int) -> Tensor:
    """KL divergence of Gaussians about the true joints, of one cell, from the heatmaps; not in the paper.

    Args:
        logits: ``(B, 21, h, w)``, whose cells divide the crop evenly.
        target_px: ``(B, 21, 2)`` crop pixels; joints outside the crop do not count.
        labelled: ``(B, 21)`` bool.
        crop_size: side of the crop, pixels.
    """
    height, width = logits.shape[-2:]
    # In cells, whose middles are whole numbers.
    u = (target_px[..., 0] + 0.5) * (width / crop_size) - 0.5
    v = (target_px[..., 1] + 0.5) * (height / crop_size) - 0.5
    inside = labelled & (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
    u, v = (torch.where(inside, x, x.new_zeros(())) for x in (u, v))
    of_rows, of_columns = (_log_gaussian(v, height), _log_gaussian(u, width))
    # The Gaussian t is a product of one over the rows and one over the columns, and the heatmap p a softmax:
    # sum t (log t - log p) needs neither on the grid.
    negentropy = sum((log.exp() * log).sum(-1) for log in (of_rows, of_columns))
    expected = torch.einsum("bjhw,bjh,bjw->bj", logits, of_rows.exp(), of_columns.exp())
    divergence = negentropy - expected + logits.flatten(2).logsumexp(-1)
    return _mean_over((divergence * inside).sum(-1) / inside.sum(-1).clamp(min=1), labelled.any(-1))


def _log_gaussian(middle: Tensor, count: int) -> Tensor:
    """Logarithm ``(B, 21, count)`` of a Gaussian of one cell about ``middle (B, 21)``, its sum over the cells 1."""
    cells = torch.arange(count, device=middle.device, dtype=middle.dtype)
    return (-0.5 * (cells - middle[..., None]).square()).log_softmax(-1)


def background_heatmap_loss(logits: Tensor, is_negative: Tensor) -> Tensor:
    """KL divergence of the uniform distribution from the heatmaps; not in the paper.

    Args:
        logits: ``(B, 21, h, w)``.
        is_negative: ``(B,)`` bool, which samples show no hand; the others do not count.
    """
    logits = logits.flatten(2)
    divergence = logits.logsumexp(-1) - logits.mean(-1) - math.log(logits.shape[-1])
    return _mean_over(divergence.mean(-1), is_negative)


def depth_loss(predicted_m: Tensor, target_m: Tensor, has_3d: Tensor, units: LossUnits = MILLIMETRES) -> Tensor:
    """Mean difference in depth from the wrist; not in the paper.

    Args:
        predicted_m: ``(B, 21)`` metres behind the wrist.
        target_m: ``(B, 21, 3)`` metres, relative to its wrist.
        has_3d: ``(B,)`` bool, which samples have a pose.
    """
    difference = (predicted_m - _where(has_3d, target_m)[..., 2]).abs()
    return _mean_over(_scaled(difference.mean(-1), units), has_3d)


def bone_length_loss(predicted_m: Tensor, target_m: Tensor, has_3d: Tensor, units: LossUnits = MILLIMETRES) -> Tensor:
    """Eq. 5, L_len: sum over the bones of the difference in length."""
    lengths = _norm(bone_vectors(predicted_m)), _norm(bone_vectors(_where(has_3d, target_m)))
    return _mean_over(_scaled((lengths[0] - lengths[1]).abs().sum(-1), units), has_3d)


def bone_direction_loss(predicted_m: Tensor, target_m: Tensor, has_3d: Tensor) -> Tensor:
    """Eq. 6, L_dir: sum over the bones of the distance between their unit vectors, but for bones without a length."""
    poses = (predicted_m, _where(has_3d, target_m))
    directions = [F.normalize(bone_vectors(pose), dim=-1, eps=SHORTEST_BONE_M) for pose in poses]
    return _mean_over(_norm(directions[0] - directions[1]).sum(-1), has_3d)


def pose_prior_loss(rotations: Tensor, is_right: Tensor) -> Tensor:
    """Mean of ``1 - cos(angle)`` over the hand's joints: half the squared angle while it is small. Not in the paper.

    Args:
        rotations: ``(B, J, 3, 3)`` theta.
        is_right: ``(B,)`` bool, the samples that show a right hand, whose pose is estimated.
    """
    trace = rotations.diagonal(dim1=-2, dim2=-1).sum(-1)
    return _mean_over(((3.0 - trace) / 2).mean(-1), is_right)


def shape_prior_loss(shape: Tensor, is_right: Tensor) -> Tensor:
    """Mean square of the shape coefficients beta ``(B, S)`` over the right hands; not in the paper."""
    return _mean_over(shape.square().mean(-1), is_right)


def critic_loss(
    real: Tensor,
    fake: Tensor,
    kind: Literal["wasserstein", "hinge"] = "wasserstein",
    normalizers: tuple[Tensor | float, Tensor | float] = (1.0, 1.0),
) -> Tensor:
    """The discriminator's loss.

    Args:
        real: ``(B,)`` scores of true poses with their own images.
        fake: ``(B',)`` scores of generated poses with theirs.
        kind: ``E[D(fake)] - E[D(real)]`` (the paper), or SNGAN's hinge.
        normalizers: what the means over ``real`` and over ``fake`` count, where these are a micro-batch.
    """
    if kind == "hinge":
        return normalizers[0] * _mean(F.relu(1 - real)) + normalizers[1] * _mean(F.relu(1 + fake))
    return normalizers[1] * _mean(fake) - normalizers[0] * _mean(real)


def adversarial_loss(fake: Tensor) -> Tensor:
    """The generator's L_Wass of Eq. 7, ``-E[D(fake)]``; the same with the hinge loss."""
    return -_mean(fake)


def handedness_loss(handedness_logit: Tensor, is_right: Tensor) -> Tensor:
    """Binary cross-entropy of the handedness head; not in the paper, where the side is given."""
    return F.binary_cross_entropy_with_logits(handedness_logit, is_right.to(handedness_logit.dtype))


def _mean_over(per_sample: Tensor, applies: Tensor) -> Tensor:
    kept = torch.where(applies, per_sample, per_sample.new_zeros(()))
    return kept.sum() / applies.sum().clamp(min=1)


def _scaled(per_sample: Tensor, units: LossUnits) -> Tensor:
    """Lengths ``(B,)`` in metres, in the units of the losses."""
    return per_sample * (units.per_m.squeeze(1) if isinstance(units.per_m, Tensor) else units.per_m)


def _where(has_3d: Tensor, target_m: Tensor) -> Tensor:
    """Poses ``(B, 21, 3)``, zero where there is none: values that are not finite would give a NaN gradient."""
    return torch.where(has_3d[:, None, None], target_m, target_m.new_zeros(()))


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(len(values), 1)


def _norm(vectors: Tensor) -> Tensor:
    """Euclidean norm over the last axis whose gradient at zero is zero, not NaN."""
    return torch.linalg.vector_norm(vectors, dim=-1)
