"""Joints as networks see them: the unit of their poses, and the feature map at their pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

POSE_UNIT_M = 0.1
"""Networks read and write poses in this unit, so that their inputs are of order one."""


def sample_features(feature_map: Tensor, joints_px: Tensor, image_size: int) -> Tensor:
    """The feature map read bilinearly at each joint's pixel.

    Args:
        feature_map: ``(B, C, h, w)`` of a crop of ``image_size`` pixels.
        joints_px: ``(B, 21, 2)`` crop pixels; outside the crop, the nearest edge counts.
        image_size: side of the crop.

    Returns:
        ``(B, 21, C)``.
    """
    # With align_corners=False, -1 and +1 are the outer edges of the first and last pixel.
    grid = (joints_px + 0.5) / image_size * 2 - 1
    sampled = F.grid_sample(feature_map.float(), grid[:, :, None, :], padding_mode="border", align_corners=False)
    return sampled.squeeze(-1).transpose(1, 2)
