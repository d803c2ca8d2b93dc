"""The discriminator: spectral norms, what each source can see, and the additivity of the literal reading."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from graphhand.models import MultiSourceConfig, SingleSourceConfig, build_discriminator
from graphhand.models.discriminator import bones_to_features
from graphhand.skeleton import BONES, incidence_matrix

SMALL = {"image_size": 32, "image_width": 4, "pose_width": 8, "bone_width": 16, "fusion_width": 16}


def _discriminator(**options):
    if options.get("sources") == "single":
        return build_discriminator(SingleSourceConfig(width=32, **options))
    return build_discriminator(MultiSourceConfig(**(SMALL | options)))


@pytest.mark.parametrize("options", [{}, {"fusion_width": None}, {"bones": "gram"}, {"sources": "single"}])
def test_every_layer_has_spectral_norm_at_most_one(options):
    discriminator = _discriminator(**options)
    for _ in range(200):  # power iteration runs once a training step
        discriminator(torch.randn(2, 21, 3) * 0.1, torch.rand(2, 3, 64, 64))
    layers = [m for m in discriminator.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(layers) >= 4
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2) <= 1 + 1e-3


def test_every_weight_has_a_spectral_norm():
    for name, _ in _discriminator().named_parameters():
        assert name.endswith("bias") or "parametrizations.weight.original" in name, name


def test_scores_depend_on_all_three_sources():
    discriminator = _discriminator().eval()
    pose, image = torch.randn(1, 21, 3) * 0.1, torch.rand(1, 3, 64, 64)
    pose.requires_grad_()
    image.requires_grad_()
    discriminator(pose, image).sum().backward()
    assert pose.grad.abs().sum() > 0
    assert image.grad.abs().sum() > 0
    with torch.no_grad():
        before = discriminator(pose, image)
        discriminator.bone_encoder.bias.add_(1.0)
        assert (discriminator(pose, image) != before).all()


def _pose_gradient(discriminator, pose, image):
    pose = pose.clone().requires_grad_()
    discriminator(pose, image).sum().backward()
    return pose.grad


def test_only_a_hidden_layer_relates_pose_and_image():
    pose = torch.randn(64, 21, 3) * 0.1  # many, so that some sit near a kink of the hidden layer
    images = torch.zeros(64, 3, 64, 64), torch.ones(64, 3, 64, 64)
    for width, related in ((None, False), (16, True)):
        discriminator = _discriminator(fusion_width=width).eval()
        with torch.no_grad():
            for name, parameter in discriminator.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_()
        a, b = (_pose_gradient(discriminator, pose, image) for image in images)
        assert torch.equal(a, b) != related


def test_single_source_ignores_the_image():
    discriminator = _discriminator(sources="single").eval()
    pose = torch.randn(2, 21, 3) * 0.1
    assert torch.equal(discriminator(pose, torch.rand(2, 3, 64, 64)), discriminator(pose, torch.zeros(2, 3, 64, 64)))


@pytest.mark.parametrize("sources", ["multi", "single"])
def test_batch_equals_items(sources):
    discriminator = _discriminator(sources=sources).eval()
    pose, image = torch.randn(3, 21, 3) * 0.1, torch.rand(3, 3, 64, 64)
    items = torch.cat([discriminator(pose[i : i + 1], image[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(discriminator(pose, image), items, atol=1e-5, rtol=1e-5)


def test_autocast_applies_to_image_convolutions_only():
    discriminator = _discriminator().eval()
    pose, image = torch.randn(2, 21, 3) * 0.1, torch.rand(2, 3, 64, 64)
    seen = []
    discriminator.fusion.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    full = discriminator(pose, image)
    with torch.autocast("cpu", torch.bfloat16):
        low = discriminator(pose, image)
    photo = discriminator.image_encoder.num_features
    exact, lowered = seen
    assert lowered.dtype == torch.float32
    assert torch.equal(lowered[:, photo:], exact[:, photo:])
    assert not torch.equal(lowered[:, :photo], exact[:, :photo])
    torch.testing.assert_close(low, full, atol=0.01, rtol=0.01)


def test_spectral_norms_are_exact_under_autocast():
    one, other = _discriminator(), _discriminator()
    other.load_state_dict(one.state_dict())
    pose, image = torch.randn(2, 21, 3) * 0.1, torch.rand(2, 3, 64, 64)
    for _ in range(3):
        one(pose, image)
        with torch.autocast("cpu", torch.bfloat16):
            other(pose, image)
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values()):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("option", [{"bones": "gram"}, {"fusion_width": None}, {"image_size": 32}])
def test_settings_of_other_sources_are_refused_with_a_single_source(option):
    with pytest.raises(ValidationError, match="extra"):
        SingleSourceConfig(sources="single", **option)


def test_bone_features_are_the_kcs_product():
    joints = torch.randn(2, 21, 3)
    vectors = bones_to_features(joints, incidence_matrix(), "vectors").view(2, 3, 20)
    for k, (parent, child) in enumerate(BONES):
        torch.testing.assert_close(vectors[:, :, k], joints[:, child] - joints[:, parent])
    gram = bones_to_features(joints, incidence_matrix(), "gram").view(2, 20, 20)
    torch.testing.assert_close(gram.diagonal(dim1=1, dim2=2), vectors.square().sum(1))
