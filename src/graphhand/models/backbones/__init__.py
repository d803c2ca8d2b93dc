"""Feature extractors: crops in, feature maps at strides 4, 8, 16 and 32 out."""

from __future__ import annotations

from graphhand import plugins
from graphhand.errors import GraphHandError
from graphhand.models.backbones.base import Backbone
from graphhand.models.backbones.efficientnet import EfficientNetLite0
from graphhand.models.backbones.external import TimmBackbone, plugged_in_backbone
from graphhand.models.backbones.resnet import REGNETS, RESNETS, RegNet, ResNet

BACKBONES = (*RESNETS, *REGNETS, "efficientnet_lite0")
"""Names of the backbones that need nothing beyond torch."""

TIMM_PREFIX = "timm/"

__all__ = [
    "BACKBONES",
    "TIMM_PREFIX",
    "Backbone",
    "TimmBackbone",
    "backbone_package",
    "build_backbone",
    "require_backbone",
]


def build_backbone(name: str, width: int = 64, image_size: int = 64) -> Backbone:
    """A backbone with random weights.

    Args:
        name: one of ``BACKBONES``, ``timm/NAME`` for a model of the timm package, or a name that another installed
            package registers.
        width: 64 is the standard network, 32 one with half its channels; not read for timm's.
        image_size: side of the image on which another package's backbone is tried, pixels.

    Raises:
        InputError: timm is asked for and does not import, or has no such model; or the package that registers the name
            does not give a backbone.
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
    entry = plugins.find(plugins.BACKBONES, name)
    if entry is None:
        raise ValueError(_unknown(name))
    return plugged_in_backbone(entry, width, image_size)


def require_backbone(name: str) -> str:
    """Return a name if :func:`build_backbone` knows it; imports nothing to find out.

    Raises:
        ValueError: it does not, or two packages claim the name.
    """
    if not _is_taken(name):
        try:
            if plugins.find(plugins.BACKBONES, name) is None:
                raise ValueError(_unknown(name))
        except GraphHandError as error:
            raise ValueError(str(error)) from None
    return name


def backbone_package(name: str) -> str | None:
    """Name and version of the package that registers a backbone; None for ours and timm's."""
    if _is_taken(name):
        return None
    entry = plugins.find(plugins.BACKBONES, name)
    return None if entry is None else plugins.package_of(entry)


def _is_taken(name: str) -> bool:
    """Whether a name is one of ours or timm's, which no other package's may be."""
    return name in BACKBONES or name.startswith(TIMM_PREFIX)


def _unknown(name: str) -> str:
    known = ", ".join((*BACKBONES, *(n for n in plugins.registered(plugins.BACKBONES) if not _is_taken(n))))
    return f"no installed package has a backbone {name!r}: there are {known} and {TIMM_PREFIX}NAME"
