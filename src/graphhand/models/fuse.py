"""Batch normalisation fused into the convolutions before it, for networks that only predict."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from graphhand.models.backbones import BACKBONES
from graphhand.models.generator import Generator

Network = TypeVar("Network", bound=nn.Module)


def fuse_conv_bn(generator: Generator) -> Generator:
    """A copy of a generator as it predicts fastest: :func:`fuse_layers`, with weights in channels-last order.

    A plug-in's or timm's backbone is not fused, because a convolution of it may feed more than its normalisation.

    Args:
        generator: in evaluation mode; left as it is.
    """
    if generator.config.backbone.name not in BACKBONES:
        fused = copy.deepcopy(generator)
    else:
        size, device = generator.config.image_size, next(generator.parameters()).device
        image, K = torch.zeros(1, 3, size, size, device=device), torch.eye(3, device=device)[None]
        fused = fuse_layers(generator, image, K)
    return fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def fuse_layers(network: Network, *example: Any) -> Network:
    """A copy of a network whose convolutions include the batch normalisation after them.

    With fixed statistics a batch normalisation is a factor and an offset per channel (Ioffe and Szegedy 2015), which
    the convolution's weights take in. Outputs are equal but for rounding, and each layer costs one pass over memory
    less.

    Args:
        network: in evaluation mode; left as it is. A convolution that feeds a batch normalisation must feed nothing
            else.
        example: arguments of one call, which shows which layer feeds which.

    Returns:
        The copy, which shares nothing with ``network``.
    """
    fused = copy.deepcopy(network)
    names = {module: name for name, module in fused.named_modules()}
    calls: Counter[nn.Module] = Counter()
    made_by: dict[int, tuple[Tensor, nn.Conv2d]] = {}  # holds the tensor, so that no other gets its id
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = (output, module)
        elif id(inputs[0]) in made_by:
            pairs.append((made_by[id(inputs[0])][1], module))  # type: ignore[arg-type]

    watched = [module for module in names if isinstance(module, nn.Conv2d) or _is_fixed(module)]
    hooks = [module.register_forward_hook(record) for module in watched]
    try:
        with torch.no_grad():
            fused(*example)
    finally:
        for hook in hooks:
            hook.remove()
    for convolution, norm in pairs:
        if calls[convolution] == calls[norm] == 1:
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight,
                convolution.bias,
                norm.running_mean,  # type: ignore[arg-type]
                norm.running_var,  # type: ignore[arg-type]
                norm.eps,
                norm.weight,
                norm.bias,
            )
            parent, _, name = names[norm].rpartition(".")
            setattr(fused.get_submodule(parent), name, nn.Identity())
    return fused


def _is_fixed(module: nn.Module) -> bool:
    # By type: subclasses, timm's for one, do more than normalise.
    return type(module) is nn.BatchNorm2d and not module.training and module.running_mean is not None
