"""ImageNet weights from a user's file: the same features as the network they come from, and nothing executed."""

from __future__ import annotations

import pickle
import re
import sys

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from graphhand.errors import InputError
from graphhand.models import Generator, GeneratorConfig, load_generator, save_generator
from graphhand.models.backbones import build_backbone
from graphhand.models.checkpoint import load_imagenet_weights, load_initial_backbones

WIDTH = 16  # a quarter of the published networks, for speed; names and their order are the same


def classifier_state(name, width=WIDTH, seed=1):
    """A state dict as torchvision's file has it: classifier, moved batch statistics."""
    torch.manual_seed(seed)
    net = build_backbone(name, width)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    for key in state:
        if key.endswith("running_mean"):
            state[key] = 0.1 * torch.randn_like(state[key])
        elif key.endswith("running_var"):
            state[key] = 0.5 + torch.rand_like(state[key])
    state["fc.weight"], state["fc.bias"] = torch.randn(1000, net.num_features), torch.randn(1000)
    return state


def write(state, path):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def resnet18_by_hand(state, image):
    """A ResNet-18 in functional form on pixels normalised explicitly, straight from the names in the file."""

    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    x = (image - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = F.max_pool2d(norm(F.conv2d(x, state["conv1.weight"], None, 2, 3), "bn1").relu(), 3, 2, 1)
    for stage in range(1, 5):
        for block in range(2):
            p, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = norm(F.conv2d(x, state[f"{p}.conv1.weight"], None, stride, 1), f"{p}.bn1").relu()
            y = norm(F.conv2d(y, state[f"{p}.conv2.weight"], None, 1, 1), f"{p}.bn2")
            if f"{p}.downsample.0.weight" in state:
                x = norm(F.conv2d(x, state[f"{p}.downsample.0.weight"], None, stride), f"{p}.downsample.1")
            x = (x + y).relu()
    return x


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_features_equal_the_published_networks_on_normalised_pixels(tmp_path, suffix):
    state = classifier_state("resnet18")
    net = build_backbone("resnet18", WIDTH).eval()
    load_imagenet_weights(net, write(state, tmp_path / f"imagenet{suffix}"))
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(net(image), resnet18_by_hand(state, image), atol=1e-4, rtol=1e-4)


def efficientnet_by_hand(state, image):
    """An EfficientNet-Lite0 in functional form for images of a multiple of 32 pixels, from the names in the file."""

    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-3)

    x = F.pad((255 * image - 127) / 128, (0, 1, 0, 1))
    x = norm(F.conv2d(x, state["_conv_stem.weight"], None, 2), "_bn0").clamp(0, 6)
    strided = {1: (0, 1), 3: (1, 2), 5: (0, 1), 11: (1, 2)}
    for i in range(16):
        p, y = f"_blocks.{i}", x
        if i > 0:
            y = norm(F.conv2d(y, state[f"{p}._expand_conv.weight"]), f"{p}._bn0").clamp(0, 6)
        weight = state[f"{p}._depthwise_conv.weight"]
        room = strided.get(i, (weight.shape[-1] // 2,) * 2)
        y = F.conv2d(F.pad(y, room * 2), weight, None, 2 if i in strided else 1, groups=len(weight))
        y = norm(y, f"{p}._bn1").clamp(0, 6)
        y = norm(F.conv2d(y, state[f"{p}._project_conv.weight"]), f"{p}._bn2")
        x = x + y if i in (2, 4, 6, 7, 9, 10, 12, 13, 14) else y
    return x


def efficientnet_state():
    """As a file of efficientnet-lite-pytorch names it: modules with an underscore in front, their tensors without."""
    ours = classifier_state("efficientnet_lite0", 64)
    state = {re.sub(r"\b(?=[a-z]\w*\.)", "_", name): value for name, value in ours.items()}
    return {**state, "_conv_head.weight": torch.randn(8, 320, 1, 1), "_bn1.running_var": torch.ones(8)}


def test_efficientnet_features_equal_the_published_ones_without_its_head(tmp_path):
    state = efficientnet_state()
    net = build_backbone("efficientnet_lite0").eval()
    load_imagenet_weights(net, write(state, tmp_path / "imagenet.pth"))
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(net(image), efficientnet_by_hand(state, image), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet50", "regnetx_400mf", "regnety_400mf", "efficientnet_lite0"])
def test_every_tensor_of_the_file_is_loaded(tmp_path, name):
    state = classifier_state(name)
    net = build_backbone(name, WIDTH)
    load_imagenet_weights(net, write(state, tmp_path / "imagenet.pth"))
    for key, value in net.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_older_files_without_batch_counters_load(tmp_path):
    state = {k: v for k, v in classifier_state("resnet18").items() if not k.endswith("num_batches_tracked")}
    net = build_backbone("resnet18", WIDTH)
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    load_imagenet_weights(net, tmp_path / "old.pth")
    assert torch.equal(net.state_dict()["bn1.running_var"], state["bn1.running_var"])


def _without(state):
    del state["layer2.0.conv1.weight"], state["layer3.0.conv1.weight"]


def _with_more(state):
    state["layer5.weight"] = torch.zeros(1)


def _not_finite(state):
    state["bn1.running_var"][3] = torch.nan


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without, "lacks layer2.0.conv1.weight and 1 more"),
        (_with_more, "has unknown layer5.weight;"),
        (_not_finite, "bn1.running_var holds values that are not finite"),
    ],
)
def test_mismatched_tensors_are_named(tmp_path, spoil, message):
    state = classifier_state("resnet18")
    spoil(state)
    net = build_backbone("resnet18", WIDTH)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(InputError, match=re.escape(message)) as error:
        load_imagenet_weights(net, write(state, tmp_path / "imagenet.pth"))
    assert "\n" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_file_of_another_network_or_width_is_refused(tmp_path):
    path = write(classifier_state("resnet18"), tmp_path / "imagenet.pth")
    with pytest.raises(InputError, match=r"conv1.weight is \(16, 3, 7, 7\), not \(32, 3, 7, 7\).*backbone\.width"):
        load_imagenet_weights(build_backbone("resnet18", 32), path)
    with pytest.raises(InputError, match=r"lacks layer1\.0\.conv3\.weight"):
        load_imagenet_weights(build_backbone("resnet50", WIDTH), path)


