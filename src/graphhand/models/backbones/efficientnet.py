"""EfficientNet-Lite0 (Tan and Le, ICML 2019; "Lite": no squeeze and excitation, ReLU6 throughout).

Parameter names are those of the EfficientNet files of the PyTorch world, leading underscores apart. As where those
weights come from, strided convolutions pad the far side first, batch normalisation adds 0.001 to the variance, and
pixels of 0 to 255 are normalised by 127 and 128.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from graphhand.models.backbones.base import Backbone, Normalize

# kernel, stride of the first block, expansion, channels, blocks
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM = 32
_LAST_AT_STRIDE = (1, 2, 4, 6)  # stages that end strides 4, 8, 16 and 32


class SameConv2d(nn.Conv2d):
    """Convolution without bias whose output has ``ceil(size / stride)`` pixels, padded the more on the far side."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_channels, channels, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        high, wide = (max(kernel - (size % stride or stride), 0) for size in input.shape[2:])
        if high % 2 == 0 and wide % 2 == 0:
            return F.conv2d(input, self.weight, self.bias, stride, (high // 2, wide // 2), 1, self.groups)
        padded = F.pad(input, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        return F.conv2d(padded, self.weight, self.bias, stride, 0, 1, self.groups)


class InvertedResidual(nn.Module):
    """1x1 to more channels, depthwise convolution, 1x1 to fewer (Sandler et al., CVPR 2018)."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.expand_conv: nn.Module | None = None
        if expansion != 1:
            self.expand_conv = SameConv2d(in_channels, inner, 1)
            self.bn0 = _norm(inner)
        self.depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self.bn1 = _norm(inner)
        self.project_conv = SameConv2d(inner, channels, 1)
        self.bn2 = _norm(channels)
        self.relu = nn.ReLU6(inplace=True)
        self.shortcut = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand_conv is None else self.relu(self.bn0(self.expand_conv(x)))
        y = self.relu(self.bn1(self.depthwise_conv(y)))
        y = self.bn2(self.project_conv(y))
        return x + y if self.shortcut else y


class EfficientNetLite0(Backbone):
    """An EfficientNet-Lite0 without its classifier and the 1x1 convolution before that.

    Args:
        width: 64 is the standard network, 32 one with half its channels.
        stages: 7 is the standard network; 6 leaves out its last block, a fifth of its weights.
    """

    classifier = ("conv_head.", "bn1.", "fc.")

    def __init__(self, width: int = 64, stages: int = len(_STAGES)) -> None:
        super().__init__()
        factor = width / 64
        self.normalize = Normalize((127 / 255,) * 3, (128 / 255,) * 3)
        channels = _rounded(_STEM * factor)
        self.conv_stem = SameConv2d(3, channels, 3, 2)
        self.bn0 = _norm(channels)
        self.relu = nn.ReLU6(inplace=True)
        self.blocks = nn.ModuleList()
        widths, self._ends = [], []
        for i, (kernel, stride, expansion, standard, depth) in enumerate(_STAGES[:stages]):
            out_channels = _rounded(standard * factor)
            for k in range(depth):
                block = InvertedResidual(channels, out_channels, kernel, stride if k == 0 else 1, expansion)
                self.blocks.append(block)
                channels = out_channels
            if i in _LAST_AT_STRIDE or i == stages - 1:
                widths.append(channels)
                self._ends.append(len(self.blocks) - 1)
        self.num_features = channels
        self.pyramid_features = (widths[0], widths[1], widths[2], widths[3])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)

    def pyramid(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        maps = []
        x = self.relu(self.bn0(self.conv_stem(self.normalize(image))))
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self._ends:
                maps.append(x)
        return maps[0], maps[1], maps[2], maps[3]


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _rounded(channels: float) -> int:
    """The nearest multiple of eight, one at least."""
    return max(1, round(channels / 8)) * 8
