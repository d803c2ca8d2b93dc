"""Batch normalisation folded into the convolutions before it, for networks that only predict."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from graphhand.model.backbones import BACKBONES
from graphhand.model.generator import Generator

Network = TypeVar("Network", bound=nn.Module)


def for_prediction(generator: Generator) -> Generator:
    """A generator as it predicts fastest: :func:`folded`, its weights laid out as pictures lie in memory.

    Args:
        generator: in evaluation mode; left as it is.
    """
    if generator.config.backbone not in BACKBONES:  # whose convolutions may feed more than their normalisation
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