class _Bomb:
    def __reduce__(self):
        return exec, ("import sys; sys.modules['exploded'] = sys",)


@pytest.mark.parametrize("name", ["imagenet.pth", "imagenet.safetensors"])
@pytest.mark.parametrize(
    "contents",
    [
        pytest.param(pickle.dumps({"conv1.weight": _Bomb()}), id="code"),
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>404</html>", id="a web page"),
        pytest.param(pickle.dumps([1, 2]), id="a list"),
    ],
)
def test_damaged_or_hostile_files_are_refused_in_one_line_and_execute_nothing(tmp_path, name, contents):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(InputError, match=name) as error:
        load_imagenet_weights(build_backbone("resnet18", 8), tmp_path / name)
    assert "\n" not in str(error.value)
    assert "exploded" not in sys.modules


def test_code_inside_a_torch_file_is_not_executed(tmp_path):
    torch.save({"conv1.weight": _Bomb()}, tmp_path / "imagenet.pth")
    with pytest.raises(InputError, match="nothing in it was executed"):
        load_imagenet_weights(build_backbone("resnet18", 8), tmp_path / "imagenet.pth")
    assert "exploded" not in sys.modules


def test_missing_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_imagenet_weights(build_backbone("resnet18", 8), tmp_path / "imagenet.pth")


@pytest.mark.parametrize("contents", [{"state_dict": {"conv1.weight": torch.zeros(1)}}, {}, torch.zeros(3)])
def test_files_without_a_state_dict_are_refused(tmp_path, contents):
    torch.save(contents, tmp_path / "imagenet.pth")
    with pytest.raises(InputError, match="not a state dict"):
        load_imagenet_weights(build_backbone("resnet18", 8), tmp_path / "imagenet.pth")


@pytest.mark.parametrize("shared", [True, False])
def test_saved_generator_does_not_need_the_imagenet_file(tmp_path, shared):
    config = GeneratorConfig(image_size=64, backbone={"name": "resnet18", "width": WIDTH, "shared": shared})
    generator = Generator(config).eval()
    path = write(classifier_state("resnet18"), tmp_path / "imagenet.pth")
    load_initial_backbones(generator, path)
    save_generator(tmp_path / "weights", generator)
    path.unlink()
    image = torch.rand(1, 3, 64, 64)
    again, _ = load_generator(tmp_path / "weights")
    torch.testing.assert_close(again(image).joints_m, generator(image).joints_m)
    reference = resnet18_by_hand(classifier_state("resnet18"), image)
    for backbone in (again.backbone, again.refinement_backbone):
        if backbone is not None:
            torch.testing.assert_close(backbone(image), reference, atol=1e-4, rtol=1e-4)
