"""Feature extractors: crops in, feature maps at strides 4, 8, 16 and 32 out. Built in, from plug-ins, or from timm."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint
from typing import Any

import torch
from torch import Tensor

from graphhand import plugins
from graphhand.errors import GraphHandError, InputError
from graphhand.models.backbones.base import PIXEL_MEAN, PIXEL_STD, STRIDES, Backbone, per_channel
from graphhand.models.backbones.efficientnet import EfficientNetLite0
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


def plugged_in_backbone(entry: EntryPoint, width: int, image_size: int) -> Backbone:
    """The backbone that a plug-in's callable makes, tried on one image.

    Args:
        entry: of the group ``graphhand.backbones``.
        width: passed on; 64 is to be the standard network.
        image_size: side of the image it is tried on, pixels.

    Raises:
        InputError: it does not import, cannot be made, is no :class:`Backbone`, or its maps are not what it says.
    """
    make = plugins.load(entry)
    if not callable(make):
        raise plugins.fault(entry, f"is a {type(make).__name__}, not a callable")
    try:
        backbone = make(width=width)
    except GraphHandError:
        raise  # its own one-line error
    except Exception as error:  # foreign code may raise anything
        raise plugins.fault(entry, f"cannot be made with width={width} ({plugins.in_one_line(error)})") from error
    if not isinstance(backbone, Backbone):
        raise plugins.fault(entry, f"gives a {type(backbone).__name__}, not a graphhand.models.Backbone")
    _check_maps(entry, backbone, image_size)
    return backbone


def _check_maps(entry: EntryPoint, backbone: Backbone, size: int) -> None:
    """Run a backbone on a grey image, in evaluation mode so that its statistics stay as they are."""
    channels = getattr(backbone, "pyramid_features", None)
    if not isinstance(channels, tuple) or len(channels) != len(STRIDES):
        raise plugins.fault(entry, "has no pyramid_features, the channels of its four maps, as a tuple")
    if getattr(backbone, "num_features", None) != channels[-1]:
        raise plugins.fault(entry, "has no num_features equal to the last of pyramid_features")
    training = backbone.training
    try:
        with torch.no_grad():
            maps = backbone.eval().pyramid(torch.full((1, 3, size, size), 0.5))
        shapes = [tuple(m.shape) for m in maps]
    except Exception as error:  # foreign code may raise anything
        raise plugins.fault(entry, f"fails on a {size}x{size} image ({plugins.in_one_line(error)})") from error
    finally:
        backbone.train(training)
    expected = [(1, count, size // stride, size // stride) for count, stride in zip(channels, STRIDES)]
    if shapes != expected:
        raise plugins.fault(entry, f"gives maps {shapes} for a {size}x{size} image, not {expected}")


class TimmBackbone(Backbone):
    """A timm model that offers its feature maps, with random weights.

    Mean and variance of the pixels are those its pretrained weights expect. They differ from model to model and from
    version to version of timm, so they are part of the state dict.

    Args:
        name: as in ``timm.list_models()``, for instance ``mobilenetv3_large_100``.

    Raises:
        InputError: timm does not import, has no such model, or the model has no maps at strides 4, 8, 16 and 32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        timm = _import_timm(name)
        try:
            everything = timm.create_model(name, pretrained=False, features_only=True)
        except (RuntimeError, ValueError, AttributeError, AssertionError, TypeError, NotImplementedError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"backbone timm/{name}", f"timm cannot make it ({reason})", "see timm.list_models()"
            ) from None
        reductions = list(everything.feature_info.reduction())
        if not set(STRIDES) <= set(reductions):
            raise InputError(
                f"backbone timm/{name}",
                f"has maps at strides {reductions}, not 4, 8, 16 and 32",
                "choose another model",
            )
        # Where several maps share a stride the last one is taken.
        last = [len(reductions) - 1 - reductions[::-1].index(stride) for stride in STRIDES]
        self.net = timm.create_model(name, pretrained=False, features_only=True, out_indices=last)
        channels = [int(c) for c in everything.feature_info.channels()]
        self.pyramid_features = (channels[last[0]], channels[last[1]], channels[last[2]], channels[last[3]])
        self.num_features = self.pyramid_features[-1]
        self._channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        expects: dict[str, Any] = getattr(self.net, "pretrained_cfg", None) or {}
        self.register_buffer("mean", per_channel(expects.get("mean", PIXEL_MEAN)))
        self.register_buffer("std", per_channel(expects.get("std", PIXEL_STD)))

    def pyramid(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        maps = self.net((image - self.mean) / self.std)
        if self._channels_last:
            maps = [m.permute(0, 3, 1, 2) for m in maps]
        return maps[0], maps[1], maps[2], maps[3]


def _import_timm(name: str) -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        problem = f"needs {error.name}, which is not installed"
    except (ImportError, RuntimeError, OSError) as error:  # torchvision built for another torch
        problem = f"needs timm, which does not import here ({' '.join(str(error).split())})"
    raise InputError(
        f"backbone timm/{name}",
        problem,
        "pip install 'graphhand[timm]', with a torchvision built for this torch, or take one of ours",
    )
