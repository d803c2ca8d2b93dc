"""ResNets (He et al., CVPR 2016) and light RegNets (Radosavovic et al., CVPR 2020), with torchvision's parameter names.

By these names torchvision's ImageNet weights load without torchvision: ``load_state_dict`` of a file fits once its
classifier (``fc.*``) is dropped. As there, ResNet-50 strides in the 3x3 convolution ("v1.5"). RegNets are residual
bottlenecks that neither widen nor narrow, with grouped 3x3 convolutions; RegNetY adds squeeze and excitation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from graphhand.models.backbones.base import Backbone, Normalize


class ResNet(Backbone):
    """A ResNet without its classifier.

    Args:
        name: one of ``RESNETS``.
        width: channels after the first convolution; 64 is the standard network.
    """

    def __init__(self, name: str = "resnet50", width: int = 64) -> None:
        super().__init__()
        block, depths = _RESNETS[name]
        self.normalize = Normalize()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = width
        for k, depth in enumerate(depths):
            blocks: list[nn.Module] = []
            for i in range(depth):
                blocks.append(block(channels, width << k, stride=2 if i == 0 and k > 0 else 1))
                channels = (width << k) * block.expansion
            self.add_module(f"layer{k + 1}", nn.Sequential(*blocks))
        self.num_features = channels
        self.pyramid_features = (channels // 8, channels // 4, channels // 2, channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def pyramid(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.normalize(image)))))
        maps = []
        for k in range(1, 5):
            x = self.get_submodule(f"layer{k}")(x)
            maps.append(x)
        return maps[0], maps[1], maps[2], maps[3]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(in_channels, channels * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, channels * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


_RESNETS: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}

RESNETS = tuple(_RESNETS)


class RegNet(Backbone):
    """A RegNet without its classifier.

    Args:
        name: one of ``REGNETS``.
        width: 64 is the standard network, 32 one with half its channels.
    """

    def __init__(self, name: str = "regnetx_400mf", width: int = 64) -> None:
        super().__init__()
        design, factor = _REGNETS[name], width / 64
        self.normalize = Normalize()
        channels = _rounded(REGNET_STEM * factor, 8)
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


@dataclass(frozen=True)
class RegNetDesign:
    """Blocks and channels of the four stages, channels per group, and squeezed share of the channels if any."""

    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    group_width: int
    squeeze: float | None


# The published models, whose depths and widths follow from the paper's Eqs. 2-4. "mf" are millions of multiply-adds
# at 224x224; a ResNet-18 has 1,800.
_REGNETS = {
    "regnetx_400mf": RegNetDesign((1, 2, 7, 12), (32, 64, 160, 400), 16, None),
    "regnety_400mf": RegNetDesign((1, 3, 6, 6), (48, 104, 208, 440), 8, 0.25),
    "regnetx_800mf": RegNetDesign((1, 3, 7, 5), (64, 128, 288, 672), 16, None),
    "regnety_800mf": RegNetDesign((1, 3, 8, 2), (64, 144, 320, 784), 16, 0.25),
}
REGNET_STEM = 32

REGNETS = tuple(_REGNETS)
