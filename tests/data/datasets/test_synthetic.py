from __future__ import annotations

import numpy as np
import pytest

from factories import hand_record
from graphhand.data.datasets.stb import K_SK_COLOR


def brightness_at(image, pixels):
    at = np.rint(pixels).astype(int)
    return image[at[:, 1], at[:, 0]].astype(int).sum(axis=1)


def test_mirroring_twice_is_the_identity():
    original = hand_record(0)
    mirrored = original.mirrored()
    assert mirrored.side == "left"
    assert brightness_at(mirrored.image, mirrored.joints_px).min() > 600
    again = mirrored.mirrored()
    assert again.side == "right"
    np.testing.assert_array_equal(again.image, original.image)
    np.testing.assert_array_equal(again.joints_cam_m, original.joints_cam_m)
    np.testing.assert_allclose(again.K, original.K)


@pytest.mark.parametrize("seed", range(3))
def test_image_and_labels_agree_after_a_change_of_intrinsics(seed):
    seen = hand_record(seed, size=480).seen_by(K_SK_COLOR, 640, 480)
    assert seen.image.shape == (480, 640, 3)
    assert brightness_at(seen.image, seen.joints_px).min() > 500
    at = np.rint(seen.joints_px).astype(int)
    nearest = np.abs(seen.depth_m[at[:, 1], at[:, 0], None] - seen.joints_cam_m[None, :, 2]).min(axis=1)
    assert nearest.max() < 1e-6


def test_joints_outside_the_image_are_not_visible():
    original = hand_record(0)
    original.visible[:] = True
    K = original.K.copy()
    K[0, 2] -= 160
    shifted = original.seen_by(K, 320, 320)
    outside = shifted.joints_px[:, 0] < -0.5
    assert outside.any()
    np.testing.assert_array_equal(shifted.visible, ~outside)
