"""Each loss of the paper against numbers worked by hand, and its behaviour at the edges."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from graphhand.geometry import axis_angle_to_matrix
from graphhand.losses import (
    adversarial_loss,
    background_heatmap_loss,
    bone_direction_loss,
    bone_length_loss,
    critic_loss,
    depth_loss,
    handedness_loss,
    heatmap_loss,
    pose_loss,
    pose_prior_loss,
    projection_loss,
)
from graphhand.skeleton import BONES, Joint, bone_vectors

ALL = torch.ones(2, dtype=torch.bool)
LABELLED = torch.ones(2, 21, dtype=torch.bool)


def _pose(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 21, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.1


def test_bone_vectors_point_from_parent_to_child():
    joints = _pose()
    for k, (parent, child) in enumerate(BONES):
        torch.testing.assert_close(bone_vectors(joints)[:, k], joints[:, child] - joints[:, parent])


def test_pose_loss_is_the_mean_distance_in_millimetres():
    target = _pose()
    predicted = target.clone()
    predicted[0, Joint.INDEX_TIP] += torch.tensor([0.003, 0.0, 0.004])  # 5 mm, one joint of 42
    assert pose_loss(predicted, target, ALL).item() == pytest.approx(5 / 42)


def test_projection_loss_counts_labelled_joints_in_pixels_of_a_224_crop():
    target = torch.zeros(2, 21, 2)
    predicted = target.clone()
    predicted[0, 4] = torch.tensor([3.0, 4.0])
    predicted[0, 5] = 1e6
    labelled = LABELLED.clone()
    labelled[0, 5] = False
    assert projection_loss(predicted, target, labelled, 224).item() == pytest.approx(5 / 20 / 2)
    assert projection_loss(predicted, target, labelled, 112).item() == pytest.approx(2 * 5 / 20 / 2)


def test_projection_loss_ignores_samples_without_labels():
    predicted, target = torch.ones(2, 21, 2, requires_grad=True), torch.zeros(2, 21, 2)
    labelled = LABELLED.clone()
    labelled[1] = False
    target[1] = math.nan
    loss = projection_loss(predicted, target, labelled, 224)
    assert loss.item() == pytest.approx(math.sqrt(2))
    loss.backward()
    assert predicted.grad is not None
    assert (predicted.grad[1] == 0).all()


def _gaussian_heatmaps(target_px, size, cells):
    """Slow twin: the logits of a Gaussian of one cell about each joint, cell by cell."""
    logits = torch.zeros(*target_px.shape[:2], cells, cells)
    cell = size / cells
    for b, j, row, column in itertools.product(*(range(n) for n in logits.shape)):
        u, v = (cell * (k + 0.5) - 0.5 for k in (column, row))  # the middle of the cell, pixels
        squared = (u - target_px[b, j, 0]) ** 2 + (v - target_px[b, j, 1]) ** 2
        logits[b, j, row, column] = -0.5 * squared / cell**2
    return logits


def test_heatmap_loss_is_zero_for_a_gaussian_about_the_joint_only():
    target = torch.rand(2, 21, 2, generator=torch.Generator().manual_seed(0)) * 60
    labelled = torch.ones(2, 21, dtype=torch.bool)
    logits = _gaussian_heatmaps(target, 64, 8)
    assert heatmap_loss(logits + 3.0, target, labelled, 64).item() == pytest.approx(0, abs=1e-5)
    assert heatmap_loss(logits, target + 4.0, labelled, 64).item() > 0.05
    assert heatmap_loss(torch.zeros_like(logits), target, labelled, 64).item() > 1.0


def test_heatmap_loss_is_the_divergence_from_a_gaussian_drawn_on_the_grid():
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(3, 21, 2, generator=generator) * 90 - 10  # some outside a crop of 64 x 64
    labelled = torch.rand(3, 21, generator=generator) < 0.8
    labelled[2] = False
    logits = (5 * torch.randn(3, 21, 8, 16, generator=generator)).requires_grad_()  # cells of 8 by 4 pixels

    by_row = []
    for b in range(2):
        by_joint = []
        for j in range(21):
            u, v = (float(x) for x in (target[b, j] + 0.5) / torch.tensor([4.0, 8.0]) - 0.5)
            if not labelled[b, j] or not (-0.5 < u < 15.5 and -0.5 < v < 7.5):
                continue
            exponents = [-0.5 * ((row - v) ** 2 + (column - u) ** 2) for row in range(8) for column in range(16)]
            log_gaussian = torch.tensor(exponents).log_softmax(0)
            by_joint.append((log_gaussian.exp() * (log_gaussian - logits[b, j].flatten().log_softmax(0))).sum())
        by_row.append(torch.stack(by_joint).mean())
    naive = torch.stack(by_row).mean()
    loss = heatmap_loss(logits, target, labelled, 64)
    torch.testing.assert_close(loss, naive, rtol=1e-5, atol=1e-5)
    (gradient,), (slow,) = torch.autograd.grad(loss, logits), torch.autograd.grad(naive, logits)
    torch.testing.assert_close(gradient, slow, rtol=1e-4, atol=1e-6)


def test_heatmap_loss_ignores_joints_outside_the_crop_and_unlabelled_ones():
    target = torch.full((1, 21, 2), 20.0)
    logits = _gaussian_heatmaps(target, 64, 8).requires_grad_()
    target[0, 3], target[0, 4] = torch.tensor([-30.0, 5.0]), torch.tensor([math.nan, 5.0])
    labelled = torch.ones(1, 21, dtype=torch.bool)
    labelled[0, 4] = False
    loss = heatmap_loss(logits, target, labelled, 64)
    assert loss.item() == pytest.approx(0, abs=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_background_heatmap_loss_is_zero_for_even_heatmaps_and_where_there_is_a_hand():
    is_negative = torch.tensor([False, True, True])
    logits = torch.randn(3, 21, 8, 8, generator=torch.Generator().manual_seed(0))
    even = torch.full((1, 1, 1, 1), 4.0).expand(1, 21, 8, 8)
    assert background_heatmap_loss(torch.cat([logits[:1], even, even]), is_negative).item() == pytest.approx(
        0, abs=1e-6
    )
    assert background_heatmap_loss(logits, torch.zeros(3, dtype=torch.bool)).item() == 0
    uniform = torch.full((21, 8, 8), 1 / 64).flatten(1)
    by_row = [F.kl_div(x.flatten(1).log_softmax(-1), uniform, reduction="none").sum(-1).mean() for x in logits[1:]]
    assert background_heatmap_loss(logits, is_negative).item() == pytest.approx(float(sum(by_row)) / 2, rel=1e-5)
    peaked = 100 * F.one_hot(torch.arange(21), 64).float().view(1, 21, 8, 8)
    assert background_heatmap_loss(peaked, torch.tensor([True])).item() > 10


def test_depth_loss_by_hand():
    target = _pose().float()
    depths = target[..., 2].clone()
    depths[0, 5] += 0.021
    assert depth_loss(depths, target, ALL).item() == pytest.approx(1.0 / 2, rel=1e-4)
    assert depth_loss(depths, target, torch.tensor([False, True])).item() == pytest.approx(0, abs=1e-6)


def test_bone_length_loss_by_hand():
    # Eq. 5: stretching one end bone by 2 mm in one of two samples; the sum over bones, the mean over samples.
    target = _pose()
    predicted = target.clone()
    bone = target[0, Joint.RING_TIP] - target[0, Joint.RING_DIP]
    predicted[0, Joint.RING_TIP] += bone / bone.norm() * 0.002
    assert bone_length_loss(predicted, target, ALL).item() == pytest.approx(2 / 2)


def test_bone_direction_loss_by_hand():
    # Eq. 6: turning one end bone by an angle a moves its unit vector by 2 sin(a / 2).
    target = _pose()
    predicted = target.clone()
    bone = target[1, Joint.THUMB_TIP] - target[1, Joint.THUMB_IP]
    axis = torch.linalg.cross(bone, torch.tensor([0.3, 1.0, -0.5], dtype=torch.float64))
    turned = axis_angle_to_matrix(axis / axis.norm() * 0.4) @ bone
    predicted[1, Joint.THUMB_TIP] = target[1, Joint.THUMB_IP] + 3.0 * turned  # its length does not matter
    assert bone_direction_loss(predicted, target, ALL).item() == pytest.approx(2 * math.sin(0.2) / 2)
    assert bone_length_loss(predicted, target, ALL).item() == pytest.approx(2 * 1000 * bone.norm().item() / 2)


def test_length_loss_is_invariant_to_rotation_and_direction_loss_to_scale():
    target = _pose()
    R = axis_angle_to_matrix(torch.tensor([0.1, 0.5, -0.3], dtype=torch.float64))
    assert bone_length_loss(target @ R.T, target, ALL).item() == pytest.approx(0, abs=1e-9)
    assert bone_direction_loss(1.7 * target, target, ALL).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("loss", [pose_loss, bone_length_loss, bone_direction_loss])
def test_zero_at_the_truth_with_finite_gradient(loss):
    target = _pose()
    predicted = target.clone().requires_grad_()
    value = loss(predicted, target, ALL)
    assert value.item() == pytest.approx(0, abs=1e-12)
    value.backward()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()


@pytest.mark.parametrize("loss", [pose_loss, bone_length_loss, bone_direction_loss])
def test_samples_without_a_pose_do_not_count(loss):
    target, predicted = _pose(), _pose(1)
    only_first = torch.tensor([True, False])
    expected = loss(predicted[:1], target[:1], ALL[:1])
    torch.testing.assert_close(loss(predicted, target, only_first), expected)
    assert loss(predicted, target, ~ALL).item() == 0


@pytest.mark.parametrize("loss", [pose_loss, bone_length_loss, bone_direction_loss])
def test_placeholder_poses_have_no_gradient(loss):
    target = _pose()
    only_first = torch.tensor([True, False])
    gradients = []
    for unknown in (0.0, float("nan"), float("inf")):
        target[1] = unknown
        predicted = _pose(1).requires_grad_()
        loss(predicted, target, only_first).backward()
        gradients.append(predicted.grad)
    assert gradients[0].isfinite().all()
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


@pytest.mark.parametrize("loss", [pose_loss, bone_length_loss, bone_direction_loss])
@pytest.mark.parametrize("length_m", [0.0, 1e-9, 1e-6])
def test_collapsed_prediction_has_a_gradient_of_bounded_size(loss, length_m):
    """A loss in millimetres changes by a thousand a metre; no bone's direction outweighs it a hundredfold."""
    predicted = (length_m * _pose(1).float()).requires_grad_()
    loss(predicted, _pose().float(), ALL).backward()
    assert predicted.grad is not None
    assert predicted.grad.abs().max() < 1e5


def test_wasserstein_losses_by_hand():
    real, fake = torch.tensor([2.0, 4.0]), torch.tensor([1.0, -2.0])
    assert critic_loss(real, fake).item() == pytest.approx(-0.5 - 3.0)
    assert adversarial_loss(fake).item() == pytest.approx(0.5)


def test_hinge_loss_by_hand():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.5])
    assert critic_loss(real, fake, "hinge").item() == pytest.approx(0.25 + 0.75)


def test_handedness_loss_rewards_the_right_sign():
    is_right = torch.tensor([True, False])
    assert handedness_loss(torch.tensor([5.0, -5.0]), is_right) < handedness_loss(torch.tensor([0.0, 0.0]), is_right)


def test_the_pose_prior_is_zero_at_rest_and_two_at_a_half_turn():
    shown = torch.tensor([True])
    assert pose_prior_loss(torch.eye(3).expand(1, 4, 3, 3), shown) == 0
    assert pose_prior_loss(torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(1, 1, 3, 3), shown) == 2
