"""Joints located in the picture, as an option beside the paper: sooner learned, and a help to everything after.

A network that must answer with rotations alone learns where things are only through how they are turned. Here 21
heatmaps on the feature map say where each joint is (integral regression, Sun et al., ECCV 2018); the pixels found join
the pooled features of both modules.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphhand.skeleton import NUM_JOINTS


class KeypointHead(nn.Module):
    """Heatmaps from the last two feature maps, and their means.

    Args:
        mid_features: channels of the map at stride 16.
        num_features: channels of the map at stride 32.
    """

    num_outputs = 2 * NUM_JOINTS

    def __init__(self, mid_features: int, num_features: int) -> None:
        super().__init__()
        self.mid = nn.Conv2d(mid_features, NUM_JOINTS, 1)
        self.top = nn.Conv2d(num_features, NUM_JOINTS, 1)

    def forward(self, mid_map: Tensor, top_map: Tensor) -> Tensor:
        """Positions ``(B, 21, 2)`` in the crop: -1 and 1 are its outer edges, u first.

        Args:
            mid_map: ``(B, mid_features, 2h, 2w)``.
            top_map: ``(B, num_features, h, w)``.
        """
        upsampled = F.interpolate(self.top(top_map).float(), scale_factor=2.0, mode="bilinear", align_corners=False)
        heatmaps = self.mid(mid_map).float() + upsampled
        height, width = heatmaps.shape[-2:]
        weights = heatmaps.flatten(2).softmax(-1).view_as(heatmaps)
        u, v = _cell_middles(width, heatmaps), _cell_middles(height, heatmaps)
        return torch.stack(((weights.sum(2) * u).sum(-1), (weights.sum(3) * v).sum(-1)), dim=-1)


def to_pixels(positions: Tensor, size: int) -> Tensor:
    """Positions of :class:`KeypointHead` in pixels of a crop of ``size`` pixels, whose first one is centred at 0."""
    return (positions + 1) * (size / 2) - 0.5


def _cell_middles(count: int, like: Tensor) -> Tensor:
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) * (2 / count) - 1
