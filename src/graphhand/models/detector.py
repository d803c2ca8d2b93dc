"""A detector of hands: one pass over a whole image gives a score, a box and a side at every cell of a grid.

Anchor-free, as in Zhou et al., *Objects as Points*, 2019, and Liu et al., *Training-Time-Friendly Network for Real-Time
Object Detection*, AAAI 2020: a heatmap has a peak in the middle of each hand, and every cell near the middle gives the
distances to the four edges of its hand's box.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from graphhand.config import StrictModel
from graphhand.models.backbones import build_backbone, require_backbone
from graphhand.models.backbones.base import STRIDES, Backbone
from graphhand.models.backbones.efficientnet import EfficientNetLite0

PRIOR = 0.01
"""Score of every cell before training, so that the many empty cells do not swamp the first steps."""

_DISTANCE_PX = 32.0
_LARGEST_LOG = 4.0


class DetectorConfig(StrictModel):
    """The detector's network."""

    image_size: int = Field(384, ge=64, multiple_of=32, description="longer side of its images at most, pixels")
    backbone: str = Field("efficientnet_lite0", description="name of the backbone; this one without its last stage")
    backbone_width: int = Field(64, ge=8, description="channels of the backbone's first stage; 64 is the standard")
    width: int = Field(64, ge=8, description="channels of the pyramid's maps")
    stride: Literal[4, 8] = Field(4, description="side of a cell, pixels of its images")

    @field_validator("backbone")
    @classmethod
    def _known_name(cls, name: str) -> str:
        return require_backbone(name)


class DetectorOutput(NamedTuple):
    """What the detector says of each cell.

    Attributes:
        score_logit: ``(B, h, w)``.
        distances_px: ``(B, 4, h, w)`` from the cell's middle to the left, top, right, bottom edge of its hand's box.
        side_logit: ``(B, h, w)`` of a right hand.
    """

    score_logit: Tensor
    distances_px: Tensor
    side_logit: Tensor


class HandDetector(nn.Module):
    """Backbone, feature pyramid down to the stride, and heads that share one map.

    Args:
        config: what it is made of.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = _backbone(config)
        first = STRIDES.index(config.stride)
        channels = self.backbone.pyramid_features[first:]
        self.laterals = nn.ModuleList(nn.Conv2d(count, config.width, 1, bias=False) for count in channels)
        self.norms = nn.ModuleList(nn.BatchNorm2d(config.width) for _ in channels)
        self.smooth = nn.ModuleList(_separable(config.width) for _ in channels[:-1])
        self.tower = _separable(config.width)
        self.score_head = nn.Conv2d(config.width, 1, 1)
        self.box_head = nn.Conv2d(config.width, 4, 1)
        self.side_head = nn.Conv2d(config.width, 1, 1)
        nn.init.constant_(self.score_head.bias, _logit(PRIOR))  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> DetectorOutput:
        """Detect.

        Args:
            image: ``(B, 3, H, W)`` RGB in [0, 1]; H and W are multiples of 32.
        """
        maps = self.backbone.pyramid(image)[-len(self.laterals) :]
        levels = [norm(lateral(x)) for lateral, norm, x in zip(self.laterals, self.norms, maps)]
        x = levels[-1]
        for level, smooth in zip(levels[-2::-1], list(self.smooth)[::-1]):
            x = smooth(F.relu(level + F.interpolate(x, scale_factor=2.0, mode="nearest")))
        x = self.tower(x)
        distances = _DISTANCE_PX * torch.exp(self.box_head(x).clamp(-_LARGEST_LOG, _LARGEST_LOG))
        return DetectorOutput(self.score_head(x)[:, 0], distances, self.side_head(x)[:, 0])

    def freeze_backbone(self, stride: int) -> None:
        """Fix the backbone's layers up to a stride."""
        self.backbone.freeze(stride)


class DetectorGrid(nn.Module):
    """The exported network: one grid ``(B, 6, h, w)`` of scores, distances to the edges, logits of a right hand.

    Args:
        detector: the network.
    """

    def __init__(self, detector: HandDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> Tensor:
        output = self.detector(image)
        scores = torch.sigmoid(output.score_logit)[:, None]
        return torch.cat((scores, output.distances_px, output.side_logit[:, None]), dim=1)


def _backbone(config: DetectorConfig) -> Backbone:
    if config.backbone == "efficientnet_lite0":
        return EfficientNetLite0(config.backbone_width, stages=6)
    return build_backbone(config.backbone, config.backbone_width)


def _separable(width: int) -> nn.Sequential:
    """A 5x5 depthwise and a 1x1 convolution."""
    return nn.Sequential(
        nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


def _logit(share: float) -> Any:
    return float(torch.logit(torch.tensor(share)))
