"""The normalisation of pixels that pretrained networks expect, as a part of the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# ImageNet's statistics, as ever: harmless when training from nothing, needed by anybody's pretrained weights.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """Pixels in [0, 1] to about zero mean and unit variance. Constants, so no part of the state dict.

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
    """``(1, C, 1, 1)``."""
    return torch.tensor(values).view(1, -1, 1, 1)
