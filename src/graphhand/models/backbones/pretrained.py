"""ImageNet weights from a user's own file, into a backbone that is about to be trained."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from graphhand.errors import InputError
from graphhand.models.backbones.base import Backbone
from graphhand.models.backbones.external import TimmBackbone

_COUNTER = "num_batches_tracked"  # torchvision's older files have none


def load_pretrained(backbone: Backbone, path: str | PathLike[str]) -> None:
    """Fill a backbone from the state dict of a classifier, whose last layer is left out.

    ResNets and RegNets take torchvision's files (and timm's of its ResNets, whose names are the same), EfficientNets
    those of efficientnet-lite-pytorch, whose names begin with underscores. A timm backbone takes timm's file of the
    same model; layers after its last feature map are left out with the classifier.

    Args:
        backbone: of the published width; it normalises pixels as these files expect.
        path: a ``.safetensors`` file, or a ``.pth`` or ``.bin`` of ``torch.save``, which is read as data: nothing
            in it is executed.

    Raises:
        InputError: missing or damaged, not a state dict, or one of another network; tensors are named.
    """
    path = Path(path)
    theirs = _read(path)
    ours = _targets(backbone)
    spelled = _plain if isinstance(backbone, TimmBackbone) else _public
    by_name = {spelled(name): value for name, value in theirs.items()}
    missing = [name for name in ours if name not in by_name and not name.endswith(_COUNTER)]
    # What a timm file has beyond its feature network are the layers that the feature network leaves out.
    left_out = [n for n in by_name if n.startswith(backbone.classifier) or n.endswith(_COUNTER)]
    surplus = [] if isinstance(backbone, TimmBackbone) else [n for n in by_name if n not in ours and n not in left_out]
    misshapen = [
        f"{name} is {tuple(by_name[name].shape)}, not {tuple(value.shape)}"
        for name, value in ours.items()
        if name in by_name and by_name[name].shape != value.shape
    ]
    infinite = [name for name in ours if name in by_name and not by_name[name].isfinite().all()]
    faults = [f"lacks {name}" for name in missing] + [f"has unknown {name}" for name in surplus] + misshapen
    faults += [f"{name} holds values that are not finite" for name in infinite]
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise InputError(
            path,
            f"does not fit the backbone: {faults[0]}{more}",
            "give the file of the same network, and leave generator.backbone.width at 64",
        )
    with torch.no_grad():
        for name, value in ours.items():
            if name in by_name:
                value.copy_(by_name[name])


def _targets(backbone: Backbone) -> dict[str, Tensor]:
    """The tensors to fill, by the name they are looked up by."""
    if isinstance(backbone, TimmBackbone):
        # The feature network calls stages.0 stages_0; dots and underscores apart, names are those of the whole model.
        return {_plain(name): value for name, value in backbone.net.state_dict().items()}
    return backbone.state_dict()


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _public(name: str) -> str:
    return ".".join(part.removeprefix("_") for part in name.split("."))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        contents: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except FileNotFoundError:
        raise InputError(path, "no such file", "give a .pth or .safetensors file of ImageNet weights") from None
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        # torch's own message runs over many lines and advises to switch the protection off.
        kind = type(error).__name__
        raise InputError(
            path,
            f"not a readable file of weights alone ({kind}); nothing in it was executed",
            "download it again, or save its state dict anew",
        ) from None
    if not isinstance(contents, Mapping) or not contents or not all(map(_is_entry, contents.items())):
        raise InputError(path, "not a state dict, names with their tensors", "save model.state_dict() and give that")
    return dict(contents)


def _is_entry(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)
