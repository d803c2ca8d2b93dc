"""Weights on disk: generators as folders, and ImageNet weights of backbones. Nothing in them is executed.

A trained generator is a folder::

    model.safetensors   parameters and buffers, float32 or float16
    model.json          {"format", "graphhand", "generator": GeneratorConfig, "hand_model": the hand's fingerprint,
                        "card": how it was trained; "backbone_package": name and version, for a plug-in's backbone}
    model.onnx          the graph for ONNX Runtime, see :mod:`graphhand.export.onnx`; may be missing
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from graphhand import __version__
from graphhand.config import validate
from graphhand.errors import InputError, fault_message
from graphhand.io.files import (
    CARD_FILE,
    DETECTOR,
    DETECTOR_FORMAT,
    FORMAT,
    GRAPH_FILE,
    WEIGHTS_FILE,
    bundled_weights,
    find_weights,
    read_card,
    replacing,
    write_text_atomically,
)
from graphhand.models.backbones import Backbone, TimmBackbone, backbone_package
from graphhand.models.config import GeneratorConfig
from graphhand.models.detector import DetectorConfig, HandDetector
from graphhand.models.generator import Generator

PACKAGE_KEY = "backbone_package"
BACKBONE_PREFIX = "backbone."
REFINEMENT_PREFIX = "refinement"
BATCH_COUNTER = "num_batches_tracked"  # torchvision's older files have none


def save_generator(
    folder: str | PathLike[str],
    generator: Generator,
    card: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a generator's folder, each file complete or not at all. A graph of earlier weights in it is deleted.

    Args:
        folder: made if need be.
        generator: what to write.
        card: anything JSON that says where the weights come from.
        dtype: precision of the stored weights; float16 halves the file and costs no measurable accuracy.

    Returns:
        The folder.
    """
    header = {
        "format": FORMAT,
        "graphhand": __version__,
        "generator": generator.config.model_dump(mode="json"),
        "hand_model": generator.hand_model_module.hand_model.fingerprint,
        "card": card or {},
    }
    package = backbone_package(generator.config.backbone.name)
    if package is not None:
        header[PACKAGE_KEY] = package
    return _save(Path(folder), generator, header, dtype)


