"""Joints located in the image by heatmaps, an option beyond the paper.

A network that predicts rotations alone learns slowly where joints are. A feature pyramid (Lin et al., CVPR 2017)
carries 21 heatmaps of where each joint is, and 21 maps of how far it is behind the wrist (the 2.5D of Iqbal et al.,
ECCV 2018). Both are read as means under the heatmap (integral regression, Sun et al., ECCV 2018). The joints that are
found so inform both modules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphhand.models.config import POSE_UNIT_M, HeatmapConfig
from graphhand.skeleton import NUM_JOINTS

NUM_JOINT_FEATURES = 3
"""Features of one joint in the hand's shape: two of position, one of depth."""
NUM_GLOBAL_FEATURES = NUM_JOINT_FEATURES * NUM_JOINTS + 3


@dataclass(eq=False)  # not frozen: Fabric rebuilds outputs field by field
class Heatmaps:
    """Joints located in a batch of crops of S pixels.

    Attributes:
        positions: ``(B, 21, 2)``, u first; -1 and 1 are the crop's outer edges.
        depths: ``(B, 21)`` behind the wrist, in units of 0.1 m.
        logits: ``(B, 21, S/8, S/8)`` of the heatmaps, or S/4 a side.
        features: ``(B, width, S/8, S/8)``, the map that both were read from.
    """

    positions: Tensor
    depths: Tensor
    logits: Tensor
    features: Tensor

    @property
    def depths_m(self) -> Tensor:
        """Depths behind the wrist ``(B, 21)``, metres."""
        return self.depths * POSE_UNIT_M

    @property
    def uncertainty(self) -> Tensor:
        """The part of the crop ``(B,)`` over which a joint may be: small where a hand is found, 1 at most.

        It is the exponential of the heatmaps' mean entropy, divided by the number of cells.
        """
        log_weights = self.logits.flatten(2).log_softmax(-1)
        entropy = -(log_weights.exp() * log_weights).sum(-1).mean(1)
        return (entropy - math.log(log_weights.shape[-1])).exp()

    def joints_px(self, size: int) -> Tensor:
        """Positions ``(B, 21, 2)`` in pixels of a crop of ``size``, whose first pixel is centred at 0."""
        return (self.positions + 1) * (size / 2) - 0.5

    def global_features(self) -> Tensor:
        """All joints as one vector ``(B, 66)``: the hand's shape, its mean position and the logarithm of its radius."""
        centre, radius = self._centre_and_radius()
        return torch.cat((self._shape(centre, radius).flatten(1), centre, radius.log()), dim=1)

    def joint_features(self, size: int) -> Tensor:
        """Features of each joint ``(B, 21, width + 3)``: the feature map at its pixel, and its place in the shape.

        Args:
            size: side of the crop, pixels.
        """
        sampled = sample_features(self.features, self.joints_px(size), size)
        return torch.cat((sampled, self._shape(*self._centre_and_radius())), dim=-1)

    def _centre_and_radius(self) -> tuple[Tensor, Tensor]:
        """Mean position ``(B, 2)`` and root mean square distance from it ``(B, 1)``."""
        centre = self.positions.mean(1)
        variance = (self.positions - centre[:, None]).square().sum(-1).mean(1, keepdim=True)
        return centre, variance.clamp(min=1e-4).sqrt()

    def _shape(self, centre: Tensor, radius: Tensor) -> Tensor:
        """``(B, 21, 3)``: positions about their centre in units of the radius, and depths."""
        normalized = (self.positions - centre[:, None]) / radius[..., None]
        return torch.cat((normalized, self.depths[..., None]), dim=-1)


