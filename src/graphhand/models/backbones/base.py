"""The interface of backbones, and the normalisation of pixels that pretrained ones expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing_extensions import Self

STRIDES = (4, 8, 16, 32)
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
"""ImageNet's statistics: harmless when training from random weights, needed by pretrained ones."""


class Backbone(nn.Module):
    """A convolutional network without its classifier.

    Attributes:
        num_features: channels of the feature map it returns, whose stride is 32.
        pyramid_features: channels of the maps at strides 4, 8, 16 and 32.
        classifier: prefixes of the names of published weights that the network leaves out.
    """

    num_features: int
    pyramid_features: tuple[int, int, int, int]
    classifier: tuple[str, ...] = ("fc.",)
    _frozen_norms: tuple[str, ...] = ()

    def pyramid(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps at strides 4, 8, 16 and 32, ``(B, pyramid_features[0], S/4, S/4)`` and so on.

        Args:
            image: ``(B, 3, S, S)`` RGB in [0, 1]; normalising it is part of the network.
        """
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Feature map ``(B, num_features, S/32, S/32)`` of ``(B, 3, S, S)`` RGB images in [0, 1]."""
        return self.pyramid(image)[-1]

    def freeze(self, stride: int) -> None:
        """Fix the layers that the map at a stride depends on: their weights, and the statistics of their normalisation.

        Args:
            stride: 4, 8, 16 or 32, which fixes the whole backbone.
        """
        learning = {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
        if not learning:
            return
        training = self.training
        with torch.enable_grad():
            image = next(iter(learning.values())).new_zeros(1, 3, 64, 64)
            last = self.eval().pyramid(image)[STRIDES.index(stride)].sum()
            gradients = torch.autograd.grad(last, list(learning.values()), allow_unused=True)
        reached = [name for name, gradient in zip(learning, gradients) if gradient is not None]
        for name in reached:
            learning[name].requires_grad_(False)
        layers = dict.fromkeys(name.rpartition(".")[0] for name in reached)
        self._frozen_norms = tuple(layer for layer in layers if hasattr(self.get_submodule(layer), "running_mean"))
        self.train(training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name in self._frozen_norms:
            self.get_submodule(name).eval()
        return self


class Normalize(nn.Module):
    """Pixels in [0, 1] to about zero mean and unit variance, by constants that are no part of the state dict.

    Args:
        mean, std: of red, green and blue; ImageNet's, or what else the network's published weights expect.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = PIXEL_MEAN, std: Sequence[float] = PIXEL_STD) -> None:
        super().__init__()
        self.register_buffer("mean", per_channel(mean), persistent=False)
        self.register_buffer("std", per_channel(std), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std


def per_channel(values: Sequence[float]) -> Tensor:
    """Values of C channels as ``(1, C, 1, 1)``."""
    return torch.tensor(values).view(1, -1, 1, 1)
