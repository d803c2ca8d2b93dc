"""Projection, fields of view and mirroring."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphhand.geometry import (
    flip_intrinsics,
    flip_points_cam,
    flip_points_px,
    intrinsics_matrix,
    project_perspective,
    project_weak_perspective,
    unproject,
)

K = intrinsics_matrix(500.0, 510.0, 160.0, 119.5)


def test_perspective_by_hand():
    point = torch.tensor([[0.1, -0.2, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(project_perspective(point, K)[0], torch.tensor([260.0, -84.5], dtype=torch.float64))


def test_unproject_inverts_project_for_a_batch_of_skewed_cameras():
    points = torch.randn(4, 21, 3, dtype=torch.float64) * 0.1 + torch.tensor([0.0, 0.0, 0.6], dtype=torch.float64)
    Ks = K + torch.rand(4, 1, 1, dtype=torch.float64) * torch.tensor(
        [[1.0, 20.0, 1], [0, 1, 1], [0, 0, 0]], dtype=torch.float64
    )
    torch.testing.assert_close(unproject(project_perspective(points, Ks), points[..., 2], Ks), points)


def test_points_behind_the_camera_stay_finite():
    assert project_perspective(torch.tensor([[0.1, 0.1, -1.0], [0.0, 0.0, 0.0]]), K.float()).isfinite().all()


def test_weak_perspective_is_the_limit_of_a_long_lens():
    points = torch.randn(21, 3, dtype=torch.float64) * 0.08
    distance = 1e5
    long_lens = intrinsics_matrix(1000 * distance, 1000 * distance, 64.0, 64.0)
    far = points + torch.tensor([0, 0, distance], dtype=torch.float64)
    weak = project_weak_perspective(points, torch.tensor(1000.0), torch.tensor([64.0, 64.0], dtype=torch.float64))
    torch.testing.assert_close(project_perspective(far, long_lens), weak, atol=1e-2, rtol=0)


@pytest.mark.parametrize("skew", [0.0, 14.0])
def test_mirrored_scene_in_mirrored_camera_is_the_mirrored_image(skew):
    width = 320
    skewed = K.clone()
    skewed[0, 1] = skew
    points = torch.randn(21, 3, dtype=torch.float64) * 0.1 + torch.tensor([0.05, 0.0, 0.6], dtype=torch.float64)
    mirrored = project_perspective(flip_points_cam(points), flip_intrinsics(skewed, width))
    torch.testing.assert_close(mirrored, flip_points_px(project_perspective(points, skewed), width))


@pytest.mark.parametrize("shape", [(), (4,)], ids=["one", "batch"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_mirroring_twice_is_the_identity_and_leaves_its_input_alone(kind, shape):
    rng = np.random.default_rng(0)
    flips = (
        (lambda K: flip_intrinsics(K, 320), rng.integers(-9, 900, (*shape, 3, 3)).astype(float)),
        (lambda pixels: flip_points_px(pixels, 320), rng.integers(-50, 400, (*shape, 21, 2)).astype(float)),
        (flip_points_cam, rng.normal(size=(*shape, 21, 3))),
    )
    for flip, array in flips:
        values = torch.from_numpy(array.copy()) if kind == "torch" else array.copy()
        once = flip(values)
        assert type(once) is type(values)
        np.testing.assert_array_equal(values, array)
        assert not np.array_equal(once, array)
        np.testing.assert_array_equal(flip(once), array)
