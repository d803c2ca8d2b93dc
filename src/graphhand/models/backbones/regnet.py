"""RegNetX and RegNetY (Radosavovic et al., CVPR 2020), the light ones, with torchvision's parameter names.

Residual bottlenecks that neither widen nor narrow, with grouped 3x3 convolutions; Y adds squeeze and excitation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from graphhand.models.backbones.base import Backbone, Normalize


@dataclass(frozen=True)
class _Design:
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    group_width: int
    squeeze: float | None


# The published models, whose depths and widths follow from the paper's Eqs. 2-4. "mf" are millions of multiply-adds
# at 224x224; a ResNet-18 has 1,800.
_DESIGNS = {
    "regnetx_400mf": _Design((1, 2, 7, 12), (32, 64, 160, 400), 16, None),
    "regnety_400mf": _Design((1, 3, 6, 6), (48, 104, 208, 440), 8, 0.25),
    "regnetx_800mf": _Design((1, 3, 7, 5), (64, 128, 288, 672), 16, None),
    "regnety_800mf": _Design((1, 3, 8, 2), (64, 144, 320, 784), 16, 0.25),
}
_STEM = 32
REGNETS = tuple(_DESIGNS)


class SqueezeExcitation(nn.Module):
    """Each channel scaled by a function of all channels' means (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class ResBottleneck(nn.Module):
    """``relu(shortcut(x) + f(x))``, f of 1x1, grouped 3x3, squeeze and excitation if any, 1x1."""

    def __init__(self, in_channels: int, channels: int, stride: int, group_width: int, squeeze: float | None) -> None:
        super().__init__()
        self.proj: nn.Module | None = None
        if in_channels != channels or stride != 1:
            self.proj = _conv_norm(in_channels, channels, 1, stride)
        self.f = nn.Sequential()
        self.f.add_module("a", _conv_norm(in_channels, channels, 1, relu=True))
        self.f.add_module("b", _conv_norm(channels, channels, 3, stride, groups=channels // group_width, relu=True))
        if squeeze is not None:
            self.f.add_module("se", SqueezeExcitation(channels, round(squeeze * in_channels)))
        self.f.add_module("c", _conv_norm(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu((x if self.proj is None else self.proj(x)) + self.f(x))


class RegNet(Backbone):
    """A RegNet without its classifier.

    Args:
        name: one of ``REGNETS``.
        width: 64 is the standard network, 32 one with half its channels.
    """

    def __init__(self, name: str = "regnetx_400mf", width: int = 64) -> None:
        super().__init__()
        design, factor = _DESIGNS[name], width / 64
        self.normalize = Normalize()
        channels = _rounded(_STEM * factor, 8)
        self.stem = _conv_norm(3, channels, 3, 2, relu=True)
        self.trunk_output = nn.Sequential()
        widths = []
        for k, (depth, standard) in enumerate(zip(design.depths, design.widths)):
            out_channels = _rounded(standard * factor, design.group_width)
            stage = nn.Sequential()
            for i in range(depth):
                block = ResBottleneck(channels, out_channels, 2 if i == 0 else 1, design.group_width, design.squeeze)
                stage.add_module(f"block{k + 1}-{i}", block)
                channels = out_channels
            self.trunk_output.add_module(f"block{k + 1}", stage)
            widths.append(channels)
        self.num_features = channels
        self.pyramid_features = (widths[0], widths[1], widths[2], widths[3])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # As its authors do: fan-out of the whole convolution, also where it is grouped.
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)

    def pyramid(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        maps = []
        x = self.stem(self.normalize(image))
        for stage in self.trunk_output:
            x = stage(x)
            maps.append(x)
        return maps[0], maps[1], maps[2], maps[3]


def _conv_norm(
    in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = False
) -> nn.Sequential:
    """Convolution, batch normalisation and perhaps ReLU, numbered 0, 1, 2 as in torchvision."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def _rounded(channels: float, divisor: int) -> int:
    """The nearest multiple of a divisor, one at least."""
    return max(1, round(channels / divisor)) * divisor
