"""Metrics against naive references, against SciPy, and by their defining properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from graphhand import metrics
from graphhand.geometry import root_relative
from graphhand.skeleton import BONES


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def hands(rng, *batch):
    return rng.normal(scale=0.05, size=(*batch, 21, 3))


# ---------------------------------------------------------------- distances


def naive_errors_mm(predicted, truth):
    out = []
    for p, g in zip(predicted, truth):
        out.append([1000 * sum((a - b) ** 2 for a, b in zip(pj, gj)) ** 0.5 for pj, gj in zip(p, g)])
    return np.array(out)


def test_joint_errors_agree_with_a_naive_loop(rng):
    predicted, truth = hands(rng, 4), hands(rng, 4)
    np.testing.assert_allclose(metrics.joint_errors_mm(predicted, truth), naive_errors_mm(predicted, truth), rtol=1e-13)


def test_joint_errors_of_a_known_offset_are_in_millimetres(rng):
    truth = hands(rng, 2)
    errors = metrics.joint_errors_mm(truth + np.array([0.003, 0.004, 0.0]), truth)
    np.testing.assert_allclose(errors, 5.0)


def test_tensors_and_arrays_give_the_same(rng):
    predicted, truth = hands(rng, 3), hands(rng, 3)
    from_tensors = metrics.joint_errors_mm(torch.from_numpy(predicted).requires_grad_(), torch.from_numpy(truth))
    np.testing.assert_array_equal(from_tensors, metrics.joint_errors_mm(predicted, truth))


def test_pixel_errors_ignore_unlabelled_joints(rng):
    truth = rng.uniform(0, 224, size=(2, 21, 2))
    predicted = truth + np.array([3.0, -4.0])
    truth[0, 5] = np.nan
    valid = np.isfinite(truth).all(-1)
    errors = metrics.joint_errors_px(predicted, truth, valid)
    assert np.isnan(errors[0, 5])
    np.testing.assert_allclose(errors[valid], 5.0)


def test_nan_in_a_labelled_joint_is_named(rng):
    predicted, truth = hands(rng, 3), hands(rng, 3)
    predicted[1, 4, 2] = np.nan
    with pytest.raises(ValueError, match="prediction has a NaN or infinite coordinate at sample 1, joint 4"):
        metrics.joint_errors_mm(predicted, truth)
    truth[2, 7] = np.inf
    predicted[1, 4, 2] = 0
    with pytest.raises(ValueError, match=r"ground truth .* sample 2, joint 7"):
        metrics.procrustes_align(predicted, truth)


@pytest.mark.parametrize("bad", [np.zeros((21, 2)), np.zeros(3), np.zeros((2, 21, 3))])
def test_shapes_that_do_not_fit_are_refused(bad):
    with pytest.raises(ValueError, match="shape"):
        metrics.joint_errors_mm(np.zeros((21, 3)), bad)


def test_a_mask_must_be_boolean(rng):
    with pytest.raises(ValueError, match="boolean"):
        metrics.joint_errors_mm(hands(rng, 2), hands(rng, 2), np.ones((2, 21)))


def naive_bone_errors(predicted, truth):
    lengths, angles = [], []
    for child in range(1, 21):
        parent = 0 if child % 4 == 1 else child - 1
        p, g = predicted[child] - predicted[parent], truth[child] - truth[parent]
        lengths.append(1000 * abs(math.sqrt(p @ p) - math.sqrt(g @ g)))
        angles.append(math.degrees(math.acos(p @ g / math.sqrt((p @ p) * (g @ g)))))
    return lengths, angles


def test_bone_errors_agree_with_a_naive_loop(rng):
    predicted, truth = hands(rng, 2, 3), hands(rng, 2, 3)
    lengths, angles = metrics.bone_errors(predicted, truth)
    assert lengths.shape == angles.shape == (2, 3, 20)
    for at in np.ndindex(2, 3):
        expected = naive_bone_errors(predicted[at], truth[at])
        np.testing.assert_allclose((lengths[at], angles[at]), expected, rtol=1e-9)


def test_a_scaled_hands_bones_are_off_in_length_alone_and_a_turned_ones_in_direction_alone(rng):
    truth = hands(rng, 4)
    true_mm = np.stack([metrics.bone_length_m(truth, bone) for bone in BONES], axis=-1) * 1000
    lengths, angles = metrics.bone_errors(truth * 1.1 + 0.3, truth)
    np.testing.assert_allclose(lengths, 0.1 * true_mm, rtol=1e-9)
    np.testing.assert_allclose(angles, 0.0, atol=1e-10)
    flat = truth * [1.0, 1.0, 0.0]
    lengths, angles = metrics.bone_errors(flat @ Rotation.from_euler("z", 1e-6, degrees=True).as_matrix().T, flat)
    np.testing.assert_allclose(lengths, 0.0, atol=1e-12)
    np.testing.assert_allclose(angles, 1e-6, rtol=1e-6)  # where a cosine would say 0


def test_bones_without_a_labelled_end_or_a_length_do_not_count(rng):
    predicted, truth = hands(rng, 1), hands(rng, 1)
    truth[0, 8] = np.nan  # the index finger's tip: one bone
    predicted[0, 12] = predicted[0, 11]
    lengths, angles = metrics.bone_errors(predicted, truth, np.isfinite(truth).all(-1))
    assert np.flatnonzero(np.isnan(lengths[0])).tolist() == [BONES.index((7, 8))]
    assert np.flatnonzero(np.isnan(angles[0])).tolist() == [BONES.index((7, 8)), BONES.index((11, 12))]


# ---------------------------------------------------------------- alignments


@pytest.mark.parametrize("root", [0, 9])
def test_root_alignment_removes_translation(rng, root):
    joints = hands(rng, 5)
    moved = joints + rng.normal(size=(5, 1, 3))
    np.testing.assert_allclose(root_relative(joints, root), root_relative(moved, root), atol=1e-15)
    assert not root_relative(joints, root)[:, root].any()


@pytest.mark.parametrize("bone", [metrics.MIDDLE_PROXIMAL_BONE, metrics.WRIST_MIDDLE_BONE])
def test_bone_scale_gives_the_bone_its_true_length(rng, bone):
    predicted, truth = hands(rng, 4), hands(rng, 4)
    scaled = predicted * metrics.scale_to_bone(predicted, truth, bone)[:, None, None]
    np.testing.assert_allclose(metrics.bone_length_m(scaled, bone), metrics.bone_length_m(truth, bone))


def test_a_bone_without_length_is_refused(rng):
    predicted, truth = hands(rng, 2), hands(rng, 2)
    predicted[1, 9] = predicted[1, 10]
    with pytest.raises(ValueError, match="bone 9-10"):
        metrics.scale_to_bone(predicted, truth)


def test_least_squares_scale_is_a_minimum(rng):
    predicted, truth = hands(rng, 6), hands(rng, 6)
    truth += predicted
    s = metrics.scale_least_squares(predicted, truth)[:, None, None]

    def cost(factor):
        return ((factor * predicted - truth) ** 2).sum((-2, -1))

    assert (cost(s) < cost(s * 1.001)).all()
    assert (cost(s) < cost(s * 0.999)).all()


@pytest.mark.parametrize("valid_count", [21, 8])
def test_procrustes_undoes_any_similarity(rng, valid_count):
    truth = hands(rng, 6)
    R = Rotation.random(6, random_state=3).as_matrix()
    scale = rng.uniform(0.2, 5, size=6)
    predicted = scale[:, None, None] * np.einsum("bij,bnj->bni", R, truth) + rng.normal(size=(6, 1, 3))
    valid = np.arange(21) < valid_count
    predicted[:, ~valid] = np.nan
    aligned = metrics.procrustes_align(predicted, truth, np.broadcast_to(valid, (6, 21)))
    np.testing.assert_allclose(aligned[:, valid], truth[:, valid], atol=1e-12)


def test_procrustes_error_is_invariant_to_similarities_of_the_prediction(rng):
    predicted, truth = hands(rng, 6), hands(rng, 6)
    R = Rotation.random(6, random_state=4).as_matrix()
    moved = 2.5 * np.einsum("bij,bnj->bni", R, predicted) + [0.1, -0.3, 2.0]
    np.testing.assert_allclose(
        metrics.procrustes_align(moved, truth), metrics.procrustes_align(predicted, truth), atol=1e-12
    )


def test_procrustes_is_the_best_proper_rotation_scipy_finds(rng):
    predicted, truth = hands(rng, 8), hands(rng, 8)
    _, R, _ = metrics.similarity_transform(predicted, truth)
    for p, g, r in zip(predicted, truth, R):
        expected, _ = Rotation.align_vectors(g - g.mean(0), p - p.mean(0))
        np.testing.assert_allclose(r, expected.as_matrix(), atol=1e-8)


def test_procrustes_with_reflection_is_scipys_procrustes(rng):
    """FreiHAND's evaluation calls scipy.linalg.orthogonal_procrustes, which admits mirrored hands."""
    predicted, truth = hands(rng, 8), hands(rng, 8)
    aligned = metrics.procrustes_align(predicted, truth, reflection=True)
    for p, g, a in zip(predicted, truth, aligned):
        _, standard_prediction, disparity = scipy.spatial.procrustes(g, p)
        size = np.linalg.norm(g - g.mean(0))
        np.testing.assert_allclose((a - g.mean(0)) / size, standard_prediction, atol=1e-12)
        np.testing.assert_allclose(((a - g) ** 2).sum() / size**2, disparity, atol=1e-12)


