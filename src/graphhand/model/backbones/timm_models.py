"""Any convolutional network of the timm package, which is optional, as a backbone."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor

from graphhand.errors import InputError
from graphhand.model.backbones.base import Backbone
from graphhand.model.backbones.pixels import PIXEL_MEAN, PIXEL_STD, per_channel

STRIDES = (4, 8, 16, 32)


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
        # Where several maps share a stride the last one knows most.
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
