from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from graphhand.data import STB
from graphhand.data.datasets.stb import (
    BACKGROUNDS,
    BASELINE_M,
    K_BB,
    K_SK_COLOR,
    MOTIONS,
    color_to_depth,
    depth_to_color,
    move_palm_to_wrist,
)
from graphhand.errors import InputError
from graphhand.io import write_image
from graphhand.skeleton import Joint

FRAMES = 2


def test_depth_to_colour_matches_a_hand_worked_point():
    """Rodrigues by hand, to second order in the angle: R ~ I + [r] + [r]^2 / 2, |r| = 0.0134."""
    rx, ry, rz = 0.00531, -0.01196, 0.00301
    skew = np.array([[0, -rz, ry], [rz, 0, -rx], [-ry, rx, 0]])
    R = np.eye(3) + skew + skew @ skew / 2
    point = np.array([0.02, -0.03, 0.5])
    expected = R.T @ (point - np.array([-0.0240381, -0.0004563, -0.0012326]))
    np.testing.assert_allclose(depth_to_color(point), expected, atol=1e-6)
    # To first order v - r x v with v = X - t = (0.04404, -0.02954, 0.50123) and r x v = (-0.00591, -0.00253, 0.00037).
    np.testing.assert_allclose(depth_to_color(point), [0.04995, -0.02701, 0.50086], atol=5e-5)


def test_the_published_direction_is_colour_to_depth():
    """The owner's README: the vectors take colour-camera coordinates to depth-camera ones."""
    np.testing.assert_allclose(color_to_depth(np.zeros(3)), [-0.0240381, -0.0004563, -0.0012326], atol=1e-12)
    points = np.random.default_rng(0).normal(size=(7, 21, 3))
    np.testing.assert_allclose(depth_to_color(color_to_depth(points)), points, atol=1e-12)


def test_the_wrong_direction_would_be_off_by_centimetres():
    point = np.array([0.0, 0.0, 0.5])
    assert 0.05 < np.linalg.norm(depth_to_color(point) - color_to_depth(point)) < 0.07


@pytest.mark.parametrize(
    ("rule", "wrist"),
    [
        ("ge", (-3.0, 10.0)),  # 2 (0, 5) - (3, 0)
        ("bihand", (0.0, 12.2)),  # (0, -1) + 2.2 ((0, 5) - (0, -1))
        ("peclr", (0.0, 11.0)),  # 2 (0, 5) - (0, -1)
        ("four-knuckles", (-1.5625, 11.25)),  # mean knuckle (1.25, 0): 1.25 - 2.25 * 1.25, 2.25 * 5
        ("palm", (0.0, 5.0)),
    ],
)
def test_wrist_rules_match_hand_worked_numbers(rule, wrist):
    """Knuckles: index (-4, 1), middle (0, -1), ring (3, 0), little (6, 0); palm centre (0, 5); all at z = 100."""
    joints = np.zeros((21, 3))
    joints[:, 2] = 100.0
    joints[0, :2] = (0, 5)
    joints[Joint.INDEX_MCP, :2] = (-4, 1)
    joints[Joint.MIDDLE_MCP, :2] = (0, -1)
    joints[Joint.RING_MCP, :2] = (3, 0)
    joints[Joint.LITTLE_MCP, :2] = (6, 0)
    moved = move_palm_to_wrist(joints, rule)
    np.testing.assert_allclose(moved[0], [*wrist, 100.0], atol=1e-12)
    np.testing.assert_array_equal(moved[1:], joints[1:])


@pytest.fixture
def hand_para(hand_m):
    """(frames, 21, 3) millimetres in STB's order: a left hand before the labelling camera, its palm centre first."""
    frames = []
    for seed in range(FRAMES):
        joints = hand_m(np.random.default_rng(seed)) * [-1.0, 1.0, 1.0] * 1000.0
        palm = (joints[0] + joints[Joint.RING_MCP]) / 2
        fingers = [joints[1 + 4 * finger : 5 + 4 * finger] for finger in (4, 3, 2, 1, 0)]
        frames.append(np.concatenate([palm[None], *fingers]))
    return np.array(frames)


@pytest.fixture(params=["images", "."])
def tree(request, tmp_path, hand_para):
    """Both folder layouts that circulate."""
    (tmp_path / "labels").mkdir()
    for sequence in (background + motion for background in BACKGROUNDS for motion in MOTIONS):
        folder = tmp_path / request.param / sequence
        folder.mkdir(parents=True)
        for camera in ("SK", "BB"):
            scipy.io.savemat(
                tmp_path / "labels" / f"{sequence}_{camera}.mat", {"handPara": hand_para.transpose(2, 1, 0)}
            )
        for frame in range(FRAMES):
            for k, view in enumerate(("SK_color", "BB_left", "BB_right")):
                image = np.full((48, 64, 3), 80 * k + frame, np.uint8)
                write_image(folder / f"{view}_{frame}.png", np.repeat(np.repeat(image, 10, 0), 10, 1))
    return tmp_path


