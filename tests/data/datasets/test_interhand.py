from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from graphhand.data import InterHand
from graphhand.data.check import check_dataset
from graphhand.errors import InputError
from graphhand.io import write_image

WRIST_LAST = [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0]
POSITION_MM = np.array([100.0, -200.0, 300.0])
ROTATION = Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix()


@pytest.fixture
def tree(tmp_path, dotted_sample):
    """A right hand, a left hand and a pair, seen by a camera that stands and looks askew in the world."""
    annotations = tmp_path / "annotations" / "test"
    annotations.mkdir(parents=True)
    (tmp_path / "images" / "test" / "Capture0").mkdir(parents=True)
    images, labels, joints = [], [], {}
    for number, hand_type in enumerate(("right", "left", "interacting")):
        pair = {side: dotted_sample(number, side) for side in ("right", "left")}
        camera_m = np.concatenate([pair[side].joints_cam_m[WRIST_LAST] for side in ("right", "left")])
        world_mm = camera_m * 1000.0 @ ROTATION + POSITION_MM
        joints[str(number)] = {"world_coord": world_mm.tolist()}
        file_name = f"Capture0/{number}.jpg"
        write_image(tmp_path / "images" / "test" / file_name, pair["right"].image)
        images.append({"id": number, "file_name": file_name, "capture": 0, "camera": "cam40", "frame_idx": number})
        labels.append({"image_id": number, "hand_type": hand_type, "joint_valid": [[1]] * 42})
    labels[1]["joint_valid"] = [1] * 21 + [0] + [1] * 20  # flat, and the left thumb's tip is not labelled
    K = pair["right"].K
    camera = {
        "campos": {"cam40": POSITION_MM.tolist()},
        "camrot": {"cam40": ROTATION.tolist()},
        "focal": {"cam40": [K[0, 0], K[1, 1]]},
        "princpt": {"cam40": [K[0, 2], K[1, 2]]},
    }
    for name, content in (
        ("data", {"images": images, "annotations": labels}),
        ("camera", {"0": camera}),
        ("joint_3d", {"0": joints}),
    ):
        (annotations / f"InterHand2.6M_test_{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_world_millimetres_become_camera_metres_in_our_order(tree, dotted_sample):
    dataset = InterHand(tree, "test")
    samples = [dataset[i] for i in range(len(dataset))]
    assert [s.side for s in samples] == ["right", "left", "left", "right"]
    for sample, seed in zip(samples, (0, 1, 2, 2)):
        expected = dotted_sample(seed, sample.side)
        known = sample.labelled
        np.testing.assert_allclose(sample.joints_cam_m[known], expected.joints_cam_m[known], atol=1e-6)
        np.testing.assert_allclose(sample.joints_px[known], expected.joints_px[known], atol=1e-2)


def test_invalid_joints_are_unlabelled_and_make_the_pose_2d_only(tree):
    sample = InterHand(tree, "test")[1]
    assert np.flatnonzero(~sample.labelled).tolist() == [4]
    assert not sample.visible[4]
    assert not sample.has_3d


def test_interacting_hands_can_be_left_out(tree):
    assert len(InterHand(tree, "test", interacting=False)) == 2


def test_a_missing_camera_is_named(tree):
    path = tree / "annotations/test/InterHand2.6M_test_camera.json"
    path.write_text(path.read_text().replace("cam40", "cam41"))
    with pytest.raises(InputError, match="image 0: no 'cam40'"):
        InterHand(tree, "test")[0]


def test_missing_files_are_named(tree):
    (tree / "annotations/test/InterHand2.6M_test_joint_3d.json").unlink()
    with pytest.raises(InputError, match="joint_3d"):
        InterHand(tree, "test")


def test_image_paths_match_their_files(tree, assert_images_named):
    assert_images_named(tree, InterHand(tree, "test"))


def change_labels(tree, change):
    """Rewrite the data file after ``change(images, annotations)``."""
    path = tree / "annotations/test/InterHand2.6M_test_data.json"
    data = json.loads(path.read_text())
    change(data["images"], data["annotations"])
    path.write_text(json.dumps(data))


def test_a_hand_of_a_pair_without_a_valid_joint_is_left_out(tree):
    """As where annotating one of two hands failed: it is nobody's fault, and nothing to learn from."""
    change_labels(tree, lambda _, labels: labels[2].update(joint_valid=[[1]] * 21 + [[0]] * 21))
    dataset = InterHand(tree, "test")
    assert [dataset[i].side for i in range(len(dataset))] == ["right", "left", "right"]
    assert check_dataset("interhand", tree, ["test"]).usable


@pytest.mark.parametrize("flags", [None, "all", [[1]] * 41, [[1], [1, 1]] * 21])
def test_malformed_flags_are_an_error_of_one_image(tree, flags):
    change_labels(tree, lambda _, labels: labels[0].update(joint_valid=flags))
    dataset = InterHand(tree, "test")
    assert len(dataset) == 4
    assert dataset[1].side == "left"
    with pytest.raises(InputError, match=r"_data\.json: image 0, joint_valid is not 42 numbers"):
        dataset[0]


@pytest.mark.parametrize("field", ["file_name", "camera", "frame_idx"])
def test_an_image_without_a_field_is_named(tree, field):
    change_labels(tree, lambda images, _: images[1].pop(field))
    with pytest.raises(InputError, match=f"malformed: no '{field}'"):
        InterHand(tree, "test")


def test_interacting_is_yes_or_no(tree):
    with pytest.raises(InputError, match="interacting: is 'maybe'; choose from true, false"):
        InterHand(tree, "test", interacting="maybe")


def test_a_million_hands_fit_in_memory(tree, bytes_kept):
    def many(images, labels):
        images += [{**images[0], "id": 10 + k, "file_name": f"Capture0/a_sequence/cam40/{k}.jpg"} for k in range(2000)]
        labels += [{**labels[0], "image_id": 10 + k} for k in range(2000)]

    change_labels(tree, many)
    assert bytes_kept(lambda: InterHand(tree, "test")) < 500
