"""The generator: Eq. 1 against a slow reference, Eq. 2 at its start, projection, and what each configuration builds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from factories import merge
from graphhand.errors import InputError
from graphhand.geometry import matrix_to_axis_angle, project_perspective
from graphhand.hand_model import HandModel
from graphhand.hand_model.files import default_arrays, write_npz
from graphhand.models import Generator, GeneratorConfig
from graphhand.models.config import POSE_UNIT_M
from graphhand.models.heatmaps import sample_features
from graphhand.models.refinement import FCRefinement, GCNRefinement

SMALL = {"backbone": {"name": "resnet18", "width": 8}, "image_size": 64, "refinement": {"width": 16, "blocks": 2}}
K = torch.tensor([[90.0, 0, 31.5], [0, 90.0, 31.5], [0, 0, 1]])


def _generator(**options) -> Generator:
    return Generator(GeneratorConfig(**merge(SMALL, options)))


def _randomise(generator: Generator, scale: float = 0.02) -> Generator:
    for parameter in (*generator.hand_model_module.parameters(), *generator.refinement.parameters()):
        torch.nn.init.normal_(parameter, std=scale)
    return generator


def test_pca_components_need_a_hand_with_components(tmp_path):
    with pytest.raises(
        InputError, match=r"'default' has no principal components to leave out; give generator\.hand_model"
    ):
        _generator(hand_model={"pose": "pca", "pca_components": 6})
    components = torch.linalg.qr(torch.randn(45, 45, generator=torch.Generator().manual_seed(0)).double()).Q
    mean = 0.1 * torch.arange(45).double() / 45
    write_npz(
        tmp_path / "hand.npz",
        replace(default_arrays(), hands_components=components.numpy(), hands_mean=mean.numpy()),
    )
    generator = _randomise(
        _generator(hand_model={"pose": "pca", "pca_components": 6, "file": str(tmp_path / "hand.npz")})
    ).eval()
    theta = matrix_to_axis_angle(generator(torch.rand(3, 3, 64, 64)).code.theta).flatten(1) - mean.float()
    coefficients = theta @ components.float().T
    assert coefficients[:, :6].abs().max() > 0.01
    torch.testing.assert_close(coefficients[:, 6:], torch.zeros(3, 39), atol=1e-5, rtol=0)


@pytest.mark.parametrize("rotation", ["axis_angle", "rotation_6d"])
@pytest.mark.parametrize("pose", ["axis_angle", "rotation_6d", "pca"])
def test_prior_pose_is_equation_1(pose, rotation):
    generator = _randomise(_generator(hand_model={"pose": pose, "rotation": rotation}), 0.2).eval()
    output = generator(torch.rand(3, 3, 64, 64), K.expand(3, 3, 3))
    code, hand = output.code, HandModel.default()
    for b in range(3):
        rotations = torch.cat((torch.eye(3)[None], code.theta[b]))
        joints = hand(rotations[None], code.beta[b : b + 1])[0]
        joints = joints - joints[0]
        expected = torch.stack([code.scale[b] * (code.rotation[b] @ j) + code.translation_m[b] for j in joints])
        torch.testing.assert_close(output.prior_m[b], expected, atol=1e-6, rtol=1e-5)
    assert ((code.scale > 0.74) & (code.scale < 1.35)).all()
    torch.testing.assert_close(code.rotation @ code.rotation.mT, torch.eye(3).expand(3, 3, 3), atol=1e-5, rtol=0)


def test_untrained_prior_pose_is_centred_in_the_crop():
    output = _generator().eval()(torch.rand(1, 3, 64, 64), K[None])
    assert output.wrist_cam_m[0, 2] > 0
    assert ((output.joints_px > -32) & (output.joints_px < 96)).all()
    length = (output.prior_m[0, 9] - output.prior_m[0, 0]).norm()
    assert 0.06 < length < 0.11


@pytest.mark.parametrize(
    "features", ["pooled", "split", "sampled", None], ids=["pooled", "split", "sampled", "fully connected"]
)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("has_heatmaps", [True, False])
def test_refinement_starts_as_the_identity(shared, features, has_heatmaps):
    refinement = {"kind": "fc"} if features is None else {"features": features}
    heatmaps = {} if has_heatmaps else None
    generator = _generator(backbone={"shared": shared}, refinement=refinement, heatmaps=heatmaps).eval()
    output = generator(torch.rand(2, 3, 64, 64), K.expand(2, 3, 3))
    torch.testing.assert_close(output.refined_m, output.prior_m)


@pytest.mark.parametrize("refinement", ["gcn", "fc"])
def test_refined_pose_is_prior_plus_deformation(refinement):
    # Eq. 2 with f one vector for all joints.
    generator = _randomise(_generator(refinement={"kind": refinement})).eval()
    image = torch.rand(2, 3, 64, 64)
    output = generator(image, K.expand(2, 3, 3))
    f = generator.refinement_backbone(image).mean((2, 3))
    if refinement == "gcn":
        assert isinstance(generator.refinement, GCNRefinement)
        x = torch.cat((output.prior_m / POSE_UNIT_M, f[:, None].expand(2, 21, -1)), -1)
        deformation = generator.refinement.head(generator.refinement.blocks(x)) * POSE_UNIT_M
    else:
        assert isinstance(generator.refinement, FCRefinement)
        deformation = generator.refinement(output.prior_m, f)
    assert deformation.abs().max() > 0
    torch.testing.assert_close(output.refined_m, output.prior_m + deformation)


@pytest.mark.parametrize("features", ["pooled", "split", "sampled"])
def test_gcn_input_is_pose_then_common_then_local_features(features):
    generator = _randomise(_generator(refinement={"features": features})).eval()
    assert isinstance(generator.refinement, GCNRefinement)
    common, prior = torch.randn(2, generator.backbone.num_features), torch.randn(2, 21, 3) * 0.1
    local = torch.randn(2, 21, generator.backbone.num_features) if features == "sampled" else None
    own = local
    if features == "split":
        assert generator.refinement.split is not None
        own = torch.stack([generator.refinement.split(row).view(21, -1) for row in common])
    x = torch.cat((prior / POSE_UNIT_M, common[:, None].expand(2, 21, -1)), -1)
    plain = generator.refinement.blocks(x if own is None else torch.cat((x, own), -1))
    deformation = generator.refinement(prior, common, local)
    torch.testing.assert_close(deformation, generator.refinement.head(plain) * POSE_UNIT_M, atol=1e-7, rtol=1e-4)


def test_prior_pose_is_final_without_refinement():
    for generator, options in ((_generator(), {"refine": False}), (_generator(refinement=None), {})):
        output = generator.eval()(torch.rand(1, 3, 64, 64), K[None], **options)
        assert output.refined_m is None
        assert output.pose_m is output.prior_m


def test_two_backbones_unless_shared():
    assert _generator().refinement_backbone is not None
    assert _generator(backbone={"shared": True}).refinement_backbone is None
    assert _generator(refinement=None).refinement_backbone is None


def test_stage_one_parameters_exclude_the_refinement():
    generator = _generator()
    first = {id(p) for p in generator.hand_model_parameters()}
    names = {name.split(".")[0] for name, p in generator.named_parameters() if id(p) not in first}
    assert names == {"refinement", "refinement_backbone"}


def test_perspective_projection_agrees_with_the_camera_frame():
    output = _randomise(_generator()).eval()(torch.rand(2, 3, 64, 64), K.expand(2, 3, 3))
    torch.testing.assert_close(output.joints_px, project_perspective(output.joints_cam_m, K))
    torch.testing.assert_close(
        project_perspective(output.wrist_cam_m[:, None], K)[:, 0], output.code.wrist_px, atol=1e-3, rtol=0
    )


def test_perspective_tends_to_weak_perspective_under_a_long_lens():
    generator = _randomise(_generator()).eval()
    image = torch.rand(2, 3, 64, 64)
    long_lens = torch.tensor([[1e5, 0, 31.5], [0, 1e5, 31.5], [0, 0, 1]]).expand(2, 3, 3)
    output = generator(image, long_lens)
    weak = output.code.px_per_m[:, None, None] * output.pose_m[..., :2] + output.code.wrist_px[:, None]
    torch.testing.assert_close(output.joints_px, weak, atol=0.05, rtol=0)
    torch.testing.assert_close(generator(image).joints_px, weak, atol=1.0, rtol=0)


def test_rows_with_unknown_camera_are_projected_by_weak_perspective():
    generator = _randomise(_generator()).eval()
    image, cameras = torch.rand(2, 3, 64, 64), K.expand(2, 3, 3)
    known = generator(image, cameras)
    mixed = generator(image, cameras, camera_known=torch.tensor([True, False]))
    torch.testing.assert_close(mixed.joints_px[0], known.joints_px[0])
    weak = mixed.code.px_per_m[1] * mixed.pose_m[1, :, :2] + mixed.code.wrist_px[1]
    torch.testing.assert_close(mixed.joints_px[1], weak)
    assert not torch.allclose(mixed.joints_px[1], known.joints_px[1])
    torch.testing.assert_close(mixed.joints_cam_m, known.joints_cam_m)


def test_joints_are_relative_to_the_predicted_wrist():
    output = _randomise(_generator()).eval()(torch.rand(2, 3, 64, 64), K.expand(2, 3, 3))
    assert (output.joints_m[:, 0] == 0).all()


def test_batch_equals_items():
    generator = _randomise(_generator()).eval()
    images = torch.rand(3, 3, 64, 64)
    whole = generator(images, K.expand(3, 3, 3))
    for i in range(3):
        item = generator(images[i : i + 1], K[None])
        torch.testing.assert_close(whole.joints_cam_m[i], item.joints_cam_m[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("features", ["pooled", "split"])
def test_every_parameter_receives_a_gradient_in_stage_two(features):
    generator = _randomise(_generator(heatmaps={}, refinement={"features": features}))
    output = generator(torch.rand(4, 3, 64, 64), K.expand(4, 3, 3))
    (output.pose_m.square().sum() + output.joints_px.sum() + output.handedness_logit.sum()).backward()
    assert not [name for name, p in generator.named_parameters() if p.grad is None]


def test_features_are_sampled_at_the_joints_pixel():
    feature_map = torch.zeros(1, 1, 4, 4)
    feature_map[0, 0, 1, 2] = 1.0
    joints = torch.zeros(1, 21, 2)
    joints[0, 0] = torch.tensor([2 * 16 + 7.5, 1 * 16 + 7.5])  # the middle of cell (1, 2) of a 64-pixel crop
    joints[0, 1] = torch.tensor([-500.0, 900.0])
    sampled = sample_features(feature_map, joints, 64)
    assert sampled.shape == (1, 21, 1)
    assert sampled[0, 0, 0] == pytest.approx(1.0)
    assert sampled[0, 1, 0] == 0


def test_wrong_crop_size_is_refused():
    with pytest.raises(ValueError, match="64x64"):
        _generator()(torch.rand(1, 3, 32, 32))


def test_contradictory_configuration_is_refused():
    with pytest.raises(ValidationError, match="pca"):
        GeneratorConfig(hand_model={"pca_components": 10})
    with pytest.raises(ValidationError, match=r"refinement\.fc\.features"):
        GeneratorConfig(refinement={"kind": "fc", "features": "sampled"})
    unread = {"edges": "free", "weights": "per_joint", "adjacency": "row"}
    for name, value in unread.items():
        with pytest.raises(ValidationError, match=rf"refinement\.fc\.{name}\n *Extra"):
            GeneratorConfig(refinement={"kind": "fc", name: value})
    with pytest.raises(ValidationError, match="extra"):
        GeneratorConfig(backbone_depth=3)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_hidden_layers_precede_the_latent_code(layers):
    module = _generator(hand_model={"hidden_layers": layers, "hidden_width": 24}).hand_model_module
    assert sum(isinstance(layer, torch.nn.Linear) for layer in module.hidden) == layers
    assert module.fc.in_features == (24 if layers else 64)
