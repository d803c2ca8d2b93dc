"""Batch normalisation fused into convolutions: the same outputs, fewer layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from factories import merge
from graphhand.models import Generator, GeneratorConfig
from graphhand.models.generator import fuse_conv_bn, fuse_layers

SMALL = {"image_size": 64, "refinement": {"width": 16, "blocks": 1}, "heatmaps": {"width": 16}}
NETWORKS = {
    "resnet": {"backbone": {"name": "resnet18", "width": 8}},
    "bottlenecks": {"backbone": {"name": "resnet50", "width": 8, "shared": True}},
    "regnet": {"backbone": {"name": "regnetx_400mf", "width": 16, "shared": True}},
    "squeeze and excitation": {"backbone": {"name": "regnety_400mf", "width": 16, "shared": True}},
    "far-side padding": {
        "backbone": {"name": "efficientnet_lite0", "width": 16, "shared": True},
        "heatmaps": {"stride": 4},
        "refinement": {"features": "lifted"},
    },
}


def _norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def _settle(network: nn.Module) -> None:
    """Statistics and factors as training leaves them: no two channels alike."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            for offsets in (module.running_mean, module.bias):
                nn.init.normal_(offsets, std=0.3)
            nn.init.uniform_(module.weight, -1.5, 1.5)


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_fused_network_gives_equal_outputs(options):
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(**merge(SMALL, options))).eval()
    _settle(generator)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    crops = torch.rand(3, 3, 64, 64)
    K = torch.tensor([[90.0, 0, 31.5], [0, 90.0, 31.5], [0, 0, 1]]).expand(3, 3, 3)
    fused = fuse_conv_bn(generator)
    with torch.no_grad():
        expected, found = generator(crops, K), fused(crops, K)
    scale = expected.joints_m.abs().max()
    torch.testing.assert_close(found.joints_m, expected.joints_m, atol=1e-4 * scale.item(), rtol=0)
    torch.testing.assert_close(found.handedness_logit, expected.handedness_logit, atol=1e-3, rtol=1e-3)
    assert _norms(fused) <= 1 < 10 < _norms(generator)  # one follows a sum of two convolutions
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


class Shared(nn.Module):
    """A convolution that runs twice, once followed by a batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(self.norm(self.convolution(x)))


class Untracked(nn.Sequential):
    """Without running statistics a batch normalisation is no fixed factor."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))


class Activated(nn.BatchNorm2d):
    """A subclass that does more than normalise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).relu()


class WithActivation(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 1), Activated(4))


@pytest.mark.parametrize("kind", [Shared, Untracked, WithActivation])
def test_layers_that_cannot_be_fused_are_kept(kind):
    torch.manual_seed(0)
    network = kind().eval()
    crops = torch.rand(2, 3, 8, 8)
    fused = fuse_layers(network, crops)
    assert _norms(fused) == _norms(network)
    assert torch.equal(fused(crops), network(crops))
