from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest

from graphhand.data import RHD
from graphhand.data.check import check_dataset
from graphhand.errors import InputError, NoHandError
from graphhand.io import write_image

# Where each of our joints stands among one hand's 21 in RHD: the wrist, then each finger from its tip.
TIP_FIRST = [0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17]


@pytest.fixture
def tree(tmp_path, dotted_sample):
    """An RHD folder with four frames of two hands. Mask areas and visible joints favour different hands."""
    folder = tmp_path / "RHD_published_v2" / "evaluation"
    for name in ("color", "mask"):
        (folder / name).mkdir(parents=True)
    # (left mask pixels, right mask pixels, visible left joints, visible right joints)
    frames = [(50, 10, 3, 9), (10, 50, 9, 3), (20, 20, 7, 7), (0, 0, 0, 0)]
    annotations = {}
    for number, (left_area, right_area, left_seen, right_seen) in enumerate(frames):
        xyz, uv_vis = np.zeros((42, 3)), np.zeros((42, 3))
        for side, first, seen in (("left", 0, left_seen), ("right", 21, right_seen)):
            sample = dotted_sample(number, side, size=(320, 320))
            xyz[first : first + 21] = sample.joints_cam_m[TIP_FIRST]
            uv_vis[first : first + 21, :2] = sample.joints_px[TIP_FIRST]
            uv_vis[first : first + seen, 2] = 1
        annotations[number] = {"xyz": xyz, "uv_vis": uv_vis, "K": sample.K}
        write_image(folder / "color" / f"{number:05d}.png", sample.image)
        mask = np.zeros(320 * 320, np.uint8)
        mask[:left_area] = np.arange(left_area) % 16 + 2
        mask[1000 : 1000 + right_area] = np.arange(right_area) % 16 + 18
        mask[5000:9000] = 1
        cv2.imwrite(str(folder / "mask" / f"{number:05d}.png"), mask.reshape(320, 320))
    (folder / "anno_evaluation.pickle").write_bytes(pickle.dumps(annotations, protocol=2))
    return tmp_path


def test_labels_are_converted_to_our_order_metres_and_pixels(tree, dotted_sample):
    sample = RHD(tree, "evaluation")[1]
    expected = dotted_sample(1, "right", size=(320, 320))
    np.testing.assert_array_equal(sample.joints_cam_m, expected.joints_cam_m)
    np.testing.assert_array_equal(sample.joints_px, expected.joints_px)
    np.testing.assert_array_equal(sample.image, expected.image)
    # The first three of RHD's right hand are visible: wrist, thumb tip, thumb's last but one.
    assert np.flatnonzero(sample.visible).tolist() == [0, 3, 4]
    assert sample.name == "evaluation/00001"


@pytest.mark.parametrize(
    ("rule", "sides"), [("mask", ["left", "right", "right"]), ("visible", ["right", "left", "right"])]
)
def test_hand_rules_choose_a_hand_and_ties_give_the_right_one(tree, rule, sides):
    dataset = RHD(tree, "evaluation", hand_rule=rule)
    assert len(dataset) == 4
    assert [dataset[i].side for i in range(3)] == sides
    assert dataset.protocol["hand_rule"] == rule


def test_both_hands_gives_every_hand_with_a_visible_joint(tree, dotted_sample):
    dataset = RHD(tree, "evaluation", hand_rule="both")
    names = [dataset[i].name for i in range(len(dataset))]
    assert names == [f"evaluation/{n:05d}-{side}" for n in range(3) for side in ("left", "right")]
    np.testing.assert_array_equal(dataset[2].joints_cam_m, dotted_sample(1, "left", size=(320, 320)).joints_cam_m)


@pytest.mark.parametrize("rule", ["mask", "visible"])
def test_a_frame_without_hands_is_left_out(tree, rule):
    with pytest.raises(NoHandError, match="frame 3 shows no hand"):
        RHD(tree, "evaluation", hand_rule=rule)[3]


def test_a_frame_without_hands_leaves_the_set_usable(tree):
    report = check_dataset("rhd", tree, ["evaluation"])
    assert report.usable
    assert report.splits[0].without_hand == 1


def test_the_folder_itself_may_be_given(tree):
    assert len(RHD(tree / "RHD_published_v2", "evaluation")) == 4


def test_a_missing_mask_is_an_error_with_a_remedy(tree):
    (tree / "RHD_published_v2/evaluation/mask/00000.png").unlink()
    with pytest.raises(InputError, match=r"00000\.png: no such mask; .*hand_rule=visible"):
        RHD(tree, "evaluation")[0]
    assert RHD(tree, "evaluation", hand_rule="visible")[0].side == "right"


def test_an_empty_mask_is_a_one_line_error(tree):
    (tree / "RHD_published_v2/evaluation/mask/00000.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"00000\.png: not readable as a mask"):
        RHD(tree, "evaluation")[0]


@pytest.mark.parametrize("name", ["0", 0.5, None])
def test_frames_that_are_not_numbers_are_refused(tree, name):
    spoil(tree, lambda annotations: annotations.update({name: annotations[0]}))
    with pytest.raises(InputError, match=r"anno_evaluation\.pickle: frames are not named by numbers"):
        RHD(tree, "evaluation")


def spoil(tree, change):
    path = tree / "RHD_published_v2/evaluation/anno_evaluation.pickle"
    annotations = pickle.loads(path.read_bytes())
    change(annotations)
    path.write_bytes(pickle.dumps(annotations, protocol=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[0].pop("K"), "frame 0 has no 'K'"),
        (lambda a: a[0].update(xyz=np.zeros((21, 3))), r"frame 0, xyz has shape \(21, 3\)"),
        (lambda a: a[0].update(xyz=a[0]["xyz"] * 1000), "millimetres"),
        (lambda a: a[0].update(xyz=a[0]["xyz"] * np.nan), "NaN"),
        (lambda a: a.update({0: [1, 2]}), "frame 0 has no 'xyz'"),
    ],
)
def test_a_malformed_frame_is_an_error_of_its_sample(tree, change, message):
    spoil(tree, change)
    dataset = RHD(tree, "evaluation")
    with pytest.raises(InputError, match=message):
        dataset[0]
    assert dataset[1].side == "right"


def test_a_truncated_image_is_named(tree):
    path = tree / "RHD_published_v2/evaluation/color/00001.png"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"00001\.png"):
        RHD(tree, "evaluation")[1]


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps([1]), pickle.dumps({})])
def test_a_broken_annotation_file_is_a_one_line_error(tree, content):
    (tree / "RHD_published_v2/evaluation/anno_evaluation.pickle").write_bytes(content)
    with pytest.raises(InputError, match=r"anno_evaluation\.pickle") as caught:
        RHD(tree, "evaluation")
    assert "\n" not in str(caught.value)


def test_unknown_options_are_refused_by_name(tree):
    with pytest.raises(InputError, match="training, evaluation"):
        RHD(tree, "test")
    with pytest.raises(InputError, match="mask, visible, both"):
        RHD(tree, "evaluation", hand_rule="left")
    with pytest.raises(InputError, match="graphhand data check rhd"):
        RHD(tree, "training")


@pytest.mark.parametrize("rule", ["both", "visible"])
def test_image_paths_match_their_files(tree, rule, assert_images_named):
    file = tree / "RHD_published_v2/evaluation/anno_evaluation.pickle"
    annotations = pickle.loads(file.read_bytes())
    del annotations[3]  # shows no hand
    file.write_bytes(pickle.dumps(annotations))
    assert_images_named(tree, RHD(tree, "evaluation", hand_rule=rule))
