"""Our backbones are the published ones, name for name and shape for shape; timm's are wrapped to the same interface."""

from __future__ import annotations

import copy
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from graphhand.errors import InputError
from graphhand.models.backbones import BACKBONES, build_backbone
from graphhand.models.backbones.efficientnet import SameConv2d
from graphhand.models.config import GeneratorConfig

# Parameters of the published networks with a classifier of 1000 classes, and the channels they end in.
PUBLISHED_PARAMETERS = {
    "resnet18": (11_689_512, 512),
    "resnet34": (21_797_672, 512),
    "resnet50": (25_557_032, 2048),
    "regnetx_400mf": (5_495_976, 400),
    "regnety_400mf": (4_344_144, 440),
    "regnetx_800mf": (7_259_656, 672),
    "regnety_800mf": (6_432_512, 784),
    "efficientnet_lite0": (4_652_008, 320),
}
# What stands between the last map and the classifier: EfficientNet's 1x1 convolution to 1280 channels, normalised.
HEAD_PARAMETERS = {"efficientnet_lite0": (320 * 1280 + 2 * 1280, 1280)}


def test_every_backbone_is_compared_with_the_published_one():
    assert set(PUBLISHED_PARAMETERS) == set(BACKBONES)


@pytest.mark.parametrize("name", BACKBONES)
def test_parameter_count_is_the_published_one(name):
    published, channels = PUBLISHED_PARAMETERS[name]
    head, classified = HEAD_PARAMETERS.get(name, (0, channels))
    net = build_backbone(name)
    assert net.num_features == channels
    assert sum(p.numel() for p in net.parameters()) == published - head - 1000 * (classified + 1)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        (
            "resnet18",
            {
                "conv1.weight": (64, 3, 7, 7),
                "bn1.running_mean": (64,),
                "layer1.0.conv2.weight": (64, 64, 3, 3),
                "layer2.0.downsample.0.weight": (128, 64, 1, 1),
                "layer4.1.bn2.num_batches_tracked": (),
            },
        ),
        (
            "resnet50",
            {
                "layer1.0.downsample.0.weight": (256, 64, 1, 1),
                "layer1.0.downsample.1.running_var": (256,),
                "layer3.5.conv3.weight": (1024, 256, 1, 1),
                "layer4.0.conv2.weight": (512, 512, 3, 3),
            },
        ),
        (
            "regnetx_400mf",
            {
                "stem.0.weight": (32, 3, 3, 3),
                "stem.1.running_var": (32,),
                "trunk_output.block2.block2-0.proj.0.weight": (64, 32, 1, 1),
                "trunk_output.block3.block3-6.f.b.0.weight": (160, 16, 3, 3),
                "trunk_output.block4.block4-11.f.c.1.weight": (400,),
            },
        ),
        (
            "regnety_400mf",
            {
                "trunk_output.block1.block1-0.f.se.fc1.weight": (8, 48, 1, 1),
                "trunk_output.block1.block1-0.f.se.fc2.bias": (48,),
                "trunk_output.block4.block4-5.f.se.fc1.bias": (110,),
                "trunk_output.block4.block4-5.f.a.0.weight": (440, 440, 1, 1),
            },
        ),
        (
            "efficientnet_lite0",
            {
                "conv_stem.weight": (32, 3, 3, 3),
                "bn0.running_var": (32,),
                "blocks.0.depthwise_conv.weight": (32, 1, 3, 3),
                "blocks.3.expand_conv.weight": (144, 24, 1, 1),
                "blocks.15.project_conv.weight": (320, 1152, 1, 1),
                "blocks.15.bn2.bias": (320,),
            },
        ),
    ],
)
def test_state_has_the_published_names_and_shapes(name, shapes):
    state = build_backbone(name).state_dict()
    for key, shape in shapes.items():
        assert tuple(state[key].shape) == shape
    prefixes = {"resn": ("conv1", "bn1", "layer"), "regn": ("stem", "trunk_output")}
    prefixes["effi"] = ("conv_stem", "bn0", "blocks")
    assert not [key for key in state if not key.startswith(prefixes[name[:4]])]
    if name.startswith("resnet"):
        assert ("layer1.0.downsample.0.weight" in state) == (name == "resnet50")