class HeatmapHead(nn.Module):
    """Heatmaps and depth maps from the backbone's feature maps.

    Args:
        config: stride of the heatmaps, and channels of the feature map under them, whose stride is 8.
        pyramid_features: channels of the backbone's maps at strides 4, 8, 16 and 32.
    """

    def __init__(self, config: HeatmapConfig, pyramid_features: tuple[int, int, int, int]) -> None:
        super().__init__()
        width = config.width
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in pyramid_features[1:])
        self.merge = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.heatmap = nn.Conv2d(width, NUM_JOINTS, 1)
        self.depth = nn.Conv2d(width, NUM_JOINTS, 1)
        for head in (self.heatmap, self.depth):  # joints start in the middle, at the wrist's depth
            nn.init.normal_(head.weight, std=1e-2)
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]
        self.detail = HeatmapDetail(pyramid_features[0], width) if config.stride == 4 else None

    def forward(self, stride4: Tensor, stride8: Tensor, stride16: Tensor, stride32: Tensor) -> Heatmaps:
        """Heatmaps from the backbone's maps at strides 4, 8, 16 and 32."""
        merged = self.laterals[2](stride32)
        for lateral, finer in ((self.laterals[1], stride16), (self.laterals[0], stride8)):
            merged = lateral(finer) + F.interpolate(merged, size=finer.shape[-2:], mode="nearest")
        features = self.merge(merged)
        logits = self.heatmap(features).float()
        if self.detail is not None:
            logits = self.detail(logits, features, stride4)
        height, width = logits.shape[-2:]
        weights = logits.flatten(2).softmax(-1).view_as(logits)
        u, v = _cell_centres(width, logits), _cell_centres(height, logits)
        positions = torch.stack(((weights.sum(2) * u).sum(-1), (weights.sum(3) * v).sum(-1)), dim=-1)
        depth_maps = self.depth(features).float()
        weights_at_stride8 = weights if self.detail is None else 4 * F.avg_pool2d(weights, 2)
        depths = (weights_at_stride8 * depth_maps).sum((2, 3))
        return Heatmaps(positions, depths - depths[:, :1], logits, features)


class HeatmapDetail(nn.Module):
    """Heatmaps at half the stride: the given ones enlarged, plus a correction from the next finer map, at first zero.

    Args:
        finer_features: channels of the finer map.
        width: channels of the feature map under the given heatmaps.
    """

    def __init__(self, finer_features: int, width: int) -> None:
        super().__init__()
        half = max(1, width // 2)
        self.lateral = nn.Conv2d(finer_features, half, 1, bias=False)
        self.context = nn.Conv2d(width, half, 1, bias=False)
        self.norm = nn.BatchNorm2d(half)
        self.merge = nn.Sequential(
            nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half), nn.ReLU(inplace=True)
        )
        self.heatmap = nn.Conv2d(half, NUM_JOINTS, 1)
        nn.init.zeros_(self.heatmap.weight)
        nn.init.zeros_(self.heatmap.bias)  # type: ignore[arg-type]

    def forward(self, logits: Tensor, features: Tensor, finer: Tensor) -> Tensor:
        """Logits ``(B, 21, 2h, 2w)``.

        Args:
            logits: ``(B, 21, h, w)`` of the given heatmaps.
            features: ``(B, width, h, w)`` under them.
            finer: ``(B, finer_features, 2h, 2w)``.
        """
        size = finer.shape[-2:]
        merged = self.lateral(finer) + F.interpolate(self.context(features), size=size, mode="nearest")
        correction: Tensor = self.heatmap(self.merge(F.relu(self.norm(merged))))
        return F.interpolate(logits, size=size, mode="bilinear") + correction.float()


def sample_features(feature_map: Tensor, joints_px: Tensor, image_size: int) -> Tensor:
    """A feature map sampled bilinearly at each joint's pixel.

    Args:
        feature_map: ``(B, C, h, w)`` of a crop of ``image_size`` pixels.
        joints_px: ``(B, 21, 2)`` crop pixels; outside the crop the nearest edge counts.
        image_size: side of the crop, pixels.

    Returns:
        ``(B, 21, C)``.
    """
    # With align_corners=False, -1 and +1 are the outer edges of the first and last pixel.
    grid = (joints_px + 0.5) / image_size * 2 - 1
    sampled = F.grid_sample(feature_map.float(), grid[:, :, None, :], padding_mode="border", align_corners=False)
    return sampled.squeeze(-1).transpose(1, 2)


def _cell_centres(count: int, like: Tensor) -> Tensor:
    """Centres ``(count,)`` of a heatmap's cells along one side, in [-1, 1]."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) * (2 / count) - 1
