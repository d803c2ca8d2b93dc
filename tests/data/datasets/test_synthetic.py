from __future__ import annotations

import numpy as np
import pytest

from factories import hand_record
from graphhand.data import open_dataset
from graphhand.data.datasets.stb import K_SK_COLOR
from graphhand.data.datasets.synthetic import RenderedBenchmark
from graphhand.data.writing import RecordRenderer, write_dataset
from graphhand.errors import InputError
from graphhand.synthesis import benchmark


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


def test_rendered_benchmark_equals_the_written_one(tmp_path):
    render = RecordRenderer(benchmark.config("evaluation"))
    write_dataset(tmp_path, "rhd", "evaluation", render, range(2), provenance={})
    written, rendered = open_dataset("rhd", tmp_path, "evaluation"), RenderedBenchmark()
    for index in range(2):
        a, b = written[index], rendered[index]
        assert (a.name, a.side) == (b.name, b.side)
        assert np.abs(a.image.astype(int) - b.image).max() <= 2  # rounding depends on the batch
        np.testing.assert_allclose(a.joints_cam_m, b.joints_cam_m, atol=1e-6)
        np.testing.assert_allclose(a.joints_px, b.joints_px, atol=1e-3)
        np.testing.assert_array_equal(a.visible, b.visible)
        np.testing.assert_allclose(a.K, b.K, atol=1e-9)
    assert len(rendered) == 2728


def test_rendered_benchmark_refuses_other_splits_and_indices():
    with pytest.raises(InputError, match="no split 'test'"):
        RenderedBenchmark("test")
    with pytest.raises(IndexError):
        RenderedBenchmark()[2728]
