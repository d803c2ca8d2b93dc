"""Our ResNets are torchvision's, name for name and shape for shape."""

from __future__ import annotations

import pytest
import torch

from graphhand.model.backbone import ResNet

# Parameters of torchvision's networks without their classifiers (published: 11,689,512 / 21,797,672 / 25,557,032 with).
TORCHVISION_PARAMETERS = {
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
}


@pytest.mark.parametrize("name", TORCHVISION_PARAMETERS)
def test_parameter_count_is_torchvisions(name):
    assert sum(p.numel() for p in ResNet(name).parameters()) == TORCHVISION_PARAMETERS[name]


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
    ],
)
def test_state_has_torchvisions_names_and_shapes(name, shapes):
    state = ResNet(name).state_dict()
    for key, shape in shapes.items():
        assert tuple(state[key].shape) == shape
    assert not [key for key in state if not key.startswith(("conv1", "bn1", "layer"))]
    assert ("layer1.0.downsample.0.weight" in state) == (name == "resnet50")


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_stride_is_32_and_the_bottleneck_strides_in_its_3x3(name):
    net = ResNet(name, width=8).eval()
    assert net(torch.rand(1, 3, 96, 64)).shape == (1, net.num_features, 3, 2)
    if name == "resnet50":
        assert net.get_submodule("layer2.0.conv1").stride == (1, 1)
        assert net.get_submodule("layer2.0.conv2").stride == (2, 2)


def test_batch_equals_items():
    net = ResNet("resnet18", width=8).eval()
    images = torch.rand(3, 3, 64, 64)
    torch.testing.assert_close(net(images), torch.cat([net(i[None]) for i in images]), atol=1e-5, rtol=1e-4)