def test_reflection_is_aligned_only_on_request(rng):
    truth = hands(rng, 3)
    mirrored = truth * [-1, 1, 1]
    np.testing.assert_allclose(metrics.procrustes_align(mirrored, truth, reflection=True), truth, atol=1e-12)
    s, R, _ = metrics.similarity_transform(mirrored, truth)
    np.testing.assert_allclose(np.linalg.det(R), 1.0)
    assert metrics.joint_errors_mm(metrics.procrustes_align(mirrored, truth), truth).mean() > 10
    assert (s > 0).all()


def test_rigid_procrustes_keeps_the_size(rng):
    predicted, truth = hands(rng, 3), hands(rng, 3)
    aligned = metrics.procrustes_align(predicted, truth, scale=False)
    np.testing.assert_allclose(metrics.bone_length_m(aligned), metrics.bone_length_m(predicted))


def test_procrustes_error_is_at_most_the_root_and_scale_error(rng):
    predicted, truth = hands(rng, 20), hands(rng, 20)
    squared = {}
    squared["pa"] = metrics.joint_errors_mm(metrics.procrustes_align(predicted, truth), truth)
    p, g = root_relative(predicted), root_relative(truth)
    squared["scale"] = metrics.joint_errors_mm(p * metrics.scale_least_squares(p, g)[:, None, None], g)
    squared["root"] = metrics.joint_errors_mm(p, g)
    sums = {name: (e**2).sum(-1) for name, e in squared.items()}
    assert (sums["pa"] <= sums["scale"]).all()
    assert (sums["scale"] <= sums["root"]).all()


