"""Feature extractors: crops in, feature maps at strides 4, 8, 16 and 32 out."""

from __future__ import annotations

from graphhand.model.backbones.base import Backbone
from graphhand.model.backbones.efficientnet import EfficientNetLite0
from graphhand.model.backbones.pretrained import load_pretrained
from graphhand.model.backbones.regnet import REGNETS, RegNet
from graphhand.model.backbones.resnet import RESNETS, ResNet
from graphhand.model.backbones.timm_models import TimmBackbone

BACKBONES = (*RESNETS, *REGNETS, "efficientnet_lite0")
"""Names of the backbones that need nothing beyond torch."""

TIMM_PREFIX = "timm/"

__all__ = ["BACKBONES", "TIMM_PREFIX", "Backbone", "build_backbone", "load_pretrained"]


def build_backbone(name: str, width: int = 64) -> Backbone:
    """A backbone with random weights.

    Args:
        name: one of ``BACKBONES``, or ``timm/NAME`` for a model of the timm package.
        width: 64 is the standard network, 32 one with half its channels; not read for timm's.

    Raises:
        InputError: timm is asked for and does not import, or has no such model.
        ValueError: any other unknown name.
    """
    if name in RESNETS:
        return ResNet(name, width)
    if name in REGNETS:
        return RegNet(name, width)
    if name == "efficientnet_lite0":
        return EfficientNetLite0(width)
    if name.startswith(TIMM_PREFIX):
        return TimmBackbone(name.removeprefix(TIMM_PREFIX))
    raise ValueError(f"a backbone is {', '.join(BACKBONES)} or {TIMM_PREFIX}NAME, not {name!r}")
