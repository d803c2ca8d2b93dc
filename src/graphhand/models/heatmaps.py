"""Joints located in the image, as an option beside the paper: sooner learned, and a help to everything after.

A network that must answer with rotations alone learns where things are only through how they are turned. Here a small
feature pyramid (Lin et al., CVPR 2017) carries 21 heatmaps that say where each joint is, and 21 maps that say how far
behind the wrist (the 2.5D of Iqbal et al., ECCV 2018); both are read as means under the heatmap (integral regression,
Sun et al., ECCV 2018). What is found joins the features of both modules.

Joints as networks see them: the unit of their poses, and the feature map at their pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphhand.skeleton import NUM_JOINTS

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


NUM_JOINT_FEATURES = 3
NUM_POSITION_FEATURES = NUM_JOINT_FEATURES * NUM_JOINTS + 3


@dataclass(eq=False)  # not frozen: Fabric rebuilds outputs field by field
class Keypoints:
    """Joints in a crop of S pixels.

    Attributes:
        positions: ``(B, 21, 2)``, u first; -1 and 1 are the crop's outer edges.
        depths: ``(B, 21)`` behind the wrist, in units of 0.1 m.
        heatmaps: ``(B, 21, S/8, S/8)`` logits, or S/4 a side.
        features: ``(B, width, S/8, S/8)``, the map both were read from.
    """

    positions: Tensor
    depths: Tensor
    heatmaps: Tensor
    features: Tensor

    @property
    def depths_m(self) -> Tensor:
        """Depths ``(B, 21)`` in metres."""
        return self.depths * POSE_UNIT_M

    @property
    def uncertainty(self) -> Tensor:
        """The share of the crop ``(B,)`` over which a joint may be, by its heatmap: little where a hand is found.

        The exponential of the heatmaps' mean entropy, over the number of cells: between one cell's share and 1.
        """
        log_weights = self.heatmaps.flatten(2).log_softmax(-1)
        entropy = -(log_weights.exp() * log_weights).sum(-1).mean(1)
        return (entropy - math.log(log_weights.shape[-1])).exp()

    def pixels(self, size: int) -> Tensor:
        """Positions ``(B, 21, 2)`` in pixels of a crop of ``size``, whose first one is centred at 0."""
        return (self.positions + 1) * (size / 2) - 0.5

    def as_features(self) -> Tensor:
        """All joints as one vector ``(B, 66)``: shape, then the mean position and the logarithm of their size."""
        mean, size = self._frame()
        return torch.cat((self._shape(mean, size).flatten(1), mean, size.log()), dim=1)

    def per_joint(self, size: int) -> Tensor:
        """Each joint's own features ``(B, 21, width + 3)``: the map where it was found, and its place in the shape.

        Args:
            size: side of the crop, pixels.
        """
        local = sample_features(self.features, self.pixels(size), size)
        return torch.cat((local, self._shape(*self._frame())), dim=-1)

    def _frame(self) -> tuple[Tensor, Tensor]:
        mean = self.positions.mean(1)
        variance = (self.positions - mean[:, None]).square().sum(-1).mean(1, keepdim=True)
        return mean, variance.clamp(min=1e-4).sqrt()

    def _shape(self, mean: Tensor, size: Tensor) -> Tensor:
        """``(B, 21, 3)``: positions about their mean in units of their size, and depths."""
        about = (self.positions - mean[:, None]) / size[..., None]
        return torch.cat((about, self.depths[..., None]), dim=-1)


class KeypointHead(nn.Module):
    """Heatmaps and depth maps from the backbone's feature maps.

    Args:
        pyramid_features: channels of the maps at strides 4, 8, 16 and 32.
        width: channels of the merged map, whose stride is 8.
        stride: of the heatmaps, 8 or 4.
    """

    def __init__(self, pyramid_features: tuple[int, int, int, int], width: int, stride: int = 8) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in pyramid_features[1:])
        self.merge = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.heatmap = nn.Conv2d(width, NUM_JOINTS, 1)
        self.depth = nn.Conv2d(width, NUM_JOINTS, 1)
        for head in (self.heatmap, self.depth):  # begin in the middle, at the wrist's depth
            nn.init.normal_(head.weight, std=1e-2)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        self.detail = HeatmapDetail(pyramid_features[0], width) if stride == 4 else None

    def forward(self, finest: Tensor, fine: Tensor, mid: Tensor, coarse: Tensor) -> Keypoints:
        """Keypoints from maps of which each is half as wide and high as the one before it."""
        merged = self.laterals[2](coarse)
        for lateral, finer in ((self.laterals[1], mid), (self.laterals[0], fine)):
            merged = lateral(finer) + F.interpolate(merged, size=finer.shape[-2:], mode="nearest")
        features = self.merge(merged)
        heatmaps = self.heatmap(features).float()
        if self.detail is not None:
            heatmaps = self.detail(heatmaps, features, finest)
        height, width = heatmaps.shape[-2:]
        weights = heatmaps.flatten(2).softmax(-1).view_as(heatmaps)
        u, v = _cell_middles(width, heatmaps), _cell_middles(height, heatmaps)
        positions = torch.stack(((weights.sum(2) * u).sum(-1), (weights.sum(3) * v).sum(-1)), dim=-1)
        depth_maps = self.depth(features).float()
        under = weights if self.detail is None else 4 * F.avg_pool2d(weights, 2)
        depths = (under * depth_maps).sum((2, 3))
        return Keypoints(positions, depths - depths[:, :1], heatmaps, features)


class HeatmapDetail(nn.Module):
    """Heatmaps of half the stride: the given ones enlarged, and what the next finer map adds to them. At first nothing.

    Args:
        finest_features: channels of that map.
        width: channels of the merged map.
    """

    def __init__(self, finest_features: int, width: int) -> None:
        super().__init__()
        half = max(1, width // 2)
        self.lateral = nn.Conv2d(finest_features, half, 1, bias=False)
        self.context = nn.Conv2d(width, half, 1, bias=False)
        self.norm = nn.BatchNorm2d(half)
        self.merge = nn.Sequential(
            nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half), nn.ReLU(inplace=True)
        )
        self.heatmap = nn.Conv2d(half, NUM_JOINTS, 1)
        nn.init.zeros_(self.heatmap.weight)
        nn.init.zeros_(self.heatmap.bias)  # type: ignore[arg-type]

    def forward(self, heatmaps: Tensor, features: Tensor, finest: Tensor) -> Tensor:
        """Logits ``(B, 21, 2h, 2w)`` of ``(B, 21, h, w)``, features ``(B, width, h, w)`` and the map at twice that."""
        size = finest.shape[-2:]
        merged = self.lateral(finest) + F.interpolate(self.context(features), size=size, mode="nearest")
        detail: Tensor = self.heatmap(self.merge(F.relu(self.norm(merged))))
        return F.interpolate(heatmaps, size=size, mode="bilinear") + detail.float()


def _cell_middles(count: int, like: Tensor) -> Tensor:
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) * (2 / count) - 1