def test_the_split_is_the_first_background_against_the_rest(tree):
    test, train = STB(tree, "test"), STB(tree, "train")
    assert (len(test), len(train)) == (2 * FRAMES, 10 * FRAMES)
    assert {test[i].name.split("/")[0] for i in range(len(test))} == {"B1Counting", "B1Random"}
    assert not any("B1" in train[i].name for i in range(len(train)))


def test_colour_labels_are_moved_to_the_colour_camera(tree, hand_para):
    sample = STB(tree, "test")[1]
    assert sample.name == "B1Counting/SK_color_1"
    assert sample.side == "left"
    assert sample.image[0, 0, 0] == 1
    index_tip_mm = hand_para[1, 16]
    np.testing.assert_allclose(sample.joints_cam_m[8], depth_to_color(index_tip_mm / 1000), atol=1e-6)
    expected_px = (sample.joints_cam_m / sample.joints_cam_m[:, 2:]) @ K_SK_COLOR[:2].T
    np.testing.assert_allclose(sample.joints_px, expected_px, atol=1e-3)


def test_the_default_wrist_rule_is_that_of_ge(tree, hand_para, hand_m):
    """The fixture's palm is halfway between wrist and ring knuckle, where that rule is exact."""
    sample = STB(tree, "test")[0]
    wrist = hand_m(np.random.default_rng(0))[0] * [-1.0, 1.0, 1.0]
    np.testing.assert_allclose(sample.joints_cam_m[0], depth_to_color(wrist), atol=1e-6)
    palm = STB(tree, "test", wrist_rule="palm")[0]
    np.testing.assert_allclose(palm.joints_cam_m[0], depth_to_color(hand_para[0, 0] / 1000), atol=1e-6)
    assert STB(tree, "test", wrist_rule="palm").protocol["wrist_rule"] == "palm"


def test_the_stereo_half_has_two_views_a_baseline_apart(tree, hand_para):
    dataset = STB(tree, "test", views=("BB_left", "BB_right"))
    assert len(dataset) == 4 * FRAMES
    left, right = dataset[0], dataset[FRAMES]
    assert (left.name, right.name) == ("B1Counting/BB_left_0", "B1Counting/BB_right_0")
    np.testing.assert_allclose(left.joints_cam_m[8], hand_para[0, 16] / 1000, atol=1e-6)
    np.testing.assert_allclose(right.joints_cam_m, left.joints_cam_m - np.float32([BASELINE_M, 0, 0]), atol=1e-6)
    # The right camera sees the hand further left, by f b / z.
    shift = (left.joints_px - right.joints_px)[:, 0] * left.joints_cam_m[:, 2] / K_BB[0, 0]
    np.testing.assert_allclose(shift, BASELINE_M, atol=1e-5)


def test_one_view_may_be_named_alone(tree):
    alone, listed = STB(tree, "test", views="BB_left"), STB(tree, "test", views=["BB_left"])
    assert alone.views == listed.views == ("BB_left",)
    assert [sample.name for sample in alone] == [sample.name for sample in listed]


def test_only_the_labels_in_use_are_needed(tree):
    for path in (tree / "labels").glob("*_BB.mat"):
        path.unlink()
    STB(tree, "test")
    with pytest.raises(InputError, match=r"B1Counting_BB\.mat: no such file"):
        STB(tree, "test", views=("BB_left",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"handPara": np.zeros((21, 3, 5))}, r"shape \(21, 3, 5\), not \(3, 21, frames\)"),
        ({"hand": np.zeros((3, 21, 5))}, "no variable 'handPara'"),
        (None, "not readable as a MATLAB file"),
    ],
)
def test_a_broken_label_file_is_named(tree, content, message):
    path = tree / "labels" / "B1Random_SK.mat"
    if content is None:
        path.write_bytes(path.read_bytes()[:300])
    else:
        scipy.io.savemat(path, content)
    with pytest.raises(InputError, match=message) as caught:
        STB(tree, "test")
    assert str(path) in str(caught.value)


def test_labels_in_metres_are_an_error(tree, hand_para):
    scipy.io.savemat(tree / "labels" / "B1Counting_SK.mat", {"handPara": hand_para.transpose(2, 1, 0) / 1000})
    with pytest.raises(InputError, match="joints_cam_m"):
        STB(tree, "test")[0]


def test_unknown_options_are_refused_by_name(tree):
    with pytest.raises(InputError, match="SK_color"):
        STB(tree, "test", views=("SK",))
    for views in ("SK", 3, None):
        with pytest.raises(InputError, match=f"no view {views!r}; choose from SK_color"):
            STB(tree, "test", views=views)
    with pytest.raises(InputError, match="four-knuckles"):
        STB(tree, "test", wrist_rule="zb")


def test_image_paths_match_their_files(tree, assert_images_named):
    assert_images_named(tree, STB(tree, "test"))
