from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphhand.data.validation import CheckedOnce, project, require_plausible
from graphhand.errors import InputError


def moved(sample, function):
    """The sample with changed 3D labels and pixels that still agree with them."""
    joints = function(sample.joints_cam_m.astype(np.float64))
    return replace(sample, joints_cam_m=joints)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("side", ["left", "right"])
def test_plausible_samples_pass(dotted_sample, seed, side):
    sample = dotted_sample(seed, side)
    assert require_plausible(sample, "labels.json") is sample


CASES = {
    "millimetres": (lambda s: moved(s, lambda j: j * 1000), "joints_cam_m.*millimetres"),
    "centimetres": (lambda s: moved(s, lambda j: j * 100), "joints_cam_m.*centimetres"),
    "metres taken for millimetres": (lambda s: moved(s, lambda j: j / 1000), "joints_cam_m.*kilometres"),
    "opengl": (lambda s: moved(s, lambda j: j * [1, -1, -1]), "joints_cam_m.*OpenGL"),
    "all nan": (lambda s: moved(s, lambda j: j * np.nan), "joints_cam_m.*NaN"),
    "one behind": (lambda s: moved(s, lambda j: np.where(np.arange(21)[:, None] == 3, -j, j)), "1 joints lie behind"),
    "far away": (lambda s: moved(s, lambda j: j + np.array([0, 0, 100])), "joints_cam_m.*away"),
    "mirrored": (lambda s: moved(s, lambda j: j * [-1, 1, 1]), "joints_cam_m.*px from joints_px"),
    "wrong order": (lambda s: moved(s, lambda j: j[::-1]), "joints_cam_m.*px from joints_px"),
    "other image": (lambda s: replace(s, joints_px=s.joints_px + 3000), "joints_px.*far off"),
    "all zero": (lambda s: replace(s, joints_px=np.zeros((21, 2)), joints_cam_m=None), "joints_px.*within"),
    "unlabelled": (lambda s: replace(s, joints_px=np.full((21, 2), np.nan), joints_cam_m=None), "no joint is labelled"),
    "3d alone": (lambda s: replace(s, joints_px=np.full((21, 2), np.nan)), "no joint is labelled"),
    "transposed camera": (lambda s: replace(s, K=s.K.T), "K: not a camera"),
    "zero focal": (lambda s: replace(s, K=np.diag([0.0, 0.0, 1.0])), "K: not a camera"),
    "focal in image widths": (lambda s: replace(s, K=np.diag([0.9, 1.2, 1.0])), "K: no image.*pixels"),
    "vast focal": (lambda s: replace(s, K=np.diag([1e300, 1e300, 1.0])), "K: no image"),
    "vast principal point": (lambda s: replace(s, K=s.K + np.eye(3)[:, :1] @ [[0, 0, 1e300]]), "K: no image"),
    "half a box": (lambda s: replace(s, box_px=[np.nan, 0, 10, 10]), "box_px: no box"),
    "vast box": (lambda s: replace(s, box_px=[0, 0, np.inf, 10]), "box_px: no box"),
    "flat box": (lambda s: replace(s, box_px=[0, 0, 10, -1]), "box_px: no box"),
    "other image's box": (lambda s: replace(s, box_px=[9000, 0, 10, 10]), "box_px.*far off"),
}


@pytest.mark.parametrize("case", CASES)
def test_implausible_labels_are_reported_with_their_likely_cause(dotted_sample, case):
    spoil, message = CASES[case]
    with pytest.raises(InputError, match=message) as caught:
        require_plausible(spoil(dotted_sample(0)), "labels.json")
    assert str(caught.value).startswith("labels.json: sample right-0, ")
    assert "\n" not in str(caught.value)


def test_a_partly_labelled_pose_passes(dotted_sample):
    sample = dotted_sample(0)
    joints = sample.joints_cam_m.copy()
    joints[2:] = np.nan
    require_plausible(replace(sample, joints_cam_m=joints), "labels.json")


def test_projection_matches_a_hand_worked_point():
    K = [[100.0, 0, 50], [0, 200.0, 60], [0, 0, 1]]
    # u = 100 * 0.2 / 2 + 50, v = 200 * -0.1 / 2 + 60
    np.testing.assert_allclose(project([[0.2, -0.1, 2.0]], K), [[60.0, 50.0]])


def test_plausible_samples_are_checked_once_and_others_at_each_read(dotted_sample, monkeypatch):
    looked = []
    monkeypatch.setattr(
        "graphhand.data.validation._check_2d", lambda sample: looked.append(sample.name) or ("", "", "")
    )
    checked, fine, wrong = CheckedOnce(2), dotted_sample(0), replace(dotted_sample(1), K=np.zeros((3, 3)))
    for _ in range(3):
        assert checked(0, fine, "labels.json") is fine
        with pytest.raises(InputError, match="K: not a camera"):
            checked(1, wrong, "labels.json")
    assert looked == ["right-0"]