@pytest.mark.parametrize("name", BACKBONES)
def test_maps_have_strides_4_to_32_and_the_stated_channels(name):
    net = build_backbone(name, width=16).eval()
    maps = net.pyramid(torch.rand(1, 3, 96, 64))
    assert [tuple(m.shape) for m in maps] == [
        (1, channels, 96 // stride, 64 // stride) for channels, stride in zip(net.pyramid_features, (4, 8, 16, 32))
    ]
    assert net.num_features == net.pyramid_features[-1]
    torch.testing.assert_close(net(torch.ones(1, 3, 64, 64)), net.pyramid(torch.ones(1, 3, 64, 64))[-1])


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
@pytest.mark.parametrize("name", BACKBONES)
def test_frozen_layers_are_those_that_a_stride_depends_on(name, stride):
    torch.manual_seed(0)
    net = build_backbone(name, 16).train()
    images = torch.rand(2, 3, 64, 64)
    net.freeze(stride)
    assert net.training

    def maps():
        net.eval()
        with torch.no_grad():
            found = [feature_map.clone() for feature_map in net.pyramid(images)]
        net.train()
        return found

    before, layers = maps(), copy.deepcopy(net.state_dict())
    net.pyramid(images)  # batch normalisation remembers what it sees
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.1)
    unchanged = [torch.equal(*pair) for pair in zip(before, maps())]
    assert unchanged == [other <= stride for other in (4, 8, 16, 32)]
    if stride == 32:
        assert all(torch.equal(value, layers[name]) for name, value in net.state_dict().items())


def test_resnet50_strides_in_its_3x3_convolution():
    net = build_backbone("resnet50", width=8)
    assert net.get_submodule("layer2.0.conv1").stride == (1, 1)
    assert net.get_submodule("layer2.0.conv2").stride == (2, 2)


