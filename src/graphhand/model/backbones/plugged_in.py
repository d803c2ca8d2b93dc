"""A backbone of another installed package, tried before it is used."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import torch

from graphhand import plugins
from graphhand.errors import GraphHandError
from graphhand.model.backbones.base import Backbone

_STRIDES = (4, 8, 16, 32)


def plugged_in_backbone(entry: EntryPoint, width: int, image_size: int) -> Backbone:
    """What an entry's callable gives for ``width=``, if it is a backbone.

    Args:
        entry: of the group ``graphhand.backbones``.
        width: passed on; 64 is to be the standard network.
        image_size: side of the picture it is tried on, pixels.

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
        raise plugins.fault(entry, f"gives a {type(backbone).__name__}, not a graphhand.model.Backbone")
    _require_maps(entry, backbone, image_size)
    return backbone


def _require_maps(entry: EntryPoint, backbone: Backbone, size: int) -> None:
    """Try a backbone on a grey picture, in evaluation mode so that its statistics stay as they are."""
    channels = getattr(backbone, "pyramid_features", None)
    if not isinstance(channels, tuple) or len(channels) != len(_STRIDES):
        raise plugins.fault(entry, "has no pyramid_features, the channels of its four maps, as a tuple")
    if getattr(backbone, "num_features", None) != channels[-1]:
        raise plugins.fault(entry, "has no num_features equal to the last of pyramid_features")
    training = backbone.training
    try:
        with torch.no_grad():
            maps = backbone.eval().pyramid(torch.full((1, 3, size, size), 0.5))
        shapes = [tuple(m.shape) for m in maps]
    except Exception as error:  # foreign code may raise anything
        raise plugins.fault(entry, f"fails on a {size}x{size} picture ({plugins.in_one_line(error)})") from error
    finally:
        backbone.train(training)
    expected = [(1, count, size // stride, size // stride) for count, stride in zip(channels, _STRIDES)]
    if shapes != expected:
        raise plugins.fault(entry, f"gives maps {shapes} for a {size}x{size} picture, not {expected}")