def save_detector(
    folder: str | PathLike[str],
    detector: HandDetector,
    card: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a detector's folder, as :func:`save_generator` does a generator's."""
    header = {
        "format": DETECTOR_FORMAT,
        "graphhand": __version__,
        "detector": detector.config.model_dump(mode="json"),
        "card": card or {},
    }
    return _save(Path(folder), detector, header, dtype)


def _save(folder: Path, network: torch.nn.Module, header: dict[str, Any], dtype: torch.dtype) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    (folder / GRAPH_FILE).unlink(missing_ok=True)
    with replacing(folder / WEIGHTS_FILE) as temporary:
        save_file(tensors, temporary)
    write_text_atomically(folder / CARD_FILE, json.dumps(header, indent=2) + "\n")
    return folder


def load_detector(
    weights: str | PathLike[str] = DETECTOR, device: str | torch.device = "cpu"
) -> tuple[HandDetector, dict[str, Any]]:
    """Read a detector, ready for inference.

    Args:
        weights: ``"detector"`` for the bundled one, a folder, or the safetensors file in it.
        device: where to put it.

    Returns:
        The detector in evaluation mode, and its card.

    Raises:
        InputError: no such weights, weights of another kind of network, or a damaged file.
    """
    folder = find_weights(weights)
    header = read_card(folder / CARD_FILE, DETECTOR_FORMAT)
    config = validate(DetectorConfig, header.get("detector"), folder / CARD_FILE)  # type: ignore[arg-type]
    detector = HandDetector(config)
    load_state(detector, read_tensors(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
    return detector.to(device).eval(), header.get("card", {})


def load_detector_backbone(detector: HandDetector, weights: str | PathLike[str]) -> None:
    """Fill the backbone of a detector that is about to be trained.

    Args:
        detector: only its backbone is filled.
        weights: of a pose network whose backbone begins with the same layers, or of a detector.

    Raises:
        InputError: missing, damaged, or of another backbone.
    """
    path = find_weights(weights) / WEIGHTS_FILE
    wanted = detector.backbone.state_dict()
    tensors = {name.removeprefix(BACKBONE_PREFIX): value for name, value in read_tensors(path).items()}
    shared = {name: value for name, value in tensors.items() if name in wanted}
    load_state(detector.backbone, shared, path, "give weights with the detector's backbone and width")


def load_generator(
    weights: str | PathLike[str] = "default", device: str | torch.device = "cpu"
) -> tuple[Generator, dict[str, Any]]:
    """Read a generator, ready for inference.

    Args:
        weights: a name among :func:`bundled_weights`, a generator's folder, or the safetensors file in it.
        device: where to put it.

    Returns:
        The generator in evaluation mode, and its card.

    Raises:
        InputError: no such weights, a damaged file, one whose tensors do not fit its configuration, or one trained with
            another hand than it would find now.
    """
    folder = find_weights(weights)
    header = read_card(folder / CARD_FILE)
    try:
        config = GeneratorConfig.model_validate(header.get("generator"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "generator"
        remedy = "was it written by another version of GraphHand?"
        if where == "backbone.name" and PACKAGE_KEY in header:  # the file's own words, so no more than a hint
            remedy = f"its backbone is of the package {str(header[PACKAGE_KEY])[:80]!r}, which is not installed here"
        raise InputError(folder / CARD_FILE, f"generator.{where}: {fault_message(first)}", remedy) from None
    generator = Generator(config)
    trained_with, hand = header.get("hand_model"), generator.hand_model_module.hand_model
    if trained_with not in (None, hand.fingerprint):
        raise InputError(
            folder / CARD_FILE,
            f"trained with another hand than {config.hand_model.file!r} is here",
            f"put back the one whose fingerprint is {trained_with} (`graphhand hand show` tells a file's)",
        )
    path = folder / WEIGHTS_FILE
    load_state(generator, read_tensors(path), path)
    return generator.to(device).eval(), header.get("card", {})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        InputError: missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(path, "no such file", "give a folder that save_generator or a training run wrote") from None
    except (SafetensorError, OSError) as error:
        raise InputError(path, f"not a readable safetensors file ({error})", "copy or download it again") from None


def load_state(
    module: torch.nn.Module, tensors: dict[str, Tensor], source: Path, advice: str = "use the .json written with it"
) -> None:
    """Fill a module's parameters and buffers, refusing missing, left-over or misshapen tensors by name.

    Args:
        module: what to fill.
        tensors: by name.
        source: where they are from.
        advice: the next step, should they be another module's.

    Raises:
        InputError: the tensors are not this module's.
    """
    expected = module.state_dict()
    missing = [name for name in expected if name not in tensors]
    surplus = [name for name in tensors if name not in expected]
    misshapen = [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    faults = [f"lacks {name}" for name in missing] + [f"has unknown {name}" for name in surplus] + misshapen
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise InputError(source, f"does not fit its configuration: {faults[0]}{more}", advice)
    module.load_state_dict(tensors)


def load_initial_state(generator: Generator, weights: str | PathLike[str]) -> None:
    """Fill a generator that is about to be trained from the weights of an equal one.

    Weights without a refinement, and those of stage I, whose refinement is not trained yet, fill the hand model module
    of any generator. A refinement of another kind or size then keeps its random weights.

    Args:
        generator: what to fill.
        weights: as :func:`load_generator` takes them.

    Raises:
        InputError: missing, damaged, or of another configuration.
    """
    folder = find_weights(weights)
    path = folder / WEIGHTS_FILE
    tensors = read_tensors(path)
    own, theirs = (_refinement_parts(state) for state in (generator.state_dict(), tensors))
    is_untrained = not theirs or read_card(folder / CARD_FILE).get("card", {}).get("stage") == 1
    if is_untrained:
        for part in own.keys() | theirs.keys():
            mine, other = own.get(part, {}), theirs.get(part, {})
            if {n: v.shape for n, v in mine.items()} != {n: v.shape for n, v in other.items()}:
                tensors = {name: value for name, value in tensors.items() if name not in other} | mine
    load_state(generator, tensors, path, f"give the recipe the generator section of the {CARD_FILE} beside it")


def _refinement_parts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The refinement's tensors by part: the module, its backbone, the weights of lifted joints."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(REFINEMENT_PREFIX):
            parts.setdefault(name.partition(".")[0], {})[name] = value
    return parts


def load_initial_backbones(generator: Generator, weights: str | PathLike[str]) -> None:
    """Fill every backbone of a generator that is about to be trained with pretrained weights.

    Args:
        generator: its backbones are filled, nothing else.
        weights: a classifier's file, as :func:`load_imagenet_weights` takes it; or weights of GraphHand as
            :func:`load_generator` takes them, of which the hand model module's backbone is taken.

    Raises:
        InputError: missing, damaged, or of another backbone.
    """
    path = Path(weights)
    # Others name their files model.safetensors too: ours has its card beside it.
    is_our_file = path.name == WEIGHTS_FILE and path.with_name(CARD_FILE).is_file()
    if not (str(weights) in bundled_weights() or path.is_dir() or is_our_file):
        for backbone in generator.backbones():
            load_imagenet_weights(backbone, path)
        return
    path = find_weights(weights) / WEIGHTS_FILE
    tensors = {
        name.removeprefix(BACKBONE_PREFIX): value
        for name, value in read_tensors(path).items()
        if name.startswith(BACKBONE_PREFIX)
    }
    for backbone in generator.backbones():
        load_state(backbone, tensors, path, f"give generator.backbone as the {CARD_FILE} beside it has it")


def load_imagenet_weights(backbone: Backbone, path: str | PathLike[str]) -> None:
    """Fill a backbone from the state dict of a classifier, whose last layer is left out.

    ResNets and RegNets take torchvision's files (and timm's of its ResNets, whose names are the same), EfficientNets
    those of efficientnet-lite-pytorch, whose names begin with underscores. A timm backbone takes timm's file of the
    same model; layers after its last feature map are left out with the classifier.

    Args:
        backbone: of the published width; it normalises pixels as these files expect.
        path: a ``.safetensors`` file, or a ``.pth`` or ``.bin`` of ``torch.save``, which is read as data.

    Raises:
        InputError: missing or damaged, not a state dict, or one of another network; tensors are named.
    """
    path = Path(path)
    given = _read_state_dict(path)
    if isinstance(backbone, TimmBackbone):
        # The feature network calls stages.0 stages_0; dots and underscores apart, names are those of the whole model.
        expected = {name.replace(".", "_"): value for name, value in backbone.net.state_dict().items()}
        given = {name.replace(".", "_"): value for name, value in given.items()}
        surplus = []  # the layers that the feature network leaves out
    else:
        expected = backbone.state_dict()
        given = {".".join(part.removeprefix("_") for part in name.split(".")): value for name, value in given.items()}
        left_out = [name for name in given if name.startswith(backbone.classifier) or name.endswith(BATCH_COUNTER)]
        surplus = [name for name in given if name not in expected and name not in left_out]
    shared = [name for name in expected if name in given]
    faults = [
        *(f"lacks {name}" for name in expected if name not in given and not name.endswith(BATCH_COUNTER)),
        *(f"has unknown {name}" for name in surplus),
        *(
            f"{name} is {tuple(given[name].shape)}, not {tuple(expected[name].shape)}"
            for name in shared
            if given[name].shape != expected[name].shape
        ),
        *(f"{name} holds values that are not finite" for name in shared if not given[name].isfinite().all()),
    ]
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise InputError(
            path,
            f"does not fit the backbone: {faults[0]}{more}",
            "give the file of the same network, and leave generator.backbone.width at 64",
        )
    with torch.no_grad():
        for name in shared:
            expected[name].copy_(given[name])


def _read_state_dict(path: Path) -> dict[str, Tensor]:
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
    is_state_dict = isinstance(contents, Mapping) and bool(contents)
    if not is_state_dict or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in contents.items()):
        raise InputError(path, "not a state dict, names with their tensors", "save model.state_dict() and give that")
    return dict(contents)