@pytest.mark.parametrize("name", ["resnet18", "regnety_400mf", "efficientnet_lite0"])
def test_batch_equals_items(name):
    net = build_backbone(name, width=16).eval()
    images = torch.rand(3, 3, 64, 64)
    torch.testing.assert_close(net(images), torch.cat([net(i[None]) for i in images]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", BACKBONES)
def test_pixels_are_normalised_inside(name):
    """An image of the mean colour is zero to the first layer, whatever its weights."""
    net = build_backbone(name, width=16)
    seen = []
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    if name == "efficientnet_lite0":
        mean, std = torch.full((3,), 127 / 255), torch.full((3,), 128 / 255)
    images = torch.stack((mean, mean + std))[:, :, None, None].expand(2, 3, 32, 32)
    net(images)
    torch.testing.assert_close(seen[0][0], torch.zeros(3, 32, 32))
    torch.testing.assert_close(seen[0][1], torch.ones(3, 32, 32))


@pytest.mark.parametrize("size", [13, 16, 31, 32])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
def test_same_padding_is_minimal_and_larger_on_the_far_side(kernel, stride, size):
    """Against the definition, an output pixel at a time."""
    conv = SameConv2d(2, 3, kernel, stride)
    image = torch.randn(1, 2, size, size)
    outputs = -(-size // stride)
    before = max((outputs - 1) * stride + kernel - size, 0) // 2
    roomy = torch.zeros(1, 2, size + 2 * kernel, size + 2 * kernel)
    roomy[:, :, kernel : kernel + size, kernel : kernel + size] = image
    found = conv(image)
    assert found.shape == (1, 3, outputs, outputs)
    for y in (0, outputs // 2, outputs - 1):
        for x in (0, outputs - 1):
            top, left = (kernel - before + i * stride for i in (y, x))
            window = roomy[0, :, top : top + kernel, left : left + kernel]
            expected = (conv.weight * window).sum((1, 2, 3))
            torch.testing.assert_close(found[0, :, y, x], expected, atol=1e-5, rtol=1e-4)


class _FeatureInfo:
    def __init__(self, reductions, channels):
        self.reductions, self.widths = reductions, channels

    def reduction(self):
        return self.reductions

    def channels(self):
        return self.widths


class _TimmNet(nn.Module):
    """As timm's feature networks behave: maps at 4, 8, 8, 16 and 32, of which out_indices picks some."""

    def __init__(self, out_indices, output_fmt):
        super().__init__()
        strides, channels = [4, 8, 8, 16, 32], [4, 6, 7, 8, 10]
        self.convs = nn.ModuleList(nn.Conv2d(3, c, 1, s, bias=False) for s, c in zip(strides, channels))
        self.out_indices = range(5) if out_indices is None else out_indices
        self.feature_info = _FeatureInfo(
            [strides[i] for i in self.out_indices], [channels[i] for i in self.out_indices]
        )
        self.output_fmt = output_fmt
        self.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.25)}

    def forward(self, x):
        maps = [self.convs[i](x) for i in self.out_indices]
        return [m.permute(0, 2, 3, 1) for m in maps] if self.output_fmt == "NHWC" else maps


def _stub_timm(output_fmt="NCHW"):
    def create_model(name, pretrained, features_only, out_indices=None):
        assert features_only
        assert not pretrained  # nothing may be downloaded
        if name == "vit":
            net = _TimmNet(None, output_fmt)
            net.feature_info = _FeatureInfo([16, 16], [8, 8])
            return net
        if name != "net":
            raise RuntimeError(f"Unknown model ({name})")
        return _TimmNet(out_indices, output_fmt)

    return SimpleNamespace(create_model=create_model)


@pytest.mark.parametrize("output_fmt", ["NCHW", "NHWC"])
def test_timm_model_gives_its_last_maps_at_strides_4_to_32(monkeypatch, output_fmt):
    monkeypatch.setitem(sys.modules, "timm", _stub_timm(output_fmt))
    net = build_backbone("timm/net")
    assert net.pyramid_features == (4, 7, 8, 10)
    image = torch.rand(2, 3, 64, 64)
    maps = net.pyramid(image)
    normalised = (image - 0.5) / torch.tensor([0.5, 0.5, 0.25]).view(3, 1, 1)
    for got, index in zip(maps, (0, 2, 3, 4)):
        torch.testing.assert_close(got, net.net.convs[index](normalised))
    # What the pixels are normalised by travels with the weights.
    torch.testing.assert_close(net.state_dict()["std"].flatten(), torch.tensor([0.5, 0.5, 0.25]))


@pytest.mark.parametrize(
    ("name", "message"),
    [("nett", "timm cannot make it .*Unknown model"), ("vit", "strides .16, 16., not 4, 8, 16 and 32")],
)
def test_unsuitable_timm_models_are_refused_in_one_line(monkeypatch, name, message):
    monkeypatch.setitem(sys.modules, "timm", _stub_timm())
    with pytest.raises(InputError, match=message):
        build_backbone(f"timm/{name}")


def test_missing_timm_is_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"timm/net.*pip install 'graphhand\[timm\]'") as error:
        build_backbone("timm/net")
    assert "\n" not in str(error.value)


def test_unknown_backbone_is_refused_with_the_known_names():
    with pytest.raises(ValueError, match=r"'resnet1': there are resnet18.*regnetx_400mf.*timm/NAME"):
        GeneratorConfig(backbone={"name": "resnet1"})
    with pytest.raises(ValueError, match="width is not read"):
        GeneratorConfig(backbone={"name": "timm/mobilenetv3_large_100", "width": 32})