@pytest.mark.parametrize(
    "function",
    [
        metrics.joint_errors_mm,
        metrics.scale_to_bone,
        metrics.scale_least_squares,
        metrics.procrustes_align,
    ],
    ids=["errors", "bone", "least squares", "procrustes"],
)
def test_a_batch_equals_its_items(rng, function):
    predicted, truth = hands(rng, 2, 3), hands(rng, 2, 3)
    batch = function(predicted, truth)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(batch[index], function(predicted[index], truth[index]))


def test_procrustes_refuses_degenerate_poses(rng):
    truth = hands(rng, 2)
    with pytest.raises(ValueError, match="at least 3 labelled joints, a sample has 2"):
        metrics.procrustes_align(truth, truth, np.broadcast_to(np.arange(21) < 2, (2, 21)))
    with pytest.raises(ValueError, match="one point"):
        metrics.procrustes_align(np.zeros_like(truth), truth)
    with pytest.raises(ValueError, match="one point"):
        metrics.scale_least_squares(np.zeros_like(truth), truth)


# ---------------------------------------------------------------- summaries


def naive_pck(errors, thresholds):
    """Zimmermann & Brox's order of averaging, spelled out."""
    curve = []
    for t in thresholds:
        per_joint = []
        for joint in errors.T:
            counted = [e for e in joint if not np.isnan(e)]
            per_joint.append(sum(e <= t for e in counted) / len(counted))
        curve.append(sum(per_joint) / len(per_joint))
    return np.array(curve)


