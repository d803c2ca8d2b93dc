from __future__ import annotations

import numpy as np
import pytest

from graphhand.data import HandSample

GOOD = {
    "image": np.zeros((4, 5, 3), np.uint8),
    "joints_px": np.zeros((21, 2)),
    "visible": np.ones(21),
    "side": "left",
    "name": "a",
}


def test_a_sample_has_the_documented_types():
    sample = HandSample(**GOOD, joints_cam_m=np.ones((21, 3)), K=np.eye(3, dtype=np.float32), box_px=[0, 0, 1, 1])
    assert sample.joints_px.dtype == np.float32
    assert sample.visible.dtype == np.bool_
    assert sample.joints_cam_m.dtype == np.float32
    assert sample.K.dtype == np.float64
    assert sample.box_px.dtype == np.float64


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", np.zeros((4, 5), np.uint8)),
        ("image", np.zeros((4, 5, 3), np.float32)),
        ("joints_px", np.zeros((20, 2))),
        ("joints_px", np.zeros((21, 3))),
        ("visible", np.ones(42)),
        ("side", "both"),
        ("joints_cam_m", np.zeros((42, 3))),
        ("K", np.zeros((3, 4))),
        ("box_px", np.zeros(3)),
    ],
)
def test_wrong_shapes_and_types_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        HandSample(**{**GOOD, field: value})


def test_a_joint_is_labelled_where_both_coordinates_are_numbers():
    pixels = np.zeros((21, 2))
    pixels[3, 0] = np.nan
    labelled = HandSample(**{**GOOD, "joints_px": pixels}).labelled
    assert not labelled[3]
    assert labelled.sum() == 20


def test_a_pose_with_a_hole_counts_as_2d_only():
    joints = np.ones((21, 3))
    assert HandSample(**GOOD, joints_cam_m=joints).has_3d
    joints[5] = np.nan
    assert not HandSample(**GOOD, joints_cam_m=joints).has_3d
    assert not HandSample(**GOOD).has_3d
