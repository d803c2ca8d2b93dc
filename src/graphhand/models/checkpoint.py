"""Generators on disk: weights as safetensors, everything else as JSON beside them. Nothing in either can execute.

A trained generator is a folder::

    model.safetensors   parameters and buffers, float32 or float16
    model.json          {"format", "graphhand", "generator": GeneratorConfig, "card": how it was trained, its scores;
                        "backbone_package": name and version, where the backbone is another package's}

Batch normalisation folded into the convolutions before it, for networks that only predict.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from graphhand._version import __version__
from graphhand.errors import InputError, fault_message
from graphhand.io.files import replacing, write_text_atomically
from graphhand.models.backbones import BACKBONES, backbone_package
from graphhand.models.config import GeneratorConfig
from graphhand.models.generator import Generator

Network = TypeVar("Network", bound=nn.Module)


def fuse_conv_bn(generator: Generator) -> Generator:
    """A generator as it predicts fastest: :func:`folded`, its weights laid out as images lie in memory.

    Args:
        generator: in evaluation mode; left as it is.
    """
    if generator.config.backbone.name not in BACKBONES:  # whose convolutions may feed more than their normalisation
        lean = copy.deepcopy(generator)
    else:
        size, device = generator.config.image_size, next(generator.parameters()).device
        lean = folded(generator, torch.zeros(1, 3, size, size, device=device), torch.eye(3, device=device)[None])
    return lean.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def folded(network: Network, *example: Any) -> Network:
    """A copy of a network in evaluation mode whose convolutions do what the batch normalisation after them did.

    With fixed statistics that is a factor and an offset a channel (Ioffe and Szegedy 2015), which the convolution's
    weights take in: the same outputs but for rounding, and a pass over memory less for every layer.

    Args:
        network: in evaluation mode; left as it is. What a convolution gives to a batch normalisation it must give to
            nothing else; that is so in all backbones here, and unknown of others.
        example: arguments of one call, to see which layer feeds which.

    Returns:
        The copy, which shares nothing with ``network``.
    """
    copied = copy.deepcopy(network)
    layers = {module: name for name, module in copied.named_modules()}
    calls: Counter[nn.Module] = Counter()
    made_by: dict[int, tuple[Tensor, nn.Conv2d]] = {}  # the tensor is kept: a freed one's id would be given again
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = (output, module)
        elif id(inputs[0]) in made_by:
            pairs.append((made_by[id(inputs[0])][1], module))  # type: ignore[arg-type]

    watched = [module for module in layers if isinstance(module, nn.Conv2d) or _is_fixed(module)]
    hooks = [module.register_forward_hook(note) for module in watched]
    try:
        with torch.no_grad():
            copied(*example)
    finally:
        for hook in hooks:
            hook.remove()
    for convolution, norm in pairs:
        if calls[convolution] == calls[norm] == 1:
            _fold(convolution, norm)
            parent, _, name = layers[norm].rpartition(".")
            setattr(copied.get_submodule(parent), name, nn.Identity())
    return copied


def _is_fixed(module: nn.Module) -> bool:
    # By type: subclasses, timm's for one, do more than normalise.
    return type(module) is nn.BatchNorm2d and not module.training and module.running_mean is not None


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        norm.running_mean,  # type: ignore[arg-type]
        norm.running_var,  # type: ignore[arg-type]
        norm.eps,
        norm.weight,
        norm.bias,
    )


FORMAT = "graphhand-generator-2"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "model.json"
_REFINEMENT = "refinement"
_BACKBONE = "backbone."
_PACKAGE = "backbone_package"


def bundled_weights() -> dict[str, Path]:
    """The weights that ship with the package, by name."""
    root = Path(str(files("graphhand") / "weights"))
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{WEIGHTS_FILE}"))}


def save_generator(
    folder: str | PathLike[str],
    generator: Generator,
    card: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write a generator's folder, each file complete or not at all.

    Args:
        folder: made if need be.
        generator: what to write.
        card: anything JSON that says where the weights come from.
        dtype: precision of the stored weights; float16 halves the file and costs no measurable accuracy.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in generator.state_dict().items()
    }
    with replacing(folder / WEIGHTS_FILE) as temporary:
        save_file(tensors, temporary)
    header = {
        "format": FORMAT,
        "graphhand": __version__,
        "generator": generator.config.model_dump(mode="json"),
        "hand_model": generator.hand_model_module.hand_model.fingerprint,
        "card": card or {},
    }
    package = backbone_package(generator.config.backbone.name)
    if package is not None:
        header[_PACKAGE] = package
    write_text_atomically(folder / CARD_FILE, json.dumps(header, indent=2) + "\n")
    return folder


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
    folder = _find(weights)
    header = _read_header(folder / CARD_FILE)
    try:
        config = GeneratorConfig.model_validate(header.get("generator"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "generator"
        remedy = "was it written by another version of GraphHand?"
        if where == "backbone.name" and _PACKAGE in header:  # the file's own words, so no more than a hint
            remedy = f"it says that its backbone is of the package {str(header[_PACKAGE])[:80]!r}, not installed here"
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
    """Fill a generator that is about to be trained from the weights of another of the same make.

    Weights without a refinement, as a stage I trained on its own leaves them, fill the hand model module; the
    refinement, whatever its kind, stays as it is: random.

    Args:
        generator: what to fill.
        weights: as :func:`load_generator` takes them.

    Raises:
        InputError: missing, damaged, or of another make.
    """
    path = _find(weights) / WEIGHTS_FILE
    tensors = read_tensors(path)
    if not any(name.startswith(_REFINEMENT) for name in tensors):
        own = generator.state_dict()
        tensors |= {name: value for name, value in own.items() if name.startswith(_REFINEMENT)}
    load_state(generator, tensors, path, f"give the recipe the generator section of the {CARD_FILE} beside it")


def load_initial_backbones(generator: Generator, weights: str | PathLike[str]) -> None:
    """Start every backbone of a generator that is about to be trained from one trained already.

    Args:
        generator: whose backbones to fill; the rest of it stays as it is.
        weights: a classifier's file, as :func:`graphhand.models.backbones.load_pretrained` takes it; or weights of
            GraphHand as :func:`load_generator` takes them, of which the hand model module's backbone is taken.

    Raises:
        InputError: missing, damaged, or of another backbone.
    """
    path = Path(weights)
    # Others name their files model.safetensors too: ours has its card beside it.
    is_our_file = path.name == WEIGHTS_FILE and path.with_name(CARD_FILE).is_file()
    if not (str(weights) in bundled_weights() or path.is_dir() or is_our_file):
        generator.load_pretrained_backbones(path)
        return
    path = _find(weights) / WEIGHTS_FILE
    tensors = {
        name.removeprefix(_BACKBONE): value for name, value in read_tensors(path).items() if name.startswith(_BACKBONE)
    }
    for backbone in generator.backbones():
        load_state(backbone, tensors, path, f"give generator.backbone as the {CARD_FILE} beside it has it")


def _find(weights: str | PathLike[str]) -> Path:
    bundled = bundled_weights()
    if str(weights) in bundled:
        return bundled[str(weights)]
    path = Path(weights)
    if path.is_file() and path.name == WEIGHTS_FILE:
        return path.parent
    if (path / WEIGHTS_FILE).is_file():
        return path
    names = ", ".join(bundled) or "none in this build"
    raise InputError(
        path,
        f"neither bundled weights ({names}) nor a folder with {WEIGHTS_FILE}",
        "check the name or the path, or train some",
    )


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(path, "missing", f"it stands beside every {WEIGHTS_FILE}; copy both") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(path, f"not JSON ({error})", "copy or download it again") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(path, f"not a {FORMAT} file", "is it from another program or version?")
    return header
