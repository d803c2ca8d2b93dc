"""Joints of a posed hand give its shape and pose back; what joints leave open stays anatomical."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from graphhand.geometry import axis_angle_to_matrix, matrix_to_axis_angle
from graphhand.hand_model import HandModel, fitting, mirror_pose
from graphhand.hand_model.fitting import FittedHands, fit_hands, fit_shape
from graphhand.hand_model.posing import MODEL_CHAIN, HandPoser
from graphhand.skeleton import BONES
from graphhand.synthesis import RenderConfig
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import SceneComposer

COUNT = 24
MIRROR = torch.tensor([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def model() -> HandModel:
    return HandModel.default()


@pytest.fixture(scope="module")
def pose(model: HandModel) -> Tensor:
    """(24, 16, 3, 3): a mixture of poses people make, turned anyhow."""
    composer = SceneComposer(RenderConfig(), model)
    random = CounterRandom(5, torch.arange(COUNT))
    pose = composer.poser.model_pose(composer.pose_sampler(random).angles)
    pose[:, 0] = random.rotation("turn", 1)[:, 0]
    return pose


@pytest.fixture(scope="module")
def shape(model: HandModel) -> Tensor:
    return torch.randn(model.num_shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def joints(model: HandModel, pose: Tensor, shape: Tensor) -> Tensor:
    return model(pose, shape.expand(COUNT, -1)) + torch.tensor([0.1, -0.05, 0.6])


@pytest.fixture(scope="module")
def fitted(model: HandModel, joints: Tensor) -> FittedHands:
    return fit_hands(model, joints)


def angles_deg(a: Tensor, b: Tensor) -> Tensor:
    return torch.rad2deg(torch.linalg.vector_norm(matrix_to_axis_angle(a.transpose(-1, -2) @ b), dim=-1))


def test_joints_are_recovered(fitted: FittedHands, joints: Tensor) -> None:
    away = torch.linalg.vector_norm(fitted.joints_m - joints, dim=-1)
    torch.testing.assert_close(away.mean(1), fitted.error_m)
    assert away.mean() < 1e-3
    assert away.max() < 8e-3


def test_pose_is_recovered(fitted: FittedHands, pose: Tensor) -> None:
    away = angles_deg(fitted.pose, pose)
    assert away[:, 0].median() < 2  # the wrist
    assert away[:, 1:].median() < 4


def test_pose_shape_and_wrist_give_the_fitted_joints(model: HandModel, fitted: FittedHands) -> None:
    """Pose, shape and place are the hand whose joints are said."""
    again = model(fitted.pose, fitted.shape.expand(COUNT, -1))
    again = again - again[:, :1] + fitted.wrist_m[:, None]
    torch.testing.assert_close(again, fitted.joints_m, atol=1e-5, rtol=0)
    identity = torch.eye(3).expand_as(fitted.pose)
    torch.testing.assert_close(fitted.pose @ fitted.pose.transpose(-1, -2), identity, atol=1e-4, rtol=0)


def test_fitted_shape_has_the_given_bone_lengths(model: HandModel, shape: Tensor) -> None:
    def lengths(shape: Tensor) -> Tensor:
        joints = model(torch.eye(3).expand(16, 3, 3), shape)
        return torch.stack([(joints[child] - joints[parent]).norm() for parent, child in BONES])

    found = fit_shape(model, lengths(shape))
    torch.testing.assert_close(lengths(found), lengths(shape), atol=2.5e-3, rtol=0)  # a usual shape is likelier
    torch.testing.assert_close(fit_shape(model, lengths(0 * shape)), 0 * shape, atol=1e-4, rtol=0)


def test_fit_is_equivariant_to_rigid_motion(model: HandModel, fitted: FittedHands, joints: Tensor) -> None:
    turn = axis_angle_to_matrix(torch.tensor([0.4, -1.1, 2.0]))
    shift = torch.tensor([0.3, 0.2, -0.1])
    moved = fit_hands(model, joints @ turn.T + shift)
    torch.testing.assert_close(moved.joints_m, fitted.joints_m @ turn.T + shift, atol=2e-4, rtol=0)
    assert angles_deg(moved.pose[:, 1:], fitted.pose[:, 1:]).max() < 0.5
    assert angles_deg(moved.pose[:, 0], turn @ fitted.pose[:, 0]).max() < 0.5


def test_a_batch_equals_its_items(model: HandModel, fitted: FittedHands, joints: Tensor) -> None:
    """They share a shape, here the same for all."""
    for row in range(0, COUNT, 5):
        alone = fit_hands(model, joints[row : row + 1])
        torch.testing.assert_close(alone.joints_m[0], fitted.joints_m[row], atol=5e-4, rtol=0)


def test_a_hand_with_pose_offsets_is_fitted(model: HandModel, pose: Tensor) -> None:
    """The offsets move the tips by about a millimetre."""
    offsets = np.random.default_rng(0).normal(scale=3e-4, size=(len(model.arrays.v_template), 3, 135))
    other = HandModel(replace(model.arrays, posedirs=offsets))
    joints = other(pose)
    fitted = fit_hands(other, joints)
    assert fitted.error_m.mean() < 1.5e-3
    again = other(fitted.pose, fitted.shape.expand(COUNT, -1))
    torch.testing.assert_close(again - again[:, :1] + fitted.wrist_m[:, None], fitted.joints_m, atol=1e-5, rtol=0)


def test_long_sequences_are_split(
    model: HandModel, fitted: FittedHands, joints: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "_MAX_BATCH", 7)
    for part, whole in zip(fit_hands(model, joints), fitted):
        torch.testing.assert_close(part, whole, atol=1e-2, rtol=0)


def test_a_left_hand_is_the_mirror_image(model: HandModel, fitted: FittedHands, joints: Tensor) -> None:
    left = fit_hands(model.mirrored(), joints * MIRROR)
    torch.testing.assert_close(left.joints_m, fitted.joints_m * MIRROR)
    torch.testing.assert_close(left.pose, mirror_pose(fitted.pose))
    again = model.mirrored()(left.pose, left.shape.expand(COUNT, -1))
    again = again - again[:, :1] + left.wrist_m[:, None]
    torch.testing.assert_close(again, left.joints_m, atol=1e-5, rtol=0)


@pytest.mark.parametrize("error_m", [2e-3, 5e-3])
def test_hinges_bend_about_one_axis_for_noisy_joints(model: HandModel, joints: Tensor, error_m: float) -> None:
    noisy = joints + error_m * torch.randn(joints.shape, generator=torch.Generator().manual_seed(2))
    fitted = fit_hands(model, noisy)
    assert fitted.error_m.mean() < 1.6 * error_m  # the noise itself is 1.6 times as long
    poser = HandPoser(model(torch.eye(3).expand(16, 3, 3), fitted.shape))
    for finger, chain in enumerate(MODEL_CHAIN):
        for row in chain[1:]:
            turn = matrix_to_axis_angle(fitted.pose[:, row])
            sideways = turn - (turn @ poser.bend[finger])[:, None] * poser.bend[finger]
            assert torch.rad2deg(sideways.norm(dim=1)).mean() < 12


@pytest.mark.parametrize(
    ("joints_m", "complaint"),
    [
        (torch.zeros(21, 3), "is \\(B, 21, 3\\)"),
        (torch.zeros(0, 21, 3), "B, 21, 3"),
        (torch.full((1, 21, 3), torch.nan), "finite"),
    ],
)
def test_joints_of_other_shapes_are_refused(model: HandModel, joints_m: Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        fit_hands(model, joints_m)


def test_fit_works_without_gradients(model: HandModel, fitted: FittedHands, joints: Tensor) -> None:
    with torch.inference_mode():
        again = fit_hands(HandModel.default(), joints.clone())
    assert all(torch.equal(one, other) for one, other in zip(again, fitted))


def test_a_hand_without_shape_coefficients_is_fitted(model: HandModel, joints: Tensor) -> None:
    arrays = replace(model.arrays, shapedirs=model.arrays.shapedirs[..., :0])
    fitted = fit_hands(HandModel(arrays), joints)
    assert fitted.shape.shape == (0,)
    assert fitted.error_m.max() < 0.005


def test_coincident_joints_give_finite_results(model: HandModel) -> None:
    fitted = fit_hands(model, torch.zeros(2, 21, 3))
    assert all(bool(part.isfinite().all()) for part in fitted)