def test_pck_and_mean_agree_with_a_naive_loop(rng):
    errors = rng.gamma(2, 12, size=(40, 21))
    errors[rng.random(errors.shape) < 0.3] = np.nan
    grid = metrics.THRESHOLD_GRIDS["zb-20-50x12"]
    np.testing.assert_allclose(metrics.pck(errors, grid), naive_pck(errors, grid))
    assert metrics.average_error(errors) == pytest.approx(np.mean([np.nanmean(j) for j in errors.T]))
    assert metrics.average_error(errors, "samples") == pytest.approx(np.mean([np.nanmean(s) for s in errors]))
    assert metrics.average_error(errors, "pooled") == pytest.approx(np.nanmean(errors))
    assert metrics.pck(errors, grid, "pooled")[3] == pytest.approx(np.mean(errors[~np.isnan(errors)] <= grid[3]))


def test_the_orders_of_averaging_agree_when_every_joint_counts(rng):
    errors = rng.gamma(2, 12, size=(40, 21))
    grid = metrics.THRESHOLD_GRIDS["0-50x100"]
    for average in ("samples", "pooled"):
        assert metrics.average_error(errors, average) == pytest.approx(metrics.average_error(errors, "joints"))
        np.testing.assert_allclose(metrics.pck(errors, grid, average), metrics.pck(errors, grid, "joints"))


def test_pck_counts_an_error_equal_to_the_threshold():
    np.testing.assert_array_equal(metrics.pck([[20.0, 30.0]], [10.0, 20.0, 30.0], "pooled"), [0.0, 0.5, 1.0])


@pytest.mark.parametrize("grid", metrics.THRESHOLD_GRIDS)
def test_no_error_gives_an_auc_of_one(grid):
    thresholds = metrics.THRESHOLD_GRIDS[grid]
    curve = metrics.pck(np.zeros((3, 21)), thresholds)
    assert (curve == 1).all()
    assert metrics.auc(thresholds, curve) == pytest.approx(1.0)
    assert metrics.auc(thresholds, metrics.pck(np.full((3, 21), 51.0), thresholds)) == 0.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 120, allow_nan=False), min_size=21, max_size=63))
def test_pck_rises_and_stays_within_zero_and_one(values):
    errors = np.array(values[: len(values) // 21 * 21]).reshape(-1, 21)
    curve = metrics.pck(errors, metrics.THRESHOLD_GRIDS["0-50x100"])
    assert (np.diff(curve) >= 0).all()
    assert 0 <= curve[0] <= curve[-1] <= 1


def test_area_above_the_curve_is_the_truncated_mean_error(rng):
    errors = rng.gamma(2, 12, size=(200, 21))
    grid = np.linspace(0, 50, 20001)
    area = metrics.area_above_curve(grid, metrics.pck(errors, grid))
    assert area == pytest.approx(np.minimum(errors, 50).mean(), abs=2e-3)


def test_counting_a_perfect_root_scales_the_mean_by_twenty_twentyfirsts(rng):
    predicted, truth = hands(rng, 30), hands(rng, 30)
    errors = metrics.joint_errors_mm(root_relative(predicted), root_relative(truth))
    assert metrics.average_error(errors[:, 1:]) == pytest.approx(metrics.average_error(errors) * 21 / 20)
    # and it starts the curve at 1/21, the mark by which a root-counting curve is recognised
    assert metrics.pck(errors, [0.0, 1e-9])[0] == pytest.approx(1 / 21)


def test_named_grids_have_the_range_and_the_points_of_their_name():
    zb = metrics.THRESHOLD_GRIDS["zb-20-50x12"]
    assert len(zb) == 12
    assert zb[0] == pytest.approx(21.0526, abs=1e-4)  # not 20: the grid is a tail of linspace(0, 50, 20)
    for name, grid in metrics.THRESHOLD_GRIDS.items():
        low, rest = name.removeprefix("zb-").split("-")
        high, points = rest.split("x")
        assert len(grid) == int(points)
        assert float(low) <= grid[0] < float(low) + 50 / 19
        assert grid[-1] == float(high)


@pytest.mark.parametrize("errors", [np.zeros((0, 21)), np.full((2, 21), np.nan)])
def test_an_average_over_nothing_is_an_error(errors):
    with pytest.raises(ValueError, match="no error to average"):
        metrics.average_error(errors)


@pytest.mark.parametrize("grid", [[], [1.0], [1.0, 1.0], [2.0, 1.0]])
def test_thresholds_must_rise(grid):
    with pytest.raises(ValueError, match="rising"):
        metrics.pck(np.zeros((1, 21)), grid)


def test_a_curve_must_fit_its_thresholds():
    with pytest.raises(ValueError, match="thresholds"):
        metrics.auc([0, 1, 2], [0.5, 1.0])
